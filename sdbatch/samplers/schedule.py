"""The noise of the training process: how much signal is left at each training timestep.

The shares are float32 numbers, bit for bit those of PyTorch diffusers; all arithmetic after them is
float64 on the host. Sources: diffusers `schedulers/scheduling_ddim.py`; Lin et al. 2023,
arXiv 2305.08891 (zero terminal SNR).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


class UnsupportedSchedule(ValueError):
    """A scheduler config or option asks for what is not implemented, or cannot be."""


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """What the solvers need to know of the training process.

    `alphas_cumprod[t]` is the share of signal (by variance) at training timestep t, float32
    [train_steps]; `final_alpha` is that of the end of the chain. `prediction_type` says what the
    network puts out: epsilon, v_prediction or sample.
    """

    alphas_cumprod: np.ndarray
    prediction_type: str = "epsilon"
    final_alpha: float = 1.0

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any], keeps_signal: bool) -> NoiseSchedule:
        """From resolved settings; `keeps_signal` leaves a trace of signal under zero SNR.

        Solvers that divide noise by signal need that trace. It is 2**-24, as in the reference.
        """
        alphas = cumulative_alphas(settings)
        if keeps_signal and settings.get("rescale_betas_zero_snr"):
            alphas[-1] = 2.0**-24
        ends_at_one = settings.get("set_alpha_to_one", True)
        return cls(
            alphas_cumprod=alphas,
            prediction_type=settings["prediction_type"],
            final_alpha=1.0 if ends_at_one else float(alphas[0]),
        )

    @property
    def train_steps(self) -> int:
        """Number of timesteps in training, usually 1000."""
        return len(self.alphas_cumprod)

    def alpha(self, timestep: int) -> float:
        """Signal share at `timestep`; below 0 that of the end of the chain."""
        return float(self.alphas_cumprod[timestep]) if timestep >= 0 else self.final_alpha

    def sigmas(self, dtype: type = np.float64) -> np.ndarray:
        """Noise over signal at every training timestep, rising, [train_steps] of `dtype`."""
        alphas = self.alphas_cumprod.astype(dtype)
        return np.sqrt((1 - alphas) / alphas)


def cumulative_alphas(settings: Mapping[str, Any]) -> np.ndarray:
    """Cumulative product of 1 - beta, float32 [train_steps]."""
    betas = _betas(settings)
    if settings.get("rescale_betas_zero_snr"):
        betas = _rescale_to_zero_snr(betas)
    return _cumprod(1 - betas)


def _betas(settings: Mapping[str, Any]) -> np.ndarray:
    count, kind = settings["num_train_timesteps"], settings["beta_schedule"]
    start, end = settings["beta_start"], settings["beta_end"]
    if settings["trained_betas"] is not None:
        return np.asarray(settings["trained_betas"], np.float32)
    if kind == "linear":
        return _linspace(start, end, count)
    if kind == "scaled_linear":
        return _linspace(start**0.5, end**0.5, count) ** 2
    signal = [math.cos((i / count + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(count + 1)]
    ratios = [1 - after / before for before, after in itertools.pairwise(signal)]
    return np.minimum(ratios, 0.999).astype(np.float32)  # squaredcos_cap_v2


def _rescale_to_zero_snr(betas: np.ndarray) -> np.ndarray:
    """Shift and scale so that the last timestep is pure noise (arXiv 2305.08891, algorithm 1)."""
    root = np.sqrt(_cumprod(1 - betas))
    first, last = root[0], root[-1]
    shares = ((root - last) * (first / (first - last))) ** 2
    return 1 - np.concatenate([shares[:1], shares[1:] / shares[:-1]])


def _linspace(start: float, end: float, count: int) -> np.ndarray:
    """`torch.linspace` in float32: from both ends to the middle, in fused multiply-adds.

    NumPy's differs in the last bit of a third of the numbers, which shows at timestep 0.
    """
    first, last = np.float32(start), np.float32(end)
    step = float((last - first) / np.float32(count - 1)) if count > 1 else 0.0
    index = np.arange(count)
    rising, falling = float(first) + step * index, float(last) - step * (count - 1 - index)
    return np.where(index < count // 2, rising, falling).astype(np.float32)


def _cumprod(values: np.ndarray) -> np.ndarray:
    """PyTorch accumulates a float32 cumprod in float64 on a CPU."""
    return np.cumprod(values, dtype=np.float64).astype(np.float32)
