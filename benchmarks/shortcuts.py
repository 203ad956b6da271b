"""What each shortcut saves and what it does to the picture: time, and PSNR against the full run.

    python benchmarks/shortcuts.py                                   # the bundled demo checkpoint
    python benchmarks/shortcuts.py --model /models/sd15 --size 512 --pictures 8 --engine inference

Every row makes the same pictures of prompts/shapes, or of `--prompts`. After one uncounted batch
each, rows take turns; times are medians of the rounds, without the start and the loading, and the
ratios those of the pairs within a round. PSNR is that of 8-bit pixels, in dB, the mean and the
worst of all pictures; it needs one round only. On a busy machine take `--cpu-time` with
OMP_NUM_THREADS=1: the seconds of this process alone.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from machine import machine_line

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from sdbatch.dataset.images import to_bytes  # noqa: E402
from sdbatch.engine.device import Device, enter  # noqa: E402
from sdbatch.engine.options import EngineOptions  # noqa: E402
from sdbatch.prompts import PromptTable  # noqa: E402
from sdbatch.request import ImageRequest  # noqa: E402
from sdbatch.samplers import Sampler, SamplerOptions  # noqa: E402
from sdbatch.shortcuts import NO_SHORTCUTS, Shortcuts  # noqa: E402
from sdbatch.weights.source import open_checkpoint  # noqa: E402

ROWS = (
    NO_SHORTCUTS,
    Shortcuts(guidance_interval=(0.0, 0.8)),
    Shortcuts(guidance_interval=(0.0, 0.6)),
    Shortcuts(guidance_interval=(0.0, 0.4)),
    Shortcuts(guidance_interval=(0.1, 0.9)),
    Shortcuts(guidance_interval=(0.2, 0.8)),
    Shortcuts(token_merging=0.25),
    Shortcuts(token_merging=0.5),
    Shortcuts(token_merging=0.75),
    Shortcuts(feature_reuse=2),
    Shortcuts(feature_reuse=3),
    Shortcuts(feature_reuse=5),
    Shortcuts(guidance_interval=(0.0, 0.8), feature_reuse=2),
    Shortcuts(guidance_interval=(0.0, 0.6), token_merging=0.5, feature_reuse=3),
)


def label(shortcuts: Shortcuts) -> str:
    """As on the command line."""
    return " ".join(f"{key}={value}" for key, value in shortcuts.settings.items()) or "full run"


def psnr(found: np.ndarray, full: np.ndarray) -> list[float]:
    """Of each picture, in dB: uint8 [n, height, width, 3]; infinite where they are equal."""
    errors = ((found.astype(float) - full) ** 2).mean(axis=(1, 2, 3))
    with np.errstate(divide="ignore"):
        return (10 * np.log10(255**2 / errors)).tolist()


def make(
    pipeline, requests: Sequence[ImageRequest], batch: int, clock: Callable[[], float]
) -> tuple[np.ndarray, float]:
    """All pictures as uint8, and the seconds that they took."""
    started = clock()
    pictures = [
        pipeline.generate(requests[start : start + batch])
        for start in range(0, len(requests), batch)
    ]
    seconds = clock() - started
    return to_bytes(np.concatenate(pictures)), seconds


def pipelines(options: argparse.Namespace, cache: Path) -> dict[Shortcuts, object]:
    """A pipeline for each row; those that merge alike share their networks."""
    device = Device("cpu", "fp32") if options.device == "cpu" else Device("gpu:0", "fp16")
    enter(device)
    from sdbatch.engine.execution import make_execution
    from sdbatch.engine.load import load_pipeline

    checkpoint = open_checkpoint(options.model)
    sampler = Sampler.from_config(checkpoint.scheduler, SamplerOptions(options.solver))
    execution = make_execution(EngineOptions(options.engine, cache, 2 << 30), device)
    loaded = {
        ratio: load_pipeline(
            checkpoint, sampler, device, execution=execution, shortcuts=Shortcuts(None, ratio)
        )
        for ratio in sorted({row.token_merging for row in ROWS})
    }
    return {row: replace(loaded[row.token_merging], shortcuts=row) for row in ROWS}


def main() -> None:
    """Take turns, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=ROOT / "sdbatch" / "assets" / "demo")
    parser.add_argument("--prompts", type=Path, default=ROOT / "prompts" / "shapes.parquet")
    parser.add_argument("--pictures", type=int, default=16)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--solver", default="checkpoint")
    parser.add_argument("--engine", default="dygraph", choices=["dygraph", "static", "inference"])
    parser.add_argument("--device", default="cpu", choices=["cpu", "gpu"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cpu-time", action="store_true", help="seconds of the CPU, not the clock")
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    options = parser.parse_args()
    clock = time.process_time if options.cpu_time else time.perf_counter
    rows = PromptTable(options.prompts).read(0, options.pictures)
    requests = [
        ImageRequest(row.prompt, "", seed, options.size, options.size, options.steps, 7.5)
        for seed, row in enumerate(rows)
    ]
    pictures, seconds = {}, {row: [] for row in ROWS}
    with tempfile.TemporaryDirectory() as cache:
        made = pipelines(options, Path(cache))
        for row in ROWS:
            make(made[row], requests[: options.batch], options.batch, clock)
        for _ in range(options.rounds):
            for row in ROWS:
                pictures[row], taken = make(made[row], requests, options.batch, clock)
                seconds[row].append(taken)
    print(machine_line())
    print(
        f"{options.model.name}, {len(requests)} pictures of {options.size}x{options.size}, "
        f"{options.steps} steps, batches of {options.batch}, {options.engine} on {options.device}, "
        f"median of {options.rounds} rounds\n"
    )
    unit = "CPU seconds" if options.cpu_time else "seconds"
    print(f"| Shortcuts | {unit} a picture | times as fast | PSNR mean | PSNR worst |")
    print("|---|---|---|---|---|")
    results = []
    for row in ROWS:
        quality = psnr(pictures[row], pictures[NO_SHORTCUTS])
        pairs = zip(seconds[NO_SHORTCUTS], seconds[row], strict=True)
        result = {
            "shortcuts": asdict(row),
            "seconds_per_picture": statistics.median(seconds[row]) / len(requests),
            "speedup": statistics.median(full / this for full, this in pairs),
            "psnr_mean_db": statistics.fmean(quality),
            "psnr_worst_db": min(quality),
        }
        results.append(result)
        print(
            f"| `{label(row)}` | {result['seconds_per_picture']:.2f} | {result['speedup']:.2f} "
            f"| {result['psnr_mean_db']:.1f} dB | {result['psnr_worst_db']:.1f} dB |"
        )
    if options.json:
        options.json.write_text(json.dumps({"machine": machine_line(), "rows": results}, indent=1))


if __name__ == "__main__":
    main()
