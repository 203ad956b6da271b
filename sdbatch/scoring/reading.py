"""Pictures and texts through a judge's layers, a few at a time, from whatever thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import paddle
from paddle import Tensor

from sdbatch.engine.tracing import RECORDING
from sdbatch.scoring.preparation import Preparation
from sdbatch.scoring.towers import PictureReader

BATCH = 8
"""Pictures or texts that are read at once, which bounds memory and the device's waiting."""


def read_pictures(
    towers: PictureReader, preparation: Preparation, pixels: Sequence[np.ndarray], batch: int
) -> np.ndarray:
    """float32 [n, projection] of at least one picture, uint8 [height, width, 3].

    Raises:
        ValueError: something is no picture.
    """

    def read(pictures: Sequence[np.ndarray]) -> Tensor:
        return towers.read_pictures(paddle.to_tensor(np.stack(pictures)))

    for picture in pixels:
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            found = f"{picture.dtype} {list(picture.shape)}"
            raise ValueError(f"expected pixels uint8 [height, width, 3], found {found}")
    return in_batches(read, pixels, batch, preparation)


def in_batches(
    read: Callable[[Sequence], Tensor],
    items: Sequence,
    batch: int,
    prepare: Callable = lambda item: item,
) -> np.ndarray:
    """What `read` makes of prepared items, `batch` at a time; the device's thread may go on."""
    found = []
    for start in range(0, len(items), batch):
        prepared = [prepare(item) for item in items[start : start + batch]]
        with RECORDING, paddle.no_grad():  # both are this thread's own
            found.append(read(prepared).numpy())
    return np.concatenate(found)


def directions(features: np.ndarray) -> np.ndarray:
    """Rows of length 1, as PyTorch's `normalize` makes them; zeros stay zeros."""
    lengths = np.linalg.norm(features, axis=-1, keepdims=True)
    return features / np.maximum(lengths, np.float32(1e-12))
