"""The numbers `torch.randn` draws from a CUDA generator, and the web UI's "NV" noise source.

Method: Philox4x32-10 (J. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011),
laid out as PyTorch lays it out for a GPU (aten/src/ATen/core/PhiloxRNGEngine.h): value number
`index` of draw number `offset` is made from the counter (offset, 0, index, 0) under the seed as
the key.  Words 0 and 1 go through the Box-Muller transform of cuRAND's curand_normal.h, of which
the sine is kept; that is what AUTOMATIC1111's modules/rng_philox.py computes, too.

Accuracy: every float32 is that of rng_philox.py but for the last bit, where the processor's
logarithm or sine differs (it works in float64, and so does this).  A GPU works in float32 with
its fast sine: its values should differ by about 1e-6; no GPU was at hand, so they were checked to
the four decimals that people print (tests/noise/test_philox.py).

Limits: on a GPU a draw of more values than can be in flight at once (processors x threads each:
40,960 on a T4, 221,184 on an A100) is laid out differently from there on; the web UI's source
ignores that, and so does this.  A latent of 64 x 64 x 4 has 16,384 values, one of 128 x 128 x 4
has 65,536.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sdbatch.noise.seeds import checked_seed

_ROUNDS = 10
_MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_KEY_STEPS = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
_UNIT = 2.0**-32
_TURN = float(np.float32(2 * math.pi)) * 2.0**-32  # float32's 2 pi, as in cuRAND


class PhiloxGenerator:
    """The stream of one `torch.Generator("cuda").manual_seed(seed)`; all 63 bits count.

    Raises ValueError unless `seed` is an integer with 0 <= seed < 2**63.
    """

    def __init__(self, seed: int) -> None:
        self._seed = checked_seed(seed)
        self._offset = 0

    def randn(self, shape: int | Sequence[int]) -> NDArray[np.float32]:
        """Standard normal values, a new C-contiguous float32 array of the given shape.

        Every draw that is not empty is one step of the stream, whatever its size.
        Raises ValueError for a negative dimension.
        """
        out = np.empty(shape, np.float32)
        if out.size:
            counter = np.zeros((4, out.size), np.uint64)
            counter[0] = self._offset
            counter[2] = np.arange(out.size)
            x, y, _, _ = philox4x32(counter, self._seed)
            out.reshape(-1)[:] = _box_muller(x, y)
            self._offset += 1
        return out


def philox4x32(counter: NDArray[np.uint64], key: int) -> NDArray[np.uint64]:
    """Ten rounds of Philox4x32, uint64 [4, n] -> uint64 [4, n], every value below 2**32.

    Args:
        counter: the four 32-bit words of n counters.
        key: 64 bits, the low word first.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = np.uint64(key) & _LOW, np.uint64(key) >> _HALF
    for _ in range(_ROUNDS):
        first, second = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1 = (second >> _HALF) ^ c1 ^ k0, second & _LOW
        c2, c3 = (first >> _HALF) ^ c3 ^ k1, first & _LOW
        k0, k1 = (k0 + _KEY_STEPS[0]) & _LOW, (k1 + _KEY_STEPS[1]) & _LOW
    return np.stack([c0, c1, c2, c3])


def _box_muller(x: NDArray[np.uint64], y: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Of the two normals that two uniforms make, the first in cuRAND's order.

    Half a step is added to each, so that the logarithm never meets zero.
    """
    radius = np.sqrt(-2 * np.log(x * _UNIT + _UNIT / 2))
    return radius * np.sin(y * _TURN + _TURN / 2)
