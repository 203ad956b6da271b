"""Tile the pictures of a dataset into one PNG: python tools/contact_sheet.py DATASET OUT.png."""

from __future__ import annotations

import argparse
from pathlib import Path

import pyarrow.parquet as pq
from PIL import Image


def contact_sheet(dataset: Path, count: int, columns: int, side: int) -> Image.Image:
    """The first `count` pictures that are there, `columns` to a row, each `side` pixels square."""
    names = pq.read_table(dataset / "metadata.parquet").column("file_name").drop_null()
    names = names.to_pylist()[:count]
    rows = -(-len(names) // columns)
    sheet = Image.new("RGB", (columns * side, rows * side), "white")
    for i, name in enumerate(names):
        with Image.open(dataset / name) as picture:
            tile = picture.resize((side, side), Image.Resampling.LANCZOS)
        sheet.paste(tile, ((i % columns) * side, (i // columns) * side))
    return sheet


def main() -> None:
    """Write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=32)
    parser.add_argument("--columns", type=int, default=8)
    parser.add_argument("--side", type=int, default=128)
    arguments = parser.parse_args()
    sheet = contact_sheet(arguments.dataset, arguments.count, arguments.columns, arguments.side)
    sheet.save(arguments.out, optimize=True)


if __name__ == "__main__":
    main()
