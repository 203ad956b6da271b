"""Token merging: similar cells of a feature map go through self-attention as one.

Bolya and Hoffman 2023, arXiv 2303.17604, and the authors' `tomesd` (`merge.py`,
`bipartite_soft_matching_random2d`). The top left cell of each 2x2 is always kept and receives
others; of the rest, the most similar to one of those are merged into it, as a mean. After attention
each merged cell is given what its receiver became.

Here nothing is random, so that a picture depends on its own tokens alone; and merging is a product
with a matrix of zeros and ones instead of a scattered addition, whose order GPUs leave open.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import Tensor


@dataclass(frozen=True)
class TokenMerging:
    """How the tokens of maps of one size are merged.

    Attributes:
        height, width: of the map; its tokens stand row by row.
        ratio: share of all tokens that are merged, 0..0.75; at most all but the receivers.
    """

    height: int
    width: int
    ratio: float

    def around(self, layer: Callable[[Tensor], Tensor], x: Tensor, metric: Tensor) -> Tensor:
        """`layer(x)` on fewer tokens.

        Args:
            layer: [B, M, C] -> [B, M, C] for any M.
            x: [B, height * width, C].
            metric: tokens are similar if these are, by the cosine; shape of `x`.

        Returns:
            Shape of `x`.
        """
        raster = np.arange(self.height * self.width).reshape(self.height, self.width)
        receives = np.zeros_like(raster, dtype=bool)
        receives[::2, ::2] = True
        givers, receivers = raster[~receives], raster[receives]
        merged = min(int(raster.size * self.ratio), givers.size)
        if merged == 0:
            return layer(x)
        kept = givers.size - merged

        scores = _similarities(_columns(metric, givers), _columns(metric, receivers))
        nearest = paddle.argmax(scores, axis=-1)  # [B, givers]: the receiver of each
        # The most similar giver has rank 0. Both sorts are by picture, so batches do not matter.
        order = paddle.argsort(scores.max(axis=-1), axis=-1, descending=True)
        rank = paddle.argsort(order, axis=-1)
        gives = rank < merged

        giving, receiving = _columns(x, givers), _columns(x, receivers)
        numbers = paddle.arange(receivers.size, dtype=nearest.dtype)
        into = paddle.logical_and(nearest.unsqueeze(-1) == numbers, gives.unsqueeze(-1))
        into = into.astype(x.dtype)  # [B, givers, receivers]
        total = receiving + paddle.matmul(into, giving, transpose_x=True)
        mean = total / (1 + into.sum(axis=1)).unsqueeze(-1)
        y = mean
        if kept:
            y = paddle.concat([_rows(giving, order[:, merged:]), mean], axis=1)

        y = layer(y)
        # Where each token's result stands among them: a kept giver by its rank, then receivers.
        place = paddle.where(gives, kept + nearest, rank - merged)
        own = paddle.ones_like(nearest[:, :1]) * (kept + numbers)
        places = paddle.concat([place, own], axis=1)
        back = np.argsort(np.concatenate([givers, receivers]))
        return _rows(y, _columns(places, back))


def _similarities(one: Tensor, other: Tensor) -> Tensor:
    """Cosines, float32: [B, N, C], [B, M, C] -> [B, N, M]."""
    # Squares of half-precision numbers overflow.
    one, other = (F.normalize(x.astype("float32"), axis=-1).astype(x.dtype) for x in (one, other))
    return paddle.matmul(one, other, transpose_y=True).astype("float32")


def _columns(x: Tensor, index: np.ndarray) -> Tensor:
    """x[:, index], for positions that are the same in all pictures."""
    return paddle.index_select(x, paddle.to_tensor(index.astype("int64")), axis=1)


def _rows(x: Tensor, index: Tensor) -> Tensor:
    """x[b, index[b]] for each picture b: [B, N, C], int64 [B, M] -> [B, M, C].

    One plain gather, as the batch is unknown when a program is recorded.
    """
    tokens, channels = x.shape[1:]
    before = paddle.cumsum(paddle.ones_like(index[:, :1]), axis=0) - 1
    flat = (index + tokens * before).flatten()
    return paddle.gather(x.reshape([-1, channels]), flat).reshape([-1, index.shape[1], channels])
