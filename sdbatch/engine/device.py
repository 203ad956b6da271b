"""The devices and the number format of a run, chosen without Paddle; and how a worker takes one.

The process that only hands out work imports no Paddle: it holds no memory on a GPU, and a fault in
a driver cannot reach it.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from sdbatch.engine.cards import Hardware, paddle_version_file
from sdbatch.engine.compute_choices import GPU_ENVIRONMENT
from sdbatch.engine.pages import keep_freed_memory
from sdbatch.errors import UserError

RANDOM = "none"
"""The precision of a rehearsal, which has no networks."""


@dataclass(frozen=True)
class Device:
    """Where and in which format the networks of one worker run: e.g. `gpu:0`, `fp16`.

    `cores` are the CPU cores that the worker keeps to; none given: any. `sharing` is how many
    workers share those.
    """

    name: str
    precision: str
    cores: tuple[int, ...] = ()
    sharing: int = 1

    @property
    def threads(self) -> int:
        """The worker's share of the cores."""
        return max(1, len(self.cores or os.sched_getaffinity(0)) // self.sharing)

    @property
    def dtype(self) -> str:
        """Paddle's name of the weights' format.

        On a CPU, bfloat16 is what oneDNN computes in; the weights stay as they are in the file.
        """
        if self.name == "cpu":
            return "float32"
        return {"fp16": "float16", "bf16": "bfloat16", "fp32": "float32"}[self.precision]

    def environment(self, inherited: dict[str, str]) -> dict[str, str]:
        """What a worker's process must find before it imports Paddle.

        Args:
            inherited: the environment of the parent.
        """
        changed = {"OMP_NUM_THREADS": str(self.threads)}
        if self.name.startswith("gpu:"):
            index = int(self.name.partition(":")[2])
            shown = list(filter(None, inherited.get("CUDA_VISIBLE_DEVICES", "").split(",")))
            # Paddle sets up every card that it sees: a worker is shown its own alone.
            changed["CUDA_VISIBLE_DEVICES"] = shown[index] if shown else str(index)
            inherited = GPU_ENVIRONMENT | inherited  # a user's own flags win
        return inherited | changed


def choose_devices(
    kind: str,
    devices: str | int | Sequence[int],
    workers: str | int,
    precision: str,
    cpu_workers: int = 1,
) -> tuple[Device, ...]:
    """One device for each worker.

    Args:
        kind: auto, cpu or gpu.
        devices: which GPUs: auto (all that are visible), how many, or a list of their numbers.
        workers: how many processes share a CPU's cores, or auto.
        precision: auto, fp16, bf16 or fp32.
        cpu_workers: what auto means on a CPU.

    Raises:
        UserError: no such device here, or a precision that it lacks.
    """
    if kind not in ("auto", "cpu", "gpu"):
        advice = "; choose cards with devices=[0]" if kind.startswith("gpu:") else ""
        raise UserError(f"device: expected auto, cpu or gpu, found {kind!r}{advice}")
    count = 0 if kind == "cpu" else gpu_count()
    if kind == "gpu" and not count:
        raise UserError("device: gpu: this machine shows Paddle 0 GPUs; choose device=cpu")
    if not count:
        if devices != "auto":
            raise UserError(
                f"devices: {_shown(devices)}: for GPUs only; on a CPU give workers=N instead"
            )
        return cpu_devices(cpu_workers if workers == "auto" else workers, precision)
    chosen = _cards(devices, count)
    if workers not in ("auto", len(chosen)):
        raise UserError(
            f"workers: {workers}: on GPUs there is one worker for each of devices "
            f"({len(chosen)} here)"
        )
    precision = "fp16" if precision == "auto" else precision
    return tuple(Device(f"gpu:{n}", precision, sharing=len(chosen)) for n in chosen)


def cpu_devices(workers: int, precision: str) -> tuple[Device, ...]:
    """The cores of this machine (those that we may use) divided among workers.

    Raises:
        UserError: a precision that Paddle lacks on a CPU.
    """
    if precision not in ("auto", "fp32", "bf16", RANDOM):
        raise UserError(
            f"precision={precision}: Paddle has no {precision} convolutions on a CPU; "
            "choose precision=fp32 (or auto) or bf16, or run on a GPU"
        )
    precision = "fp32" if precision == "auto" else precision
    cores = sorted(os.sched_getaffinity(0))
    if workers == 1:
        return (Device("cpu", precision),)
    if workers > len(cores):  # each keeps to one, some share it
        shares = [[cores[n % len(cores)]] for n in range(workers)]
    else:
        ends = [n * len(cores) // workers for n in range(workers + 1)]
        shares = [cores[start:end] for start, end in pairwise(ends)]
    return tuple(Device("cpu", precision, tuple(share)) for share in shares)


def cpu_has_bf16() -> bool:
    """Whether this machine's CPU multiplies bfloat16 (AVX512_BF16)."""
    try:
        return "avx512_bf16" in Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return False


def _cards(devices: str | int | Sequence[int], count: int) -> list[int]:
    if devices == "auto":
        return list(range(count))
    chosen = list(range(devices)) if isinstance(devices, int) else list(devices)
    absent = [number for number in chosen if number >= count]
    if absent:
        raise UserError(
            f"devices: {_shown(devices)}: this machine shows Paddle {count} GPUs, "
            f"numbered 0 to {count - 1}"
        )
    return chosen


def _shown(devices: str | int | Sequence[int]) -> str:
    return str(devices) if isinstance(devices, (str, int)) else str(list(devices))


def gpu_count() -> int:
    """How many GPUs Paddle would find here; 0 with a build for CPUs.

    Raises:
        UserError: Paddle is not installed, or cannot be imported.
    """
    version = paddle_version_file().read_text(encoding="utf-8")
    if re.search(r"^cuda_version\s*=\s*'False'", version, re.M):
        return 0
    return int(_asked_of_paddle("import paddle; print(paddle.device.cuda.device_count())")[-1])


def cards_by_paddle() -> list[Hardware]:
    """The GPUs as Paddle describes them, where nvidia-smi cannot be asked.

    Raises:
        UserError: Paddle cannot be imported.
    """
    script = (
        "import paddle; c = paddle.device.cuda\n"
        "for n in range(c.device_count()):\n"
        "    p = c.get_device_properties(n)\n"
        "    print('sdbatch-card', p.major, p.minor, p.total_memory, p.name)"
    )
    lines = [line.split(maxsplit=4) for line in _asked_of_paddle(script)]
    return [
        Hardware(line[4], (int(line[1]), int(line[2])), int(line[3]))
        for line in lines
        if line[:1] == ["sdbatch-card"]  # libraries print warnings too
    ]


def _asked_of_paddle(script: str) -> list[str]:
    """What a process that may import Paddle prints."""
    child = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    if child.returncode:
        lines = child.stderr.strip().splitlines() or ["no message"]
        raise UserError(f"Paddle cannot be imported: {lines[-1]}")
    return child.stdout.splitlines()


def prepare_process() -> None:
    """Import Paddle with the environment it should find: all cores, and no chatter."""
    # Paddle sets OMP_NUM_THREADS=1 on import where it is unset, and warns where it is not; two
    # threads on two cores make the demo's pictures 1.4 times as fast.
    os.environ.setdefault("OMP_NUM_THREADS", str(len(os.sched_getaffinity(0))))
    os.environ.setdefault("GLOG_minloglevel", "2")
    # Paddle waits 10 s before it reports that memory is exhausted; waiting never helps us.
    os.environ.setdefault("FLAGS_gpu_allocator_retry_time", "1")
    keep_freed_memory()
    warnings.filterwarnings("ignore", module=r"paddle|_distutils_hack|paddlenlp|jieba")
    with contextlib.redirect_stderr(io.StringIO()):
        import paddle

    # Its handlers would end a worker that its parent wants to end in order.
    paddle.disable_signal_handler()


def enter(device: Device) -> None:
    """Import Paddle and make the device the current one; a worker sees its own GPU alone."""
    prepare_process()
    import paddle

    paddle.set_device("cpu" if device.name == "cpu" else "gpu:0")
