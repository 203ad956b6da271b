"""Solvers: from pure noise to latents, as pure functions over `denoise(x, t)`.

A solver takes the network's raw output (noise, velocity or sample, as the schedule says) and does
arithmetic with Python floats on arrays it never looks into, so NumPy and Paddle serve alike and no
step waits for a device. Random solvers take their noise from `draw`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sdbatch.samplers.schedule import NoiseSchedule, UnsupportedSchedule

Array = Any
"""A NumPy array or Paddle tensor [batch, channels, height, width]."""
Denoise = Callable[[Array, int], Array]
"""(latents, timestep) -> the network's output, of the same shape."""
Draw = Callable[[], Array]
"""Standard normal noise of the latents' shape, the next in each image's own stream."""
Solver = Callable[[Denoise, Array, NoiseSchedule, int, Draw], Array]
"""(denoise, initial noise, schedule, steps, draw) -> clean latents."""


def ddpm(denoise: Denoise, x: Array, schedule: NoiseSchedule, steps: int, draw: Draw) -> Array:
    """Ancestral sampling with the posterior variance (Ho et al. 2020, arXiv 2006.11239).

    Draws noise at every step but one at timestep 0. Reference: diffusers `scheduling_ddpm.py`.
    """
    timesteps = schedule.timesteps(steps)
    for t, previous in zip(timesteps, [*timesteps[1:], -1], strict=True):
        alpha = schedule.alpha(t)
        alpha_previous = schedule.alpha(previous) if previous >= 0 else 1.0
        beta = 1 - alpha / alpha_previous
        sample, _ = _split(denoise(x, t), x, alpha, schedule)
        sample_weight = alpha_previous**0.5 * beta / (1 - alpha)
        x_weight = (1 - beta) ** 0.5 * (1 - alpha_previous) / (1 - alpha)
        x = sample_weight * _clip(sample, schedule) + x_weight * x
        if t > 0:
            small = (1 - alpha_previous) / (1 - alpha) * beta
            variance = beta if schedule.variance_type == "fixed_large" else max(small, 1e-20)
            x = x + variance**0.5 * draw()
    return x


def ddim(denoise: Denoise, x: Array, schedule: NoiseSchedule, steps: int, draw: Draw) -> Array:
    """Deterministic sampling, eta 0 (Song et al. 2020, arXiv 2010.02502).

    Draws nothing. Reference: diffusers `scheduling_ddim.py`.
    """
    stride = schedule.train_steps // steps
    for t in schedule.timesteps(steps):
        alpha, alpha_previous = schedule.alpha(t), schedule.alpha(t - stride)
        sample, noise = _split(denoise(x, t), x, alpha, schedule)
        x = alpha_previous**0.5 * _clip(sample, schedule) + (1 - alpha_previous) ** 0.5 * noise
    return x


def plms(denoise: Denoise, x: Array, schedule: NoiseSchedule, steps: int, draw: Draw) -> Array:
    """Pseudo linear multistep, fourth order (Liu et al. 2022, arXiv 2202.09778), without warm-up.

    The first step is taken twice (once as a predictor), so there is one network call more than
    `steps`. Draws nothing. Reference: diffusers `scheduling_pndm.py` with `skip_prk_steps`.
    """
    stride = schedule.train_steps // steps
    timesteps = schedule.timesteps(steps)
    if len(timesteps) == 1:
        t = timesteps[0]
        return _plms_transfer(denoise(x, t), x, t, t - stride, schedule)
    first, second = timesteps[:2]
    history = [denoise(x, first)]
    predicted = _plms_transfer(history[0], x, first, first - stride, schedule)
    corrected = (denoise(predicted, second) + history[0]) / 2
    # The reference counts this step from `second` back up by one stride, not from `first`.
    x = _plms_transfer(corrected, x, second + stride, second, schedule)
    for t in timesteps[1:]:
        history = [denoise(x, t), *history[:3]]
        weights = _ADAMS_BASHFORTH[len(history)]
        output = sum(w * h for w, h in zip(weights, history, strict=True))
        x = _plms_transfer(output, x, t, t - stride, schedule)
    return x


_ADAMS_BASHFORTH = {
    2: (3 / 2, -1 / 2),
    3: (23 / 12, -16 / 12, 5 / 12),
    4: (55 / 24, -59 / 24, 37 / 24, -9 / 24),
}


def _plms_transfer(
    output: Array, x: Array, t: int, previous: int, schedule: NoiseSchedule
) -> Array:
    """Formula (9) of the PNDM paper: move x from timestep `t` to `previous`."""
    alpha, alpha_previous = schedule.alpha(t), schedule.alpha(previous)
    if alpha == 0:
        raise UnsupportedSchedule(
            f"plms cannot start at timestep {t}, where no signal is left "
            "(rescale_betas_zero_snr): choose ddim or ddpm"
        )
    _, noise = _split(output, x, alpha, schedule)
    denominator = (
        alpha * (1 - alpha_previous) ** 0.5 + (alpha * (1 - alpha) * alpha_previous) ** 0.5
    )
    return (alpha_previous / alpha) ** 0.5 * x - (alpha_previous - alpha) / denominator * noise


def _split(output: Array, x: Array, alpha: float, schedule: NoiseSchedule) -> tuple[Array, Array]:
    """The network's output as (predicted sample, predicted noise)."""
    signal, noise = alpha**0.5, (1 - alpha) ** 0.5
    if schedule.prediction_type == "epsilon":
        return (x - noise * output) / signal, output
    if schedule.prediction_type == "v_prediction":
        return signal * x - noise * output, signal * output + noise * x
    return output, (x - signal * output) / noise


def _clip(sample: Array, schedule: NoiseSchedule) -> Array:
    bound = schedule.clip_range
    return sample if bound is None else sample.clip(-bound, bound)


SOLVERS: Mapping[str, Solver] = {"ddpm": ddpm, "ddim": ddim, "plms": plms}
