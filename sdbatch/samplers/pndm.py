"""PNDM and PLMS: pseudo numerical methods (Liu et al. 2022, arXiv 2202.09778)."""

from __future__ import annotations

from sdbatch.samplers.prediction import Array, predicted_noise
from sdbatch.samplers.schedule import NoiseSchedule
from sdbatch.samplers.settings import Settings
from sdbatch.samplers.trajectory import Step, Walk

_ADAMS_BASHFORTH = {
    1: (1.0,),
    2: (3 / 2, -1 / 2),
    3: (23 / 12, -16 / 12, 5 / 12),
    4: (55 / 24, -59 / 24, 37 / 24, -9 / 24),
}
RUNGE_KUTTA_CALLS = 12
"""Network calls of PNDM's warm-up: three steps of four."""


def pndm(walk: Walk, schedule: NoiseSchedule, settings: Settings) -> Step:
    """With Runge-Kutta warm-up or, if `skip_prk_steps`, without. Draws nothing."""
    return (_plms if settings["skip_prk_steps"] else _warmed_up)(walk, schedule)


def _plms(walk: Walk, schedule: NoiseSchedule) -> Step:
    """Linear multistep of fourth order, without warm-up.

    The first step is taken twice (once as a predictor), so there is one network call more than
    steps. Reference: diffusers `scheduling_pndm.py` with `skip_prk_steps`.
    """
    path = walk.trajectory
    stride = schedule.train_steps // path.steps
    outputs: list[Array] = []  # newest first
    start: Array = None

    def step(output: Array, x: Array, call: int) -> Array:
        nonlocal start
        timestep = int(path.timesteps[call])
        if call == walk.first_call + 1:
            # The reference counts this step from here back up by one stride, not from the first.
            corrected = (output + outputs[0]) / 2
            return _transfer(corrected, start, timestep + stride, timestep, schedule)
        if call == walk.first_call:
            start = x
        outputs[:] = [output, *outputs[:3]]
        return _transfer(_extrapolated(outputs), x, timestep, timestep - stride, schedule)

    return step


def _warmed_up(walk: Walk, schedule: NoiseSchedule) -> Step:
    """As `_plms`, but the first three steps are of Runge-Kutta with four network calls each.

    Reference: diffusers `scheduling_pndm.py`.
    """
    path = walk.trajectory
    stride = schedule.train_steps // path.steps
    outputs: list[Array] = []  # newest first
    start: Array = None
    total: Array = None

    def warm_up(output: Array, x: Array, call: int) -> Array:
        nonlocal start, total
        phase = (call - walk.first_call) % 4
        # As in the reference, the origin is counted from the beginning even in image-to-image.
        origin = int(path.timesteps[call - walk.first_call - phase])
        target = int(path.timesteps[call]) - (0 if phase % 2 else stride // 2)
        if phase == 0:
            start, total = x, output / 6
            outputs.insert(0, output)
            return _transfer(output, start, origin, target, schedule)
        if phase == 3:
            return _transfer(total + output / 6, start, origin, target, schedule)
        total = total + output / 3
        return _transfer(output, start, origin, target, schedule)

    def step(output: Array, x: Array, call: int) -> Array:
        if call - walk.first_call < RUNGE_KUTTA_CALLS:
            return warm_up(output, x, call)
        timestep = int(path.timesteps[call])
        outputs[:] = [output, *outputs[:3]]
        return _transfer(_extrapolated(outputs), x, timestep, timestep - stride, schedule)

    return step


def _extrapolated(outputs: list[Array]) -> Array:
    """The outputs' weighted mean, by Adams and Bashforth."""
    weights = _ADAMS_BASHFORTH[len(outputs)]
    return sum(weight * output for weight, output in zip(weights, outputs, strict=True))


def _transfer(
    output: Array, x: Array, timestep: int, previous: int, schedule: NoiseSchedule
) -> Array:
    """Formula (9) of the paper: move x from `timestep` to `previous`."""
    alpha, alpha_previous = schedule.alpha(timestep), schedule.alpha(previous)
    level = (alpha**0.5, (1 - alpha) ** 0.5)
    noise = predicted_noise(output, x, level, schedule.prediction_type)
    denominator = (
        alpha * (1 - alpha_previous) ** 0.5 + (alpha * (1 - alpha) * alpha_previous) ** 0.5
    )
    return (alpha_previous / alpha) ** 0.5 * x - (alpha_previous - alpha) / denominator * noise
