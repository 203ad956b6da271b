"""A picture decoded in overlapping tiles, for cards that cannot hold a whole one.

Tiles are blended by weights that rise from their edges (as diffusers' `tiled_decode` of
`autoencoder_kl.py` blends neighbours), and are all of one size, so that one program serves them.
Norms see a tile and not the picture: pixels differ from those decoded whole.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import paddle
from paddle import Tensor

_OVERLAP = 4
"""Neighbours share a quarter of a tile."""


def decode_in_tiles(
    decode: Callable[[Tensor], Tensor], latents: Tensor, tile: int, scale: int
) -> Tensor:
    """Pixels of latents that are larger than a tile.

    Args:
        decode: latents [1, C, h, w] -> pixels [1, 3, h * scale, w * scale].
        latents: [1, C, H, W].
        tile: cells of a tile's sides, at most; a side that is shorter is not cut.
        scale: pixels of a cell's sides.

    Returns:
        float32 [1, 3, H * scale, W * scale].
    """
    height, width = latents.shape[2:]
    rows, columns = min(tile, height), min(tile, width)
    weight = _rising(rows * scale)[:, None] * _rising(columns * scale)[None, :]
    total = np.zeros((1, 3, height * scale, width * scale), np.float32)
    weights = np.zeros(total.shape[2:], np.float32)
    for top in starts(height, rows):
        for left in starts(width, columns):
            part = latents[:, :, top : top + rows, left : left + columns].contiguous()
            pixels = decode(part).astype("float32").numpy()
            place = np.s_[
                top * scale : (top + rows) * scale, left * scale : (left + columns) * scale
            ]
            total[(..., *place)] += pixels * weight
            weights[place] += weight
    return paddle.to_tensor(total / weights)


def starts(side: int, tile: int) -> list[int]:
    """Where tiles begin so that neighbours share a quarter or more and the last ends at `side`."""
    if tile >= side:
        return [0]
    count = -(-(side - tile) // (tile - tile // _OVERLAP)) + 1
    return [round(i * (side - tile) / (count - 1)) for i in range(count)]


def _rising(length: int) -> np.ndarray:
    """Weights across a tile: from almost 0 at either edge to 1 over a quarter of it."""
    ramp = max(length // _OVERLAP, 1)
    distance = np.minimum(np.arange(length), np.arange(length)[::-1]) + 1
    return np.minimum(distance / ramp, 1).astype(np.float32)
