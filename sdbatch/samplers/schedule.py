"""The noise schedule of a checkpoint: how noisy each training timestep is, which ones to visit.

Everything is a host-side number: nothing here touches a device. Read from the checkpoint's
`scheduler_config.json`, because defaults differ between scheduler classes. Sources: diffusers
`schedulers/scheduling_ddim.py` and `scheduling_pndm.py`; Lin et al. 2023, arXiv 2305.08891
(spacing, zero terminal SNR).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")
SPACINGS = ("leading", "trailing", "linspace")


class UnsupportedSchedule(ValueError):
    """A scheduler config asks for something that is not implemented, or for too many steps."""


@dataclass(frozen=True)
class NoiseSchedule:
    """What the solvers need to know of the training process.

    `alphas_cumprod[t]` is the share of signal (by variance) at training timestep t, float32 as in
    the reference. `clip_range` bounds the predicted sample in DDIM and DDPM (None: no bound).
    """

    alphas_cumprod: np.ndarray
    prediction_type: str
    spacing: str
    steps_offset: int
    set_alpha_to_one: bool
    clip_range: float | None
    variance_type: str

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> NoiseSchedule:
        """Read a diffusers `scheduler_config.json`, with the defaults of its own class.

        Raises:
            UnsupportedSchedule: naming the key, its value and what is supported.
        """
        is_pndm = config.get("_class_name") == "PNDMScheduler"
        prediction = _one_of(config, "prediction_type", PREDICTION_TYPES)
        spacing = _one_of(config, "timestep_spacing", SPACINGS)
        variance = _one_of(config, "variance_type", ("fixed_small", "fixed_large"))
        if config.get("thresholding"):
            raise UnsupportedSchedule("thresholding=true: not supported, it is for pixel models")
        clips = config.get("clip_sample", not is_pndm)
        return cls(
            alphas_cumprod=_alphas_cumprod(config),
            prediction_type=prediction,
            spacing=spacing,
            steps_offset=int(config.get("steps_offset", 0)),
            set_alpha_to_one=bool(config.get("set_alpha_to_one", not is_pndm)),
            clip_range=float(config.get("clip_sample_range", 1.0)) if clips else None,
            variance_type=variance,
        )

    @property
    def train_steps(self) -> int:
        """Number of timesteps in training, usually 1000."""
        return len(self.alphas_cumprod)

    def alpha(self, timestep: int) -> float:
        """Signal share at `timestep`; below 0 the end of the chain, 1.0 or that of timestep 0."""
        if timestep >= 0:
            return float(self.alphas_cumprod[timestep])
        return 1.0 if self.set_alpha_to_one else float(self.alphas_cumprod[0])

    def timesteps(self, steps: int) -> list[int]:
        """The training timesteps to visit in `steps` steps, descending.

        Raises:
            UnsupportedSchedule: fewer than one step, or more than the schedule can give.
        """
        if not 1 <= steps <= self.train_steps:
            raise UnsupportedSchedule(f"steps={steps}: expected 1 to {self.train_steps}")
        if self.spacing == "linspace":
            visited = np.linspace(0, self.train_steps - 1, steps).round()[::-1]
        elif self.spacing == "leading":
            visited = np.arange(steps)[::-1] * (self.train_steps // steps) + self.steps_offset
        else:
            stride = self.train_steps / steps
            # Cut: for some counts (61, 103 ...) rounding makes arange one longer, ending at -1.
            visited = np.round(np.arange(self.train_steps, 0, -stride))[:steps] - 1
        if visited[0] >= self.train_steps:
            raise UnsupportedSchedule(
                f"steps={steps}: with steps_offset={self.steps_offset} the first timestep would "
                f"be {int(visited[0])}, but the last one trained is {self.train_steps - 1}"
            )
        return [int(t) for t in visited]


def _alphas_cumprod(config: Mapping[str, Any]) -> np.ndarray:
    """Cumulative product of 1 - beta, float32 [train_steps]."""
    count = int(config.get("num_train_timesteps", 1000))
    start, end = float(config.get("beta_start", 0.0001)), float(config.get("beta_end", 0.02))
    kind = config.get("beta_schedule", "linear")
    if config.get("trained_betas") is not None:
        betas = np.asarray(config["trained_betas"], np.float32)
    elif kind == "linear":
        betas = np.linspace(start, end, count, dtype=np.float32)
    elif kind == "scaled_linear":
        betas = np.linspace(start**0.5, end**0.5, count, dtype=np.float32) ** 2
    elif kind == "squaredcos_cap_v2":
        signal = [
            math.cos((i / count + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(count + 1)
        ]
        ratios = [1 - after / before for before, after in itertools.pairwise(signal)]
        betas = np.minimum(ratios, 0.999).astype(np.float32)
    else:
        raise UnsupportedSchedule(
            f"beta_schedule={kind!r}: expected linear, scaled_linear or squaredcos_cap_v2"
        )
    # PyTorch accumulates a float32 cumprod in float64 on a CPU.
    alphas = np.cumprod(1 - betas, dtype=np.float64).astype(np.float32)
    return _rescale_to_zero_snr(alphas) if config.get("rescale_betas_zero_snr") else alphas


def _rescale_to_zero_snr(alphas_cumprod: np.ndarray) -> np.ndarray:
    """Shift and scale so that the last timestep is pure noise (arXiv 2305.08891, algorithm 1)."""
    root = np.sqrt(alphas_cumprod)
    first, last = root[0], root[-1]
    return (((root - last) * (first / (first - last))) ** 2).astype(np.float32)


def _one_of(config: Mapping[str, Any], key: str, allowed: tuple[str, ...]) -> str:
    value = config.get(key, allowed[0])
    if value not in allowed:
        raise UnsupportedSchedule(f"{key}={value!r}: expected one of {', '.join(allowed)}")
    return value
