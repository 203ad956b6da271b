"""The numbers `torch.randn` draws from a CPU generator, bit for bit, with NumPy alone.

Method, after PyTorch's sources (aten/src/ATen): the Mersenne twister of core/MT19937RNGEngine.h;
from 16 values on, the float32 Box-Muller transform of native/cpu/DistributionTemplates.h on the
Cephes polynomials of native/cpu/avx_mathfun.h (G. Garberoglio, zlib licence; J. Pommier's
sse_mathfun); below 16, the float64 transform of core/DistributionsHelper.h.

Guarantee: equal to the AVX2 code of the official Linux x86-64 wheels (also taken on AVX-512
machines), in which the compiler fused most multiply-add pairs.  Verified with PyTorch 2.13.0+cpu
on an AMD EPYC (AVX-512): tests/golden/noise.json, and `tools/golden_noise.py --exhaustive`, which
puts every one of the 2^24 radii and 2^24 angles through PyTorch itself.  PyTorch on other
processors (no AVX2, ARM, GPU) calls other functions: the last bits, or all, are different.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sdbatch.noise.seeds import checked_seed

Float32Array = NDArray[np.float32]
Float32 = Float32Array | np.float32
_BLOCK = 16  # PyTorch's vector path turns 8 + 8 uniforms into 16 normals

_F = np.float32
_MEAN = _F(0)  # adding it, as PyTorch does, turns -0.0 into 0.0
_TWO_PI = _F(2 * math.pi)
_FOUR_OVER_PI = _F(1.27323954473516)
_SQRT_HALF = _F(0.707106781186547524)
_LOG_POLY = [
    _F(c)
    for c in (
        7.0376836292e-2,
        -1.1514610310e-1,
        1.1676998740e-1,
        -1.2420140846e-1,
        1.4249322787e-1,
        -1.6668057665e-1,
        2.0000714765e-1,
        -2.4999993993e-1,
        3.3333331174e-1,
    )
]
_LN2_LOW, _LN2_HIGH = _F(-2.12194440e-4), _F(0.693359375)
_SIN_POLY = [_F(c) for c in (-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1)]
_COS_POLY = [_F(c) for c in (2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2)]
_MINUS_QUARTER_PI = [
    _F(c)
    for c in (  # pi/4 in three parts, for an accurate reduction
        -0.78515625,
        -2.4187564849853515625e-4,
        -3.77489497744594108e-8,
    )
]


class TorchGenerator:
    """The stream of one `torch.Generator().manual_seed(seed)` on the CPU.

    Raises ValueError unless `seed` is an integer with 0 <= seed < 2**63.  Like PyTorch's engine
    it keeps only the low 32 bits: seeds equal modulo 2**32 give the same stream.
    """

    def __init__(self, seed: int) -> None:
        # RandomState seeds MT19937 as PyTorch does, and its stream is frozen by NumPy's NEP 19.
        self._twister = np.random.RandomState(checked_seed(seed) & 0xFFFFFFFF)
        self._spare: float | None = None

    def randn(self, shape: int | Sequence[int]) -> Float32Array:
        """Standard normal values, a new C-contiguous float32 array of the given shape.

        Equal to `torch.randn(shape, generator=g)`; successive calls continue the stream.
        Raises ValueError for a negative dimension.
        """
        out = np.empty(shape, np.float32)
        flat = out.reshape(-1)
        if flat.size < _BLOCK:
            flat[:] = [self._next_normal() + _MEAN for _ in range(flat.size)]
            return out
        uniforms = self._uniforms(flat.size)
        whole = flat.size - flat.size % _BLOCK
        flat[:whole] = _box_muller(uniforms[:whole])
        if whole < flat.size:  # PyTorch draws the last 16 values afresh
            flat[-_BLOCK:] = _box_muller(self._uniforms(_BLOCK))
        return out

    def _words(self, n: int) -> NDArray[np.uint32]:
        # Over the full range, randint hands out the twister's 32-bit words unchanged.
        return self._twister.randint(0, 2**32, n, dtype=np.uint32)

    def _uniforms(self, n: int) -> Float32Array:
        return (self._words(n) & 0xFFFFFF).astype(np.float32) * _F(2.0**-24)

    def _uniform64(self) -> float:
        high, low = (int(word) for word in self._words(2))
        return ((high << 32 | low) & (2**53 - 1)) * 2.0**-53

    def _next_normal(self) -> float:
        """One float64 normal; they come in pairs, the second is kept for the next call."""
        if self._spare is not None:
            spare, self._spare = self._spare, None
            return spare
        angle = 2 * math.pi * self._uniform64()  # here the angle is drawn before the radius
        radius = math.sqrt(-2 * math.log1p(-self._uniform64()))
        self._spare = radius * math.sin(angle)
        return radius * math.cos(angle)


def randn(shape: int | Sequence[int], seed: int) -> Float32Array:
    """The first draw of a fresh generator: `TorchGenerator(seed).randn(shape)`."""
    return TorchGenerator(seed).randn(shape)


def _box_muller(uniforms: Float32Array) -> Float32Array:
    pairs = uniforms.reshape(-1, 2, _BLOCK // 2)
    radius = np.sqrt(_F(-2) * _log(1 - pairs[:, 0]))
    sine, cosine = _sincos(_TWO_PI * pairs[:, 1])
    normals = np.stack([radius * cosine, radius * sine], axis=1)
    return normals.reshape(-1) + _MEAN


def _log(x: Float32Array) -> Float32Array:
    """Natural logarithm for 0 < x <= 1."""
    mantissa, exponent = np.frexp(x)
    small = mantissa < _SQRT_HALF
    x = np.where(small, mantissa + mantissa, mantissa) - _F(1)
    e = (exponent - small).astype(np.float32)
    z = x * x
    y = _fma(_horner(_LOG_POLY, x) * x, z, e * _LN2_LOW) - _F(0.5) * z
    return _fma(e, _LN2_HIGH, x + y)


def _sincos(x: Float32Array) -> tuple[Float32Array, Float32Array]:
    """Sine and cosine for 0 <= x <= 2 pi: reduce to |x| <= pi/4, then pick polynomial and sign."""
    j = ((x * _FOUR_OVER_PI).astype(np.int32) + 1) & ~1  # even octant nearest to x
    for part in _MINUS_QUARTER_PI:
        x = _fma(j.astype(np.float32), part, x)
    z = x * x
    cosine = _fma(_horner(_COS_POLY, z) * z, z, _F(-0.5) * z) + _F(1)
    sine = _fma(_horner(_SIN_POLY, z) * z, x, x)
    swap = (j & 2) != 0
    sine, cosine = np.where(swap, cosine, sine), np.where(swap, sine, cosine)
    return np.where(j & 4, -sine, sine), np.where((j + 2) & 4, -cosine, cosine)


def _horner(coefficients: list[np.float32], x: Float32Array) -> Float32Array:
    y: Float32 = coefficients[0]
    for c in coefficients[1:]:
        y = _fma(y, x, c)
    return y


def _fma(a: Float32, b: Float32, c: Float32) -> Float32Array:
    """a * b + c, rounded once as the processor's fused instruction does.

    The product of two float32 is exact in float64.  The sum need not be, so in general this
    rounds twice; for the arguments met here that never changes a bit (all 2^24 were tried).
    """
    exact_product = np.multiply(a, b, dtype=np.float64)
    return (exact_product + c).astype(np.float32)
