"""Scaled dot-product attention, by the kernel that was chosen for the device.

Which kernel that is, `sdbatch.engine.choices` says; here it is only carried out. Paddle's own
choice is not used: 2.6 goes by head size alone and then fails on cards that lack the kernel.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

import paddle
import paddle.nn.functional as F
from paddle import Tensor

from sdbatch.models.kernels import BY_PRODUCTS, AttentionKernels, rows_at_a_time

_kernels: ContextVar[AttentionKernels] = ContextVar("kernels", default=BY_PRODUCTS)


@contextlib.contextmanager
def attention_kernels(kernels: AttentionKernels) -> Iterator[None]:
    """Within the context, `attend` uses these."""
    token = _kernels.set(kernels)
    try:
        yield
    finally:
        _kernels.reset(token)


def attend(q: Tensor, k: Tensor, v: Tensor, *, upcast: bool = False) -> Tensor:
    """softmax(q k^T / sqrt(head_dim)) v.

    Args:
        q: [batch, queries, heads, head_dim].
        k: [batch, keys, heads, head_dim].
        v: [batch, keys, heads, head_dim].
        upcast: compute the scores in float32 (SD 2.1 overflows in half precision otherwise).

    Returns:
        [batch, queries, heads, head_dim] in the dtype of q.
    """
    kernels, head_dim = _kernels.get(), q.shape[-1]
    # Both kernels keep their statistics in float32; only plain products need the upcast.
    if head_dim <= kernels.flash:
        return F.flash_attention.flash_attention(q, k, v, training=False)[0]
    if head_dim <= kernels.memory_efficient:
        from paddle.incubate.nn.memory_efficient_attention import memory_efficient_attention

        return memory_efficient_attention(q, k, v, training=False)
    return _products(q, k, v, upcast, kernels.score_bytes)


def _products(q: Tensor, k: Tensor, v: Tensor, upcast: bool, score_bytes: int) -> Tensor:
    scale = q.shape[-1] ** -0.5
    q, k, v = (x.transpose([0, 2, 1, 3]) for x in (q, k, v))
    dtype = v.dtype
    if upcast:
        q, k = q.astype("float32"), k.astype("float32")
    q = q * scale
    _, heads, queries, _ = q.shape
    rows = rows_at_a_time(queries, k.shape[2], heads, score_bytes)
    parts = []
    for start in range(0, queries, rows):
        part = q if rows == queries else q[:, :, start : start + rows]
        scores = F.softmax(paddle.matmul(part, k, transpose_y=True), axis=-1)
        if upcast:  # Paddle 2.6 would copy even where nothing is cast
            scores = scores.astype(dtype)
        parts.append(paddle.matmul(scores, v))
        del scores  # before the next slice's are made
    mixed = parts[0] if len(parts) == 1 else paddle.concat(parts, axis=2)
    return mixed.transpose([0, 2, 1, 3])
