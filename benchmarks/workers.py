"""The real engine: how busy the device is, and what a second worker on a second core is worth.

    python benchmarks/workers.py --rows 24 --rounds 3

The demo job with one worker held to one core, with one worker on each of two cores, and with one
worker on both, in turn.
Counted from the first assignment to the last commit, as each run's log tells.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from datetime import datetime
from pathlib import Path

from machine import machine_line

ROOT = Path(__file__).resolve().parent.parent


def measure(workers: int, rows: int, cores: list[int]) -> tuple[float, float]:
    """Images a second, and the share of time in which devices computed."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        subprocess.run(
            [
                sys.executable, "-m", "sdbatch", "prompts=shapes", f"prompts.limit={rows}",
                f"output.dir={out}", "output.shard_size=4", f"workers={workers}",
            ],
            cwd=ROOT,
            check=True,
            capture_output=True,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )  # fmt: skip
        lines = next(out.glob("logs/*/sdbatch.log")).read_text(encoding="utf-8").splitlines()
        ready = [line for line in lines if ": ready on " in line or " to do, by " in line]
        ended = [line for line in lines if " images in " in line][-1]
        seconds = (_time(ended) - _time(ready[-1])).total_seconds()
        busy = json.loads((out / "summary.json").read_text(encoding="utf-8"))["device_busy"]
    return rows / seconds, busy


def _time(line: str) -> datetime:
    return datetime.strptime(line[:23], "%Y-%m-%d %H:%M:%S,%f")


def main() -> None:
    """Take turns, print medians and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))[:2]
    rounds = []
    for _ in range(arguments.rounds):
        one = measure(1, arguments.rows // 2, cores[:1])
        two = measure(2, arguments.rows, cores)
        wide = measure(1, arguments.rows // 2, cores)
        rounds.append((one, two, wide))
    print(machine_line())
    names = ("one worker, one core", "two workers, two cores", "one worker, two cores")
    for index, name in enumerate(names):
        rate = statistics.median(turn[index][0] for turn in rounds)
        busy = statistics.median(turn[index][1] for turn in rounds)
        print(f"{name}: {rate:.3f} images/s, devices busy {busy:.2%} of the time")
    ratio = statistics.median(two[0] / (2 * one[0]) for one, two, _ in rounds)
    print(f"two workers against twice one: {ratio:.3f}")
    ratio = statistics.median(two[0] / wide[0] for _, two, wide in rounds)
    print(f"two workers against one with two threads: {ratio:.3f}")


if __name__ == "__main__":
    main()
