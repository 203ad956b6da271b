"""How long a UNet takes to load and how much memory: sdbatch against PyTorch diffusers.

    python benchmarks/make_random.py sd15 /tmp/sd15-random    # once
    python benchmarks/load_unet.py /tmp/sd15-random --torch-python /path/to/torch/env/bin/python

Each load is a process of its own; the two take turns, after one uncounted turn that fills the page
cache. Imports are not counted. "load" ends when the network is ready to be called; "load + touch"
when every weight has been read once, because both may leave pages of the file unread until then.
"peak memory" is the rise of the resident set from before the load to its highest point, over the
size of the weights.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from machine import machine_line

ROOT = Path(__file__).resolve().parent.parent


def resident_mb(field: str) -> float:
    """VmRSS (now) or VmHWM (highest) of this process, in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1000
    raise KeyError(field)


def measure(load, touch) -> dict:
    """Time `load()`, then `touch(network)`; memory is relative to before."""
    Path("/proc/self/clear_refs").write_text("5")  # forget the highest point so far
    before = resident_mb("VmRSS")
    start = time.perf_counter()
    network = load()
    loaded = time.perf_counter()
    touch(network)
    touched = time.perf_counter()
    return {
        "load_s": loaded - start,
        "load_touch_s": touched - start,
        "peak_mb": resident_mb("VmHWM") - before,
    }


def child_sdbatch(folder: Path) -> dict:
    """Load with sdbatch, in this process."""
    sys.path.insert(0, str(ROOT))
    from sdbatch.engine.device import Device, enter

    enter(Device("cpu", "fp32"))
    import paddle

    from sdbatch.engine.load import unet_network
    from sdbatch.weights.source import open_checkpoint

    unet = open_checkpoint(folder).unet
    result = measure(
        lambda: unet_network(unet).load("float32"),
        lambda network: [float(p.sum()) for p in network.parameters()],
    )
    return {**result, "version": f"paddle {paddle.__version__}"}


def child_diffusers(folder: Path) -> dict:
    """Load with PyTorch diffusers, in this process."""
    import diffusers
    import torch
    from diffusers import UNet2DConditionModel

    with torch.no_grad():
        result = measure(
            lambda: UNet2DConditionModel.from_pretrained(folder / "unet"),
            lambda network: [float(p.sum()) for p in network.parameters()],
        )
    return {**result, "version": f"torch {torch.__version__}, diffusers {diffusers.__version__}"}


CHILDREN = {"sdbatch": child_sdbatch, "diffusers": child_diffusers}


def run_child(python: str, name: str, folder: Path) -> dict:
    """One measurement in a fresh process."""
    command = [python, __file__, str(folder), "--child", name]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(out.strip().splitlines()[-1])


def main() -> None:
    """Take turns, print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--torch-python", default=sys.executable)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--child", choices=CHILDREN, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(CHILDREN[arguments.child](arguments.folder)))
        return
    pythons = {"sdbatch": sys.executable, "diffusers": arguments.torch_python}
    results: dict[str, list[dict]] = {name: [] for name in CHILDREN}
    for turn in range(arguments.rounds + 1):
        for name, python in pythons.items():
            result = run_child(python, name, arguments.folder)
            if turn:
                results[name].append(result)
    weights = sum(f.stat().st_size for f in (arguments.folder / "unet").glob("*.safetensors"))
    print(machine_line())
    print(f"weights {weights / 1e6:.0f} MB; median of {arguments.rounds} paired runs")
    for name, runs in results.items():
        load, touch, peak = (
            statistics.median(run[key] for run in runs)
            for key in ("load_s", "load_touch_s", "peak_mb")
        )
        print(
            f"{name:10} load {load:6.2f} s   load + touch {touch:6.2f} s   "
            f"peak memory {peak / (weights / 1e6):.2f} x weights   ({runs[0]['version']})"
        )
    for key, label in (("load_s", "load"), ("load_touch_s", "load + touch")):
        ratios = [
            ours[key] / theirs[key]
            for ours, theirs in zip(results["sdbatch"], results["diffusers"], strict=True)
        ]
        print(f"sdbatch / diffusers, {label}: {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
