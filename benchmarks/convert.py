"""How long a full-size conversion takes and how much memory, against copying the file twice.

    python benchmarks/make_random.py sd15 /tmp/sd15-random    # once
    python benchmarks/convert.py /tmp/sd15-random --scratch /tmp

The folder is first written as one file in the original layout (random weights, 4.3 GB), `.ckpt` and
`.safetensors`. Then, in turns: copy that file twice (reading and writing as the conversion does, to
disk), and convert it in a process of its own. Last, every tensor of a converted folder is compared
with the folder that the file was made from.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from machine import machine_line

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.weights.files.torch_files import tensor, zip_file  # noqa: E402
from tests.weights.original import original_tensors  # noqa: E402


def main() -> None:
    """Make the files, take turns, print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="a full-size SD 1.5 in diffusers' form")
    parser.add_argument("--scratch", type=Path, required=True, help="needs 15 GB")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    print(machine_line())
    for suffix in (".safetensors", ".ckpt"):
        file = given.scratch / f"sd15-original{suffix}"
        if not file.exists():
            write_original(given.folder, file)
        measure(file, given.scratch, given.rounds)
    check(given.folder, given.scratch / "sd15-converted")


def write_original(folder: Path, file: Path) -> None:
    """The folder as one file in the original layout."""
    from safetensors.numpy import save_file

    from sdbatch.weights.source import open_checkpoint

    components = {
        component.name: {
            name: array
            for key, value in component.tensors()
            for name, array in component.layout.rename(key, value)
        }
        for component in open_checkpoint(folder).components
    }
    tensors = original_tensors("sd1", components, averages=False)
    if file.suffix == ".safetensors":
        save_file(tensors, file)
    else:
        pickled = {key: tensor(str(i), array) for i, (key, array) in enumerate(tensors.items())}
        file.write_bytes(zip_file({"state_dict": pickled, "global_step": 0}))


def measure(file: Path, scratch: Path, rounds: int) -> None:
    """Take turns with copying; print what the medians say."""
    target = scratch / "sd15-converted"
    copies, conversions, peaks = [], [], []
    for turn in range(rounds + 1):
        copied = timed(lambda: copy_twice(file, scratch))
        shutil.rmtree(target, ignore_errors=True)
        converted, peak = run_conversion(file, target)
        if turn:  # the first fills the page cache
            copies.append(copied)
            conversions.append(converted)
            peaks.append(peak)
    size = sum(path.stat().st_size for path in target.rglob("*.pdparams"))
    ratio = statistics.median(a / b for a, b in zip(copies, conversions, strict=True))
    print(
        f"{file.suffix:12} {file.stat().st_size / 1e9:.2f} GB: "
        f"copied twice in {statistics.median(copies):.1f} s, "
        f"converted in {statistics.median(conversions):.1f} s "
        f"({ratio:.2f} of the speed of copying twice), peak memory "
        f"{statistics.median(peaks) / size:.2f} x the output's {size / 1e9:.2f} GB"
    )


def timed(work: Callable[[], object]) -> float:
    """Seconds."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def copy_twice(file: Path, scratch: Path) -> None:
    """Two plain copies, each on disk when it ends."""
    for _ in range(2):
        copy = scratch / "sd15-copy"
        shutil.copyfile(file, copy)
        with copy.open("rb") as written:
            os.fsync(written.fileno())
        copy.unlink()


def run_conversion(file: Path, target: Path) -> tuple[float, int]:
    """Seconds and peak resident bytes of the whole command."""
    command = [sys.executable, "-m", "sdbatch.convert", str(file), str(target)]
    start = time.perf_counter()
    child = subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        sys.exit(f"failed: {' '.join(command)}")
    return time.perf_counter() - start, usage.ru_maxrss * 1024


def check(folder: Path, converted: Path) -> None:
    """Both folders loaded as jobs load them: every weight must be the same, bit for bit."""
    import numpy as np

    from sdbatch.engine.device import prepare_process

    prepare_process()
    from sdbatch.engine.load import networks
    from sdbatch.weights.source import open_checkpoint

    count = 0
    pairs = zip(*(networks(open_checkpoint(path)) for path in (folder, converted)), strict=True)
    for one, other in pairs:
        first, second = one.load("float32").state_dict(), other.load("float32").state_dict()
        for name, value in first.items():
            if not np.array_equal(value.numpy(), second[name].numpy()):
                sys.exit(f"{one.component.name}: {name} differs")
            count += 1
    print(f"{count} weights of the converted file equal those of {folder}, bit for bit")


if __name__ == "__main__":
    main()
