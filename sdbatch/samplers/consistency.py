"""Consistency models: LCM and TCD, a few steps that each reach for the clean sample."""

from __future__ import annotations

import math

import numpy as np

from sdbatch.samplers.prediction import Array, clipped, predicted_noise, predicted_sample
from sdbatch.samplers.schedule import NoiseSchedule
from sdbatch.samplers.settings import Settings
from sdbatch.samplers.trajectory import Step, Walk

_SIGMA_DATA = 0.5


def lcm(walk: Walk, schedule: NoiseSchedule, settings: Settings) -> Step:
    """Predict the sample, noise it again to the next level (Luo et al. 2023, arXiv 2310.04378).

    Draws noise at every step but the last. Reference: diffusers `scheduling_lcm.py`.
    """
    path = walk.trajectory
    last = len(path.timesteps) - 1

    def step(output: Array, x: Array, call: int) -> Array:
        sample = predicted_sample(output, x, path.levels[call], schedule.prediction_type)
        scaled = path.timesteps[call] * settings["timestep_scaling"]
        skip = _SIGMA_DATA**2 / (scaled**2 + _SIGMA_DATA**2)
        out = scaled / math.hypot(scaled, _SIGMA_DATA)
        denoised = out * clipped(sample, settings) + skip * x
        if call == last:
            return denoised
        signal, noise = path.levels[call + 1]
        return signal * denoised + noise * walk.draw()

    return step


def tcd(walk: Walk, schedule: NoiseSchedule, settings: Settings) -> Step:
    """Go below the next level by a share `eta` (the paper's gamma) and noise up to it.

    Zheng et al. 2024, arXiv 2402.19159. Draws noise at every step but the last, if `eta` is above
    0. Reference: diffusers `scheduling_tcd.py`.
    """
    path, eta = walk.trajectory, settings["eta"]
    last = len(path.timesteps) - 1

    def step(output: Array, x: Array, call: int) -> Array:
        following = 0 if call == last else int(path.timesteps[call + 1])
        # The reference multiplies in float32 before it cuts.
        below = int(np.floor(np.float32(1 - eta) * np.float32(following)))
        alpha, alpha_below = schedule.alpha(following), schedule.alpha(below)
        sample = predicted_sample(output, x, path.levels[call], schedule.prediction_type)
        noise = predicted_noise(output, x, path.levels[call], schedule.prediction_type)
        x = alpha_below**0.5 * sample + (1 - alpha_below) ** 0.5 * noise
        if eta == 0 or call == last:
            return x
        share = alpha / alpha_below
        return share**0.5 * x + (1 - share) ** 0.5 * walk.draw()

    return step
