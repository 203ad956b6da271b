"""The rehearsal's engine: no networks, random pixels. Imports no Paddle.

It takes next to no time, so a run with it shows what everything else costs: shards, image
encoding, the disk, the metadata.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from sdbatch.request import ImageInputs, ImageRequest
from sdbatch.stopwatch import Stopwatch
from sdbatch.text import ReadPrompt

_OFFSETS = 1 << 20


class RandomPixels:
    """Pictures of noise, each a function of its request's seed alone."""

    def __init__(self) -> None:
        self._noise = np.empty(0, np.uint8)

    def read(self, prompt: str) -> ReadPrompt:
        """Nothing reads the prompt: no tokens, nothing cut off."""
        return ReadPrompt(chunks=1, tokens=0, truncated=None)

    def expect(self, requests: Sequence[ImageRequest]) -> None:
        """Nothing reads texts."""

    def batch_key(self, request: ImageRequest) -> Hashable:
        """As for networks, without their texts."""
        return request.batch_key

    def generate(
        self, requests: Sequence[ImageRequest], inputs: Sequence[ImageInputs], watch: Stopwatch
    ) -> Sequence[np.ndarray]:
        """uint8 [height, width, 3] of each request: a stretch of one long noise, by its seed."""
        with watch.stage("denoise"):
            first = requests[0]
            shape = (first.height, first.width, 3)
            self._grow(int(np.prod(shape)) + _OFFSETS)
            return [self._picture(request.seed % _OFFSETS, shape) for request in requests]

    def release(self) -> None:
        """Nothing is held."""

    @property
    def peak_device_bytes(self) -> None:
        """There is no device."""
        return None

    def _picture(self, offset: int, shape: tuple[int, ...]) -> np.ndarray:
        return self._noise[offset : offset + int(np.prod(shape))].reshape(shape)

    def _grow(self, size: int) -> None:
        """A longer noise begins with the shorter one, so pictures do not depend on its length."""
        if size > len(self._noise):
            source = np.random.Generator(np.random.PCG64(0))
            self._noise = np.frombuffer(source.bytes(size + size // 2), np.uint8)
