"""What benchmarks of peers print and write: the machine, the model, a table, the same as JSON."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from machine import machine_line

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from sdbatch.models.config import UNetConfig, VAEConfig

Row = dict[str, Any]


def configs(folder: Path) -> tuple[UNetConfig, VAEConfig]:
    """Of a checkpoint's two networks."""
    unet, vae = (
        json.loads((folder / name / "config.json").read_text(encoding="utf-8"))
        for name in ("unet", "vae")
    )
    return UNetConfig.from_dict(unet), VAEConfig.from_dict(vae)


def trained_side(folder: Path) -> int:
    """Width and height, in pixels, that the model was made for."""
    unet, vae = configs(folder)
    return unet.sample_size * vae.downscale


def weights_bytes(folder: Path, part: str = "**") -> int:
    """Size of the weights' files, of all parts or one."""
    return sum(path.stat().st_size for path in folder.glob(f"{part}/*.safetensors"))


def report(
    title: str, rows: Sequence[Row], versions: Mapping[str, str], file: Path | None, **more: Any
) -> None:
    """Print all, and write it to the file if one is given; end the program if there is no row.

    Args:
        title: what was measured.
        rows: all with the same keys, which are the heads of the columns.
        versions: by peer.
        file: for JSON.
        more: numbers that belong to the JSON alone.
    """
    if not rows:
        sys.exit("no peer was left")
    load = os.getloadavg()[1]  # of the last five minutes
    print(f"{machine_line()}; load average {load:.1f}")
    print(title)
    print()
    print_table(rows)
    print()
    for name, version in versions.items():
        print(f"{name}: {version}")
    if file is not None:
        record = {
            "machine": machine_line(),
            "load_average": load,
            "title": title,
            "versions": dict(versions),
            **more,
            "rows": list(rows),
        }
        file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def print_table(rows: Sequence[Row]) -> None:
    """Columns as wide as what is in them."""
    lines = [list(rows[0]), *([_shown(value) for value in row.values()] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    for line in lines:
        cells = [line[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        print("  ".join(cells).rstrip())


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
