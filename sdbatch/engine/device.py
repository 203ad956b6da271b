"""The device and the number format of a run."""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from dataclasses import dataclass

from sdbatch.errors import UserError


@dataclass(frozen=True)
class Device:
    """Where and in which format the networks run: e.g. `gpu:0`, `fp16`."""

    name: str
    precision: str

    @property
    def dtype(self) -> str:
        """Paddle's name of the precision."""
        return {"fp16": "float16", "bf16": "bfloat16", "fp32": "float32"}[self.precision]

    @property
    def auto_batch_size(self) -> int:
        """Images per micro-batch where the config says `auto`."""
        return 4


def prepare_process() -> None:
    """Import Paddle with the environment it should find: all cores, and no chatter."""
    # Paddle sets OMP_NUM_THREADS=1 on import where it is unset, and warns where it is not; two
    # threads on two cores make the demo's pictures 1.4 times as fast.
    os.environ.setdefault("OMP_NUM_THREADS", str(len(os.sched_getaffinity(0))))
    os.environ.setdefault("GLOG_minloglevel", "2")
    # Paddle waits 10 s before it reports that memory is exhausted; waiting never helps us.
    os.environ.setdefault("FLAGS_gpu_allocator_retry_time", "1")
    warnings.filterwarnings("ignore", module=r"paddle|_distutils_hack|paddlenlp|jieba")
    with contextlib.redirect_stderr(io.StringIO()):
        import paddle  # noqa: F401


def choose_device(device: str, precision: str) -> Device:
    """Resolve `auto`, and refuse what the device cannot do.

    Args:
        device: auto, cpu, gpu or gpu:N.
        precision: auto, fp16, bf16 or fp32.

    Raises:
        UserError: no such device here, or a precision that it lacks.
    """
    import paddle

    count = paddle.device.cuda.device_count() if paddle.is_compiled_with_cuda() else 0
    if device == "auto":
        device = "gpu" if count else "cpu"
    kind, _, index = device.partition(":")
    if kind not in ("cpu", "gpu") or (index and (kind == "cpu" or not index.isdecimal())):
        raise UserError(f"device: expected auto, cpu, gpu or gpu:N, found {device!r}")
    if kind == "gpu" and int(index or 0) >= count:
        raise UserError(f"device: {device}: this machine shows Paddle {count} GPUs; choose cpu")
    if precision == "auto":
        precision = "fp16" if kind == "gpu" else "fp32"
    if kind == "cpu" and precision != "fp32":
        raise UserError(
            f"precision={precision}: Paddle has no {precision} convolutions on a CPU; "
            "choose precision=fp32 (or auto), or run on a GPU"
        )
    name = "cpu" if kind == "cpu" else f"gpu:{index or 0}"
    paddle.set_device(name)
    return Device(name, precision)
