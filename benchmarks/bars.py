"""What a GPU's results are to be held against: `benchmarks/gpu.sh` ends with this.

    python benchmarks/bars.py FOLDER    # with sd15-unet.json and sdxl-unet.json in it

Published for one H100 by stable-fast (README of chengzeyi/stable-fast): iterations a second of
guided steps at one picture, each of which calls the UNet with a batch of 2.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

PAIRS_A_SECOND = {"sd15": 105.0, "sdxl": 22.0}
SHARE_OF_PEAK = 0.5
LARGE_BATCH = 16


def main() -> None:
    """Print a line for each bar."""
    for line in verdicts(Path(sys.argv[1])):
        print(line)


def verdicts(folder: Path) -> list[str]:
    """Each bar, the best peer of sdbatch, and whether it is over."""
    lines = []
    for model, pairs in PAIRS_A_SECOND.items():
        file = folder / f"{model}-unet.json"
        if not file.exists():
            lines.append(f"{model}: no result")
            continue
        record = json.loads(file.read_text(encoding="utf-8"))
        for batch, key, bar, what in (
            (2, "calls/s", pairs, "UNet pairs a second (stable-fast on an H100)"),
            (LARGE_BATCH, "of peak", SHARE_OF_PEAK, "of the matrix peak at batch 16"),
        ):
            rows = [
                row
                for row in record["rows"]
                if row["batch"] == batch and row["peer"].startswith("sdbatch")
            ]
            best = max(rows, key=lambda row: row[key], default=None)
            if best is None:
                lines.append(f"{model}: to beat {bar:g} {what}: no result")
                continue
            verdict = "over" if best[key] > bar else "under"
            found = f"{best[key]:.3g} by {best['peer']}, {verdict}"
            lines.append(f"{model}: to beat {bar:g} {what}: {found}")
    return lines


if __name__ == "__main__":
    main()
