"""Scaled dot-product attention, with the kernel chosen here.

Paddle 2.6 picks a flash kernel by head size alone and then fails on cards that lack it, so the
choice is made here: fused on a GPU of compute capability 8.0 or newer in half precision, plain
matrix products everywhere else. (The GPU branch is unmeasured: no GPU was at hand.)
"""

from __future__ import annotations

from functools import lru_cache

import paddle
import paddle.nn.functional as F
from paddle import Tensor


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
    if not upcast and q.dtype != paddle.float32 and _has_flash_attention():
        return F.scaled_dot_product_attention(q, k, v, training=False)
    scale = q.shape[-1] ** -0.5
    q, k, v = (x.transpose([0, 2, 1, 3]) for x in (q, k, v))
    dtype = v.dtype
    if upcast:
        q, k = q.astype("float32"), k.astype("float32")
    scores = paddle.matmul(q * scale, k, transpose_y=True)
    weights = F.softmax(scores, axis=-1).astype(dtype)
    return paddle.matmul(weights, v).transpose([0, 2, 1, 3])


@lru_cache(maxsize=1)
def _has_flash_attention() -> bool:
    if not paddle.device.get_device().startswith("gpu"):
        return False
    major, _ = paddle.device.cuda.get_device_capability()
    return major >= 8
