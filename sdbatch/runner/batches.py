"""Planned images to pixels, micro-batch by micro-batch, with back-off where memory runs out."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from sdbatch.plan import PlannedImage
from sdbatch.request import ImageInputs, ImageRequest
from sdbatch.runner.inputs import NOT_LOADED, InputsAhead, LoadedInputs
from sdbatch.stopwatch import Stopwatch
from sdbatch.text import ReadPrompt

GROW_AFTER = 8
"""After so many batches that fit, a batch size that was halved is doubled again."""


_OOM = ("ResourceExhausted", "out of memory", "ALLOC_FAILED")  # the last is cuBLAS's and cuDNN's


class Engine(Protocol):
    """What makes pictures: `sdbatch.pipeline.Pipeline`, or the rehearsal's random pixels."""

    def read(self, prompt: str) -> ReadPrompt:
        """How a prompt is read; cheap."""

    def expect(self, requests: Sequence[ImageRequest]) -> None:
        """Get ready for the texts of these requests, all at once."""

    def batch_key(self, request: ImageRequest) -> Hashable:
        """Requests whose keys are equal can be made together."""

    def generate(
        self, requests: Sequence[ImageRequest], inputs: Sequence[ImageInputs], watch: Stopwatch
    ) -> Sequence[np.ndarray]:
        """[height, width, 3] of each: float32 in 0..1, or uint8 where it is rounded already."""

    def release(self) -> None:
        """Give back memory after `generate` raised a MemoryError."""

    @property
    def peak_device_bytes(self) -> int | None:
        """The most memory that was in use on the device; None on a CPU."""


class DeviceLost(Exception):
    """The device is in a state that no other picture would survive; the worker must go."""


@dataclass(frozen=True)
class Made:
    """What became of one image before it is judged and encoded.

    `pixels` is None where `error` is not.
    """

    planned: PlannedImage
    pixels: np.ndarray | None
    error: Exception | None
    batch_size: int
    latency_s: float
    inputs: LoadedInputs = NOT_LOADED


class BatchSize:
    """How many images a micro-batch holds: up to `limit`, fewer while memory does not suffice."""

    def __init__(self, limit: int):
        self._limit = self.now = limit
        self._patience = GROW_AFTER
        self._fitted = 0
        self._grown = False

    def too_large(self, size: int) -> None:
        """A batch of `size` did not fit: half of it, until enough of them fitted."""
        if self._grown:  # a try at more: the next one waits longer
            self._patience *= 2
            self._grown = False
        self.now = max(1, min(self.now, size // 2))
        self._fitted = 0

    def fitted(self) -> None:
        """A batch went well."""
        if self.now == self._limit:
            return
        self._fitted += 1
        if self._fitted >= self._patience:
            self.now = min(self._limit, self.now * 2)
            self._fitted = 0
            self._grown = True


def make(
    engine: Engine,
    images: Sequence[PlannedImage],
    size: BatchSize,
    inputs: InputsAhead,
    watch: Stopwatch,
    alone: Collection[str] = (),
    begin: Callable[[Sequence[PlannedImage], int], None] = lambda batch, left: None,
) -> Iterator[list[Made]]:
    """Make images, those that can be made together in micro-batches; in order within a kind.

    Which images share a batch never changes an image. What fails in a batch is made again one by
    one, so that one image cannot spoil others; what does not fit into memory, in halves.

    Args:
        engine: makes pictures.
        images: what to make.
        size: of micro-batches; kept from call to call.
        inputs: reads the pictures that requests name.
        watch: is told where the time goes.
        alone: ids of images that share no batch.
        begin: called before every attempt with its images and how many are left after it; it may
            raise to end the work.

    Raises:
        DeviceLost: nothing more can be made in this process.
    """
    left = len(images)
    singles = set(alone)
    for kind in _kinds(images, engine.batch_key):
        queue = deque(kind)
        while queue:
            batch = _take(queue, size.now, singles)
            begin(batch, left - len(batch))
            made, failure = _attempt(engine, batch, inputs, watch)
            if failure is not None and len(batch) > 1:
                if is_oom(failure):
                    size.too_large(len(batch))
                else:
                    singles.update(image.image_id for image in batch)
                queue.extendleft(reversed(batch))
                continue
            if failure is None:
                size.fitted()
            left -= len(batch)
            yield made


def in_order(
    images: Sequence[PlannedImage], key: Callable[[ImageRequest], Hashable]
) -> list[PlannedImage]:
    """The images in the order in which `make` makes them: kind by kind."""
    return [image for kind in _kinds(images, key) for image in kind]


def is_oom(error: BaseException | None) -> bool:
    """Whether memory was exhausted.

    Paddle raises MemoryError, but RuntimeError in some places, and where its own allocator is not
    asked, OSError: `(External) CUDA error(2), out of memory`.
    """
    text = str(error)
    return isinstance(error, MemoryError) or any(sign in text for sign in _OOM)


def is_device_lost(error: Exception) -> bool:
    """After such an error of CUDA every later call fails too, until the process ends."""
    text = str(error)
    return "CUDA error" in text and not is_oom(error)


def _kinds(
    images: Sequence[PlannedImage], key: Callable[[ImageRequest], Hashable]
) -> Iterator[list[PlannedImage]]:
    kinds: dict[Hashable, list[PlannedImage]] = {}
    for image in images:
        kinds.setdefault(key(image.request), []).append(image)
    yield from kinds.values()


def _take(queue: deque[PlannedImage], size: int, singles: Collection[str]) -> list[PlannedImage]:
    """The next micro-batch, taken from the front."""
    batch = [queue.popleft()]
    if batch[0].image_id not in singles:
        while queue and len(batch) < size and queue[0].image_id not in singles:
            batch.append(queue.popleft())
    return batch


def _attempt(
    engine: Engine, batch: Sequence[PlannedImage], inputs: InputsAhead, watch: Stopwatch
) -> tuple[list[Made], Exception | None]:
    """Every image of the batch with pixels or with an error, in order; and the engine's error."""
    started = time.monotonic()
    made: dict[str, Made] = {}
    readable, loaded = [], []
    with watch.stage("inputs"):
        for image in batch:
            try:
                loaded.append(inputs.get(image))
                readable.append(image)
            except Exception as error:
                made[image.image_id] = Made(image, None, error, 1, 0.0)
    pictures, failure = _generate(engine, readable, loaded, watch) if readable else ([], None)
    latency = (time.monotonic() - started) / len(batch)
    for image, pixels, read in zip(readable, pictures, loaded, strict=True):
        made[image.image_id] = Made(image, pixels, failure, len(readable), latency, read)
    return [made[image.image_id] for image in batch], failure


def _generate(
    engine: Engine,
    batch: Sequence[PlannedImage],
    loaded: Sequence[LoadedInputs],
    watch: Stopwatch,
) -> tuple[Sequence[np.ndarray | None], Exception | None]:
    """One picture for each image, or None for each and why.

    Raises:
        DeviceLost: nothing more can be made in this process.
    """
    requests = [image.request for image in batch]
    try:
        return engine.generate(requests, [inputs.pixels for inputs in loaded], watch), None
    except Exception as error:
        if is_device_lost(error):
            raise DeviceLost(str(error)) from error
        # The traceback would keep the batch's tensors alive.
        failure = error.with_traceback(None)
    if is_oom(failure):
        engine.release()
    return [None] * len(batch), failure
