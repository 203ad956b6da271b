"""What everything but the networks costs: `engine=random` against Pillow alone.

    python benchmarks/overhead.py                        # rates, PNG and JPEG
    python benchmarks/overhead.py --memory-rows 200000   # and memory over a long run

Rates: sdbatch makes pictures of random pixels, 512x512, one worker a core, and writes them as a
dataset: encoded, hashed, read back, synced, committed. Its peer is Pillow alone: one process a core
that encodes such pictures with the same settings into memory, and writes nothing. Both take turns;
imports, start-up and the first pictures are not counted. The floor is what a picture costs at
least: encoding, SHA-256, and one write.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from machine import machine_line
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
SIDE = 512
SETTINGS = {
    "png": {"format": "PNG", "compress_level": 6},
    "jpeg": {"format": "JPEG", "quality": 95, "subsampling": 0},
}
IMAGES = {"png": 600, "jpeg": 6000}


def pictures() -> list[np.ndarray]:
    """uint8 [512, 512, 3], different noise in each."""
    source = np.random.default_rng(0)
    return [source.integers(0, 256, (SIDE, SIDE, 3), np.uint8) for _ in range(8)]


def encode(pixels: np.ndarray, kind: str) -> bytes:
    """What a short script does."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, **SETTINGS[kind])
    return file.getvalue()


def pillow_process(kind: str, count: int, core: int, times: multiprocessing.Queue) -> None:
    """Encode on one core; reports when it began and ended."""
    os.sched_setaffinity(0, {core})
    made = pictures()
    encode(made[0], kind)
    begun = time.monotonic()
    for number in range(count):
        encode(made[number % len(made)], kind)
    times.put((begun, time.monotonic()))


def pillow_rate(kind: str, images: int) -> float:
    """Images a second of Pillow alone, one process a core."""
    cores = sorted(os.sched_getaffinity(0))
    times: multiprocessing.Queue = multiprocessing.Queue()
    share = images // len(cores)
    processes = [
        multiprocessing.Process(target=pillow_process, args=(kind, share, core, times))
        for core in cores
    ]
    for process in processes:
        process.start()
    spans = [times.get() for _ in processes]
    for process in processes:
        process.join()
    return share * len(cores) / (max(end for _, end in spans) - min(start for start, _ in spans))


def write_table(path: Path, rows: int) -> None:
    """A table of so many prompts."""
    pq.write_table(pa.table({"prompt": [f"picture {row}" for row in range(rows)]}), path)


def command(table: Path, out: Path, *more: str) -> list[str]:
    """The real command, rehearsing."""
    return [
        sys.executable, "-m", "sdbatch", "engine=random", f"prompts.path={table}",
        f"output.dir={out}", "check_space=false", *more,
    ]  # fmt: skip


def sdbatch_rate(kind: str, images: int, folder: Path) -> float:
    """Images a second from the first assignment to the last commit, as the run's log tells."""
    table, out = folder / f"{kind}.parquet", folder / f"out-{time.monotonic_ns()}"
    write_table(table, images)
    sizes = [f"width={SIDE}", f"height={SIDE}", f"output.image_format={kind}"]
    run = command(table, out, *sizes, "output.shard_size=64")
    subprocess.run(run, cwd=ROOT, check=True, capture_output=True)
    lines = next(out.glob("logs/*/sdbatch.log")).read_text(encoding="utf-8").splitlines()
    began = next(line for line in lines if " to do, by " in line)
    ended = [line for line in lines if " images in " in line][-1]
    seconds = (_time(ended) - _time(began)).total_seconds()
    subprocess.run(["rm", "-r", str(out)], check=True)
    return images / seconds


def _time(line: str) -> datetime:
    return datetime.strptime(line[:23], "%Y-%m-%d %H:%M:%S,%f")


def floor_ms(kind: str, folder: Path) -> dict[str, float]:
    """Milliseconds of one core for each thing that must be done, medians."""
    made, seconds = pictures(), {"encode": [], "sha256": [], "write": []}
    for number in range(60):
        started = time.perf_counter()
        data = encode(made[number % len(made)], kind)
        encoded = time.perf_counter()
        hashlib.sha256(data)
        hashed = time.perf_counter()
        (folder / f"floor-{number % 8}").write_bytes(data)
        ended = time.perf_counter()
        for name, value in zip(
            seconds, (encoded - started, hashed - encoded, ended - hashed), strict=True
        ):
            seconds[name].append(value * 1000)
    return {name: statistics.median(values) for name, values in seconds.items()}


def memory_over(rows: int, folder: Path) -> list[tuple[int, int]]:
    """(shard, peak memory of its worker in MB) along one run of small pictures."""
    table, out = folder / "memory.parquet", folder / "memory"
    write_table(table, rows)
    run = command(table, out, "width=64", "height=64", "output.shard_size=1000", "workers=1")
    subprocess.run(run, cwd=ROOT, check=True, capture_output=True)
    records = sorted(out.glob("shards/*/shard.json"))
    return [
        (int(path.parent.name), json.loads(path.read_text())["peak_memory_mb"]) for path in records
    ]


def main() -> None:
    """Take turns, print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory-rows", type=int, default=0)
    arguments = parser.parse_args()
    print(machine_line())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind, images in IMAGES.items():
            pairs = [
                (sdbatch_rate(kind, images, folder), pillow_rate(kind, images))
                for _ in range(arguments.rounds)
            ]
            ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
            ratio = statistics.median(one / other for one, other in pairs)
            print(
                f"{kind}: sdbatch {ours:.1f} images/s, Pillow alone {theirs:.1f}, ratio {ratio:.3f}"
            )
            floor = floor_ms(kind, folder)
            most = floor["encode"] / sum(floor.values())
            parts = ", ".join(f"{part} {ms:.2f} ms" for part, ms in floor.items())
            print(f"{kind}: {parts} of one core: no writer can exceed a ratio of {most:.3f}")
        if arguments.memory_rows:
            points = memory_over(arguments.memory_rows, folder)
            for shard, megabytes in points[:: max(1, len(points) // 10)] + points[-1:]:
                print(f"memory: after shard {shard}: {megabytes} MB")


if __name__ == "__main__":
    main()
