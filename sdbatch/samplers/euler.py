"""The Euler family: ordinary differential equations in sigma (Karras et al. 2022).

Latents are sample + sigma * noise; their slope is (x - predicted sample) / sigma. Paper: arXiv
2206.00364. References: k-diffusion `sampling.py`; diffusers, per function.
"""

from __future__ import annotations

from sdbatch.samplers.prediction import Array, clipped, predicted_sample
from sdbatch.samplers.schedule import NoiseSchedule
from sdbatch.samplers.settings import Settings
from sdbatch.samplers.trajectory import Step, Walk


def euler(walk: Walk, schedule: NoiseSchedule, settings: Settings) -> Step:
    """One straight step down each slope. Draws nothing.

    Reference: diffusers `scheduling_euler_discrete.py`.
    """
    levels = walk.trajectory.levels

    def step(output: Array, x: Array, call: int) -> Array:
        sigma, sigma_next = levels[call][1], levels[call + 1][1]
        sample = predicted_sample(output, x, levels[call], schedule.prediction_type)
        return x + (x - sample) / sigma * (sigma_next - sigma)

    return step


def euler_ancestral(walk: Walk, schedule: NoiseSchedule, settings: Settings) -> Step:
    """Steps to below the next level, and noise to come up to it again.

    Draws noise at every step, at the last with weight 0. Reference: diffusers
    `scheduling_euler_ancestral_discrete.py`.
    """
    levels = walk.trajectory.levels

    def step(output: Array, x: Array, call: int) -> Array:
        sigma, sigma_next = levels[call][1], levels[call + 1][1]
        up = (sigma_next**2 * (sigma**2 - sigma_next**2) / sigma**2) ** 0.5
        down = max(sigma_next**2 - up**2, 0.0) ** 0.5
        sample = predicted_sample(output, x, levels[call], schedule.prediction_type)
        return x + (x - sample) / sigma * (down - sigma) + up * walk.draw()

    return step


def heun(walk: Walk, schedule: NoiseSchedule, settings: Settings) -> Step:
    """Second order: the mean of the slopes at both ends of a step; the last step is Euler's.

    Draws nothing. Reference: diffusers `scheduling_heun_discrete.py`.
    """
    levels = walk.trajectory.levels
    start: Array = None
    slope: Array = None

    def step(output: Array, x: Array, call: int) -> Array:
        nonlocal start, slope
        sample = predicted_sample(output, x, levels[call], schedule.prediction_type)
        slope_here = (x - clipped(sample, settings)) / levels[call][1]
        if call % 2 == 0:
            start, slope = x, slope_here
            return x + slope * (levels[call + 1][1] - levels[call][1])
        return start + (slope + slope_here) / 2 * (levels[call][1] - levels[call - 1][1])

    return step
