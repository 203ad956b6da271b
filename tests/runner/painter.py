"""An engine whose prompts say what becomes of them, planned images, and the two together."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from sdbatch.plan import PlannedImage, plan_image
from sdbatch.request import ImageInputs, ImageRequest
from sdbatch.runner.batches import BatchSize, Made, make
from sdbatch.runner.inputs import InputsAhead, LoadedInputs
from sdbatch.stopwatch import Stopwatch
from sdbatch.text import ReadPrompt
from tests.examples import a_picture, a_row, some_settings


class Painter:
    """Stands in for the pipeline: a prompt's first word says what becomes of it.

    Args:
        memory: how many pictures fit into one batch.

    Attributes:
        batches: prompts of every call, also of those that failed.
        releases: how often memory was given back.
    """

    peak_device_bytes = None

    def __init__(self, memory: int = 1000):
        self.memory = memory
        self.batches: list[list[str]] = []
        self.releases = 0

    def expect(self, requests: Sequence[ImageRequest]) -> None:
        """Its texts need nothing."""

    def batch_key(self, request: ImageRequest) -> Hashable:
        return request.batch_key

    def read(self, prompt: str) -> ReadPrompt:
        return ReadPrompt(chunks=1, tokens=len(prompt.split()), truncated=None)

    def generate(
        self, requests: Sequence[ImageRequest], inputs: Sequence[ImageInputs], watch: Stopwatch
    ) -> np.ndarray:
        self.batches.append([request.prompt for request in requests])
        assert len(inputs) == len(requests)
        assert len({request.batch_key for request in requests}) == 1
        with watch.stage("denoise"):
            if len(requests) > self.memory:
                raise MemoryError("out of memory:\n  no room")
            return np.stack([self.paint(request) for request in requests])

    def paint(self, request: ImageRequest) -> np.ndarray:
        pixels = a_picture(request.height, request.width)
        match request.prompt.split()[0]:
            case "broken":
                raise RuntimeError("the kernel failed:\n  line two")
            case "huge":
                raise MemoryError("out of memory")
            case "lost":
                raise OSError("(External) CUDA error(700), an illegal memory access")
            case "overflow":
                pixels[0, 0, 0] = np.nan
            case "flat":
                pixels[:] = 0.25
        return pixels

    def release(self) -> None:
        self.releases += 1


def images(*prompts: str, **changes: Any) -> list[PlannedImage]:
    """A planned image of each prompt; `changes` are overrides of their rows."""
    settings = some_settings(width=16, height=8)
    rows = [{"id": str(n), "index": n, "prompt": prompt} for n, prompt in enumerate(prompts)]
    return [plan_image(settings, a_row(**{**row, **changes}), 0) for row in rows]


def read_nothing(request) -> LoadedInputs:
    return LoadedInputs(ImageInputs())


def batches(engine, images, size, load=read_nothing, watch=None, **options) -> list[list[Made]]:
    """What `make` makes of the images, batch by batch; `size` is a number or a BatchSize."""
    size = BatchSize(size) if isinstance(size, int) else size
    inputs = InputsAhead(images, load, ahead=4)
    try:
        return list(make(engine, images, size, inputs, watch or Stopwatch(), **options))
    finally:
        inputs.close()


def made(*arguments, **options) -> list[Made]:
    return [one for batch in batches(*arguments, **options) for one in batch]


def prompts(images) -> list[str]:
    return [image.request.prompt for image in images]


def names(images) -> list[str]:
    return [image.image_id for image in images]
