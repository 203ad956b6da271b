"""What attention is computed with; a choice without Paddle, which `attention.py` carries out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AttentionKernels:
    """Which kernel takes which attention.

    Attributes:
        flash: head sizes up to this one go to the flash kernel (0: none do).
        memory_efficient: head sizes up to this one go to the memory-efficient kernel, where flash
            does not take them (0: none do).
        score_bytes: matrix products are used otherwise, over as many queries at a time as make one
            picture's scores no larger than this. On a CPU they then stay in its cache.
    """

    flash: int = 0
    memory_efficient: int = 0
    score_bytes: int = 16 << 20


BY_PRODUCTS = AttentionKernels()
"""Matrix products alone, which run everywhere."""


def rows_at_a_time(queries: int, keys: int, heads: int, score_bytes: int) -> int:
    """How many queries' scores, float32 [heads, rows, keys], fit: all, or a power of two."""
    if 4 * heads * queries * keys <= score_bytes:
        return queries
    return 1 << max(score_bytes // (4 * heads * keys), 1).bit_length() - 1
