"""What each step of text=zh is worth on the Chinese demo checkpoint: the tables of docs/chinese.md.

    python benchmarks/chinese.py [--pictures docs/images] [--json FILE]

64 prompts are written as people write them: in traditional characters, as copied from a PDF (Kangxi
radicals), with weights typed on a Chinese keyboard, words apart. Each way is drawn with and without
the step that is made for it; a picture is right if its pixels have both colours that the prompt
names. The same meanings in English are drawn by the English demo.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from opencc import OpenCC
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT)]

from benchmarks.machine import machine_line  # noqa: E402
from tools.train_demo.colors import seen_colors  # noqa: E402

RADICALS = str.maketrans("大小心方白色角黑", "⼤⼩⼼⽅⽩⾊⾓⿊")
SHOWN = 8
SIDE = 128


@dataclass(frozen=True)
class Way:
    """One way to write all prompts, and to read them."""

    name: str
    reading: str
    write: Callable[[str], str]
    options: tuple[str, ...]


@dataclass(frozen=True)
class Result:
    """How many of the pictures have both colours right."""

    prompts: str
    reading: str
    example: str
    right: int
    of: int
    as_plain: int
    """Pictures that are, pixel for pixel, those of the prompts as they are in the table."""


def ways() -> Iterator[Way]:
    """Each way of writing, read without its step and with it."""
    plain, zh = ("text=plain",), ("text=zh",)
    traditional = OpenCC("s2t").convert
    yield Way("as in the table", "text=plain", str, plain)
    yield Way("as in the table", "text=zh", str, zh)
    for step, name, write in (
        ("simplify", "traditional characters", traditional),
        ("unicode", "radicals, as from a PDF", lambda text: text.translate(RADICALS)),
        (
            "unicode",
            "a weight, full width",
            lambda text: text.replace("上的", "上的（", 1) + "：1.2）",
        ),
    ):
        yield Way(name, f"text.{step}=false", write, (*zh, f"text.{step}=false"))
        yield Way(name, f"text.{step}=true", write, (*zh, f"text.{step}=true"))
    yield Way(
        "a weight, half width", "text=zh", lambda t: t.replace("上的", "上的(", 1) + ":1.2)", zh
    )
    yield Way("as in the table", "text.spaced=true", str, (*zh, "text.spaced=true"))


def draw(model: str, rows: list[dict[str, Any]], folder: Path, *options: str) -> list[dict]:
    """Metadata rows of the pictures of these rows, drawn by the real command."""
    table = folder.with_suffix(".parquet")
    pq.write_table(pa.Table.from_pylist(rows), table)
    subprocess.run(
        [
            sys.executable, "-m", "sdbatch", f"model={model}", f"prompts.path={table}",
            f"output.dir={folder}", "label=none", "batch_size=8", *options,
        ],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    return pq.read_table(folder / "metadata.parquet").to_pylist()


def right(rows: list[dict], folder: Path) -> list[bool]:
    """Whether each picture has the colours that its row names."""
    return [
        seen_colors(np.asarray(Image.open(folder / row["file_name"])))
        == (row["color"], row["ground"])
        for row in rows
    ]


def sheet(folders: list[tuple[list[dict], Path]]) -> Image.Image:
    """A line of pictures for each dataset, the same meanings below each other."""
    whole = Image.new("RGB", (SHOWN * SIDE, len(folders) * SIDE), "white")
    for line, (rows, folder) in enumerate(folders):
        for column, row in enumerate(rows[:SHOWN]):
            tile = Image.open(folder / row["file_name"]).resize((SIDE, SIDE))
            whole.paste(tile, (column * SIDE, line * SIDE))
    return whole


def main() -> None:
    """Draw, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path, help="where chinese.png goes")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    table, english = (
        pq.read_table(ROOT / f"prompts/{name}.parquet").to_pylist()
        for name in ("shapes_zh", "shapes")
    )
    with tempfile.TemporaryDirectory() as scratch:
        place, results, digests = Path(scratch), [], []
        for number, way in enumerate(ways()):
            rows = [row | {"prompt": way.write(row["prompt"])} for row in table]
            folder = place / f"{number}"
            drawn = draw("demo_zh", rows, folder, *way.options)
            digests.append([row["pixels_sha256"] for row in drawn])
            equal = sum(a == b for a, b in zip(digests[-1], digests[0], strict=True))
            found = right(drawn, folder)
            example = rows[0]["prompt"]
            results.append(Result(way.name, way.reading, example, sum(found), len(found), equal))
            print(results[-1], file=sys.stderr)
        drawn_zh = pq.read_table(place / "0/metadata.parquet").to_pylist()
        drawn_en = draw("demo", english, place / "en", "text=plain")
        pairs = [
            seen_colors(np.asarray(Image.open(place / "0" / one["file_name"])))
            == seen_colors(np.asarray(Image.open(place / "en" / other["file_name"])))
            for one, other in zip(drawn_zh, drawn_en, strict=True)
        ]
        right_en = sum(right(drawn_en, place / "en"))
        if arguments.pictures:
            whole = sheet([(drawn_zh, place / "0"), (drawn_en, place / "en")])
            whole.save(arguments.pictures / "chinese.png", optimize=True)
    print(machine_line())
    print(
        "\n| Prompts | Example | Read with | Both colours right | Pictures as of the first line |"
    )
    print("|---|---|---|---|---|")
    for r in results:
        print(f"| {r.prompts} | {r.example} | `{r.reading}` | {r.right} of {r.of} | {r.as_plain} |")
    print(f"\nEnglish: {right_en} of {len(english)} right; ", end="")
    print(f"Chinese and English show the same two colours in {sum(pairs)} of {len(pairs)}.")
    if arguments.json:
        record = {"ways": [asdict(r) for r in results], "english": right_en, "agree": sum(pairs)}
        arguments.json.write_text(json.dumps(record, ensure_ascii=False, indent=1))


if __name__ == "__main__":
    main()
