"""DDPM and DDIM: the solvers that take each training timestep as a Gaussian."""

from __future__ import annotations

from sdbatch.samplers.prediction import Array, clipped, predicted_noise, predicted_sample
from sdbatch.samplers.schedule import NoiseSchedule
from sdbatch.samplers.settings import Settings
from sdbatch.samplers.trajectory import Step, Walk


def ddpm(walk: Walk, schedule: NoiseSchedule, settings: Settings) -> Step:
    """Ancestral sampling with the posterior variance (Ho et al. 2020, arXiv 2006.11239).

    Draws noise at every step but one at timestep 0. Reference: diffusers `scheduling_ddpm.py`.
    """
    path = walk.trajectory
    following = [*path.timesteps[1:], -1]

    def step(output: Array, x: Array, call: int) -> Array:
        timestep, previous = int(path.timesteps[call]), int(following[call])
        alpha = schedule.alpha(timestep)
        alpha_previous = schedule.alpha(previous) if previous >= 0 else 1.0
        beta = 1 - alpha / alpha_previous
        sample = predicted_sample(output, x, path.levels[call], schedule.prediction_type)
        sample_weight = alpha_previous**0.5 * beta / (1 - alpha)
        x_weight = (1 - beta) ** 0.5 * (1 - alpha_previous) / (1 - alpha)
        x = sample_weight * clipped(sample, settings) + x_weight * x
        if timestep > 0:
            small = max((1 - alpha_previous) / (1 - alpha) * beta, 1e-20)
            variance = beta if settings["variance_type"] == "fixed_large" else small
            x = x + variance**0.5 * walk.draw()
        return x

    return step


def ddim(walk: Walk, schedule: NoiseSchedule, settings: Settings) -> Step:
    """Sampling with a share `eta` of DDPM's noise (Song et al. 2020, arXiv 2010.02502).

    Draws noise at every step if `eta` is above 0. Reference: diffusers `scheduling_ddim.py`.
    """
    path, eta = walk.trajectory, settings["eta"]
    stride = schedule.train_steps // path.steps

    def step(output: Array, x: Array, call: int) -> Array:
        timestep, level = int(path.timesteps[call]), path.levels[call]
        alpha, alpha_previous = schedule.alpha(timestep), schedule.alpha(timestep - stride)
        sample = predicted_sample(output, x, level, schedule.prediction_type)
        noise = predicted_noise(output, x, level, schedule.prediction_type)
        ancestral = (1 - alpha_previous) / (1 - alpha) * (1 - alpha / alpha_previous)
        deviation = eta * ancestral**0.5
        # The bound is for rounding: after pure noise, eta 1 leaves nothing of the direction.
        direction = max(1 - alpha_previous - deviation**2, 0.0) ** 0.5
        x = alpha_previous**0.5 * clipped(sample, settings) + direction * noise
        return x + deviation * walk.draw() if eta > 0 else x

    return step
