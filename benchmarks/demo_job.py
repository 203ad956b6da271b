"""The whole demo job, command to dataset: sdbatch on one or more Paddle lines, and diffusers.

    python benchmarks/demo_job.py                                   # this environment
    python benchmarks/demo_job.py --python .venv/bin/python --python .venv-paddle26/bin/python \\
        --torch-python /path/to/torch/env/bin/python

Every run is a fresh process that starts Python, loads the bundled checkpoint and makes the first
`--rows` pictures of prompts/shapes (DDIM, 20 steps, guidance 7.5, batches of 4, float32). All take
turns, after one uncounted turn. diffusers makes the same pictures and saves them as PNG.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import machine_line

ROOT = Path(__file__).resolve().parent.parent


def sdbatch_command(python: str, rows: int, out: str) -> list[str]:
    """The real command, into a folder of its own."""
    return [python, "-m", "sdbatch", f"prompts.limit={rows}", f"output.dir={out}"]


def diffusers_command(python: str, rows: int, out: str) -> list[str]:
    """This file again, as the peer."""
    return [python, __file__, "--peer", out, "--rows", str(rows)]


def run_peer(out: Path, rows: int) -> None:
    """What a short script with diffusers does; runs in PyTorch's environment."""
    import torch
    from diffusers import StableDiffusionPipeline

    with (ROOT / "prompts" / "shapes.csv").open(encoding="utf-8") as file:
        prompts = [row["prompt"] for row in csv.DictReader(file)][:rows]
    pipe = StableDiffusionPipeline.from_pretrained(
        ROOT / "sdbatch" / "assets" / "demo", torch_dtype=torch.float32
    )
    pipe.set_progress_bar_config(disable=True)
    out.mkdir(parents=True)
    for start in range(0, rows, 4):
        batch = prompts[start : start + 4]
        seeds = [torch.Generator().manual_seed(start + i) for i in range(len(batch))]
        images = pipe(batch, num_inference_steps=20, guidance_scale=7.5, generator=seeds).images
        for i, image in enumerate(images):
            image.save(out / f"{start + i}.png")


def timed(command: list[str]) -> tuple[float, float]:
    """Seconds and peak memory (MB) of one run."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    start = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed:\n{errors.decode()}")
    return time.perf_counter() - start, usage.ru_maxrss / 1000


def version(python: str, package: str) -> str:
    """A package's version in another environment."""
    script = f"from importlib.metadata import version; print(version({package!r}))"
    return subprocess.check_output([python, "-c", script], text=True).strip()


def main() -> None:
    """Take turns, print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", action="append", help="an environment with sdbatch's parts")
    parser.add_argument("--torch-python", help="an environment with torch and diffusers")
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peer:
        run_peer(arguments.peer, arguments.rows)
        return
    sides = {}
    for python in arguments.python or [sys.executable]:
        sides[f"sdbatch, paddle {version(python, 'paddlepaddle')}"] = (sdbatch_command, python)
    if arguments.torch_python:
        name = f"diffusers, torch {version(arguments.torch_python, 'torch')}"
        sides[name] = (diffusers_command, arguments.torch_python)
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for turn in range(arguments.rounds + 1):
        for name, (command, python) in sides.items():
            with tempfile.TemporaryDirectory() as folder:
                result = timed(command(python, arguments.rows, f"{folder}/out"))
            if turn:
                results[name].append(result)
    print(machine_line())
    print(f"{arguments.rows} pictures of 128x128, median of {arguments.rounds} runs in turn")
    baseline = next(iter(results.values()))
    for name, runs in results.items():
        seconds = statistics.median(run[0] for run in runs)
        memory = statistics.median(run[1] for run in runs)
        ratio = statistics.median(
            first[0] / this[0] for first, this in zip(baseline, runs, strict=True)
        )
        print(
            f"{name:28} {seconds:6.1f} s  {arguments.rows / seconds:5.2f} images/s  "
            f"{memory:6.0f} MB  first/this {ratio:.2f}"
        )


if __name__ == "__main__":
    main()
