"""Engines that misbehave, to be loaded by real worker processes."""

from __future__ import annotations

import ctypes
import itertools
import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from sdbatch.engine.device import Device
from sdbatch.engine.random import RandomPixels
from sdbatch.errors import UserError
from sdbatch.request import ImageInputs, ImageRequest
from sdbatch.runner.prepare import Job
from sdbatch.stopwatch import Stopwatch

Load = Callable[[Job, Device], RandomPixels]

# What can happen to an image that is being made: called with the size of its micro-batch and its
# pixels, float32 [height, width, 3] --------------------------------------------------------------

Fault = Callable[[int, np.ndarray], None]


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def leave(*_: object) -> None:
    os._exit(1)


def crash(*_: object) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.string_at(0)


def hang(*_: object) -> None:
    time.sleep(3600)


def lose_device(*_: object) -> None:
    raise OSError("(External) CUDA error(700), an illegal memory access was encountered.")


def exhaust_memory(*_: object) -> None:
    raise MemoryError("(ResourceExhausted) Fail to alloc memory")


def exhaust_the_card(*_: object) -> None:
    raise OSError("(External) CUDA error(2), out of memory. [Hint: 'cudaErrorMemoryAllocation'.]")


def exhaust_paddle(*_: object) -> None:
    import paddle

    paddle.zeros([2**60], "uint8")


def spoil(_: int, pixels: np.ndarray) -> None:
    pixels[3, 5, 1] = np.nan


def flatten(_: int, pixels: np.ndarray) -> None:
    pixels[:] = 0.25


@dataclass(frozen=True)
class Remove:
    """Takes a folder away; where `block` is set, none can be made in its place any more."""

    folder: Path
    block: bool = False

    def __call__(self, *_: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.block:
            self.folder.symlink_to("/proc")


@dataclass(frozen=True)
class Once:
    """A fault that happens once, however many processes come to it."""

    fault: Fault
    marker: Path

    def __call__(self, batch: int, pixels: np.ndarray) -> None:
        try:
            self.marker.touch(exist_ok=False)
        except FileExistsError:
            return
        self.fault(batch, pixels)


@dataclass(frozen=True)
class Above:
    """A fault of micro-batches of more than `size` images."""

    size: int
    fault: Fault

    def __call__(self, batch: int, pixels: np.ndarray) -> None:
        if batch > self.size:
            self.fault(batch, pixels)


@dataclass(frozen=True)
class Pause:
    """Takes its time, and tells by a file that it has begun."""

    seconds: float
    marker: Path | None = None

    def __call__(self, *_: object) -> None:
        if self.marker is not None:
            self.marker.touch()
        time.sleep(self.seconds)


@dataclass(frozen=True)
class Await:
    """Goes on when so many runs of a dataset have said something in their logs."""

    folder: Path
    text: str
    runs: int = 1

    def __call__(self, *_: object) -> None:
        while self._said() < self.runs:
            time.sleep(0.05)

    def _said(self) -> int:
        return sum(self.text in log.read_text() for log in self.folder.glob("logs/*/*.log"))


# Engines ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Faulty:
    """Loads the rehearsal's engine; some prompts, or every one (""), have a fault."""

    faults: Mapping[str, Fault] = field(default_factory=dict)

    def __call__(self, job: Job, device: Device) -> RandomPixels:
        return _Engine(self.faults)


class _Engine(RandomPixels):
    def __init__(self, faults: Mapping[str, Fault]):
        super().__init__()
        self._faults = faults

    def generate(
        self, requests: Sequence[ImageRequest], inputs: Sequence[ImageInputs], watch: Stopwatch
    ) -> list[np.ndarray]:
        made = super().generate(requests, inputs, watch)
        pictures = [picture.astype(np.float32) / 255 for picture in made]
        for request, pixels in zip(requests, pictures, strict=True):
            for prompt in ("", request.prompt):
                if prompt in self._faults:
                    self._faults[prompt](len(requests), pixels)
        return pictures


def break_loading(job: Job, device: Device) -> RandomPixels:
    raise RuntimeError("no such driver")


def refuse_loading(job: Job, device: Device) -> RandomPixels:
    raise UserError("weights.bin: expected 4 tensors,\n found 3")


def leave_loading(job: Job, device: Device) -> RandomPixels:
    print("these are\nthe last words", flush=True)
    os._exit(9)


@dataclass(frozen=True)
class FirstLoads:
    """One worker loads an engine; to all that come later something else happens."""

    load: Load
    otherwise: Load
    marker: Path

    def __call__(self, job: Job, device: Device) -> RandomPixels:
        try:
            self.marker.touch(exist_ok=False)
        except FileExistsError:
            return self.otherwise(job, device)
        return self.load(job, device)


def hang_loading(job: Job, device: Device) -> RandomPixels:
    time.sleep(3600)


def load_under_a_jumping_clock(job: Job, device: Device) -> RandomPixels:
    for name, value in jumping_clock().items():
        module, _, attribute = name.rpartition(".")
        setattr(sys.modules[module], attribute, value)
    # The worker's module runs as the main one.
    sys.modules["__main__"].datetime = sys.modules["sdbatch.runner.rows"].datetime
    return RandomPixels()


def jumping_clock() -> dict[str, Any]:
    """What to put where, so that the wall clock shows another hour at every look."""
    hours = itertools.cycle((0, 5, -7, 30, -2))
    real = time.time

    def now() -> float:
        return real() + 3600 * next(hours)

    class Jumping(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.fromtimestamp(now(), tz)

    return {"time.time": now, "sdbatch.runner.rows.datetime": Jumping}
