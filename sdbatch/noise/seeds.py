"""Which seeds there are; the same for every source, so that a table can change its source."""

from __future__ import annotations

import numpy as np

MAX_SEED = 2**63 - 1


def checked_seed(seed: int) -> int:
    """The seed as a plain integer.

    Raises:
        ValueError: it is not an integer with 0 <= seed < 2**63.
    """
    # bool is an int to Python; as a seed it is a slip.
    is_integer = isinstance(seed, (int, np.integer)) and not isinstance(seed, bool)
    if not is_integer or not 0 <= seed <= MAX_SEED:
        raise ValueError(f"seed must be an integer from 0 to 2**63 - 1, not {seed!r}")
    return int(seed)
