"""DPM-Solver++ (Lu et al. 2022, arXiv 2211.01095): exponential integrators in log signal to noise.

Over a step of length h in lambda = log(signal / noise), the predicted sample is taken as a
polynomial: d0 + d1 * s + d2 * s²/2 with s from 0 to 1. Solvers differ in where its differences come
from: steps before (multistep) or calls inside the step (singlestep). The stochastic kind is theirs
with twice the exponent and fresh noise. References: diffusers `scheduling_dpmsolver_multistep.py`
and `scheduling_dpmsolver_singlestep.py`.
"""

from __future__ import annotations

import math

from sdbatch.samplers.prediction import Array, Level, predicted_sample
from sdbatch.samplers.schedule import NoiseSchedule
from sdbatch.samplers.settings import Settings
from sdbatch.samplers.trajectory import Draw, Step, Walk

FEW_STEPS = 15
"""Below this number of steps the last ones are of lower order, for stability."""


def log_snr(level: Level) -> float:
    """Half the log of the signal to noise ratio, infinite without noise."""
    signal, noise = level
    return math.log(signal / noise) if noise else math.inf


def multistep(walk: Walk, schedule: NoiseSchedule, settings: Settings) -> Step:
    """Differences with the samples predicted in steps before; orders 1 to 3, sde or not.

    Draws noise at every step if `algorithm_type` is sde-dpmsolver++, otherwise nothing.
    """
    path = walk.trajectory
    last, few = len(path.timesteps) - 1, len(path.timesteps) < FEW_STEPS
    lowers_last = (
        settings["euler_at_final"]
        or (settings["lower_order_final"] and few)
        or settings["final_sigmas_type"] == "zero"
    )
    lowers_second = settings["lower_order_final"] and few
    samples: list[Array] = []  # newest first

    def step(output: Array, x: Array, call: int) -> Array:
        level = path.levels[call]
        samples.insert(0, predicted_sample(output, x, level, schedule.prediction_type))
        del samples[settings["solver_order"] :]
        order = len(samples)
        if call == last and lowers_last:
            order = 1
        elif call == last - 1 and lowers_second:
            order = min(order, 2)
        levels = path.levels[call + 1 - order : call + 1][::-1]
        differences = _multistep_differences(samples[:order], levels, path.levels[call + 1])
        draw = walk.draw if _is_sde(settings) else None
        return _integrate(x, level, path.levels[call + 1], differences, settings, draw)

    return step


def singlestep(walk: Walk, schedule: NoiseSchedule, settings: Settings) -> Step:
    """Differences with samples predicted inside a step, which takes as many calls as its order.

    Draws noise at every call if `algorithm_type` is sde-dpmsolver++, otherwise nothing.
    """
    path = walk.trajectory
    orders = singlestep_orders(path.steps, settings)
    samples: list[Array] = []  # newest first
    start: Array = None

    def step(output: Array, x: Array, call: int) -> Array:
        nonlocal start
        sample = predicted_sample(output, x, path.levels[call], schedule.prediction_type)
        samples[:] = [sample, *samples[:2]]
        order = min(orders[call], len(samples))
        if order == 1:
            start = x
        levels = path.levels[call + 1 - order : call + 1][::-1]
        differences = _singlestep_differences(
            samples[:order], levels, path.levels[call + 1], settings["solver_type"]
        )
        draw = walk.draw if _is_sde(settings) else None
        return _integrate(start, levels[-1], path.levels[call + 1], differences, settings, draw)

    return step


def singlestep_orders(steps: int, settings: Settings) -> list[int]:
    """The order at each network call: 1, 2 or 1, 2, 3 again and again, lower at the end."""
    order = settings["solver_order"]
    to_zero = settings["final_sigmas_type"] == "zero"
    cycle = list(range(1, order + 1))
    whole, rest = divmod(steps, order)
    if rest == 0 and order > 1 and (settings["lower_order_final"] or to_zero):
        orders = cycle * (whole - 1) + cycle[:-1] + [1]
    else:
        orders = cycle * whole + cycle[:rest]
    return [*orders[:-1], 1] if to_zero else orders


def _is_sde(settings: Settings) -> bool:
    return settings["algorithm_type"] == "sde-dpmsolver++"


def _multistep_differences(
    samples: list[Array], levels: tuple[Level, ...], target: Level
) -> list[Array]:
    """[d0, d1, d2] as far as there are samples; both newest first."""
    here = log_snr(levels[0])
    h = log_snr(target) - here
    if len(samples) == 1 or h == 0:
        return samples[:1]
    before = here - log_snr(levels[1])
    newer = (samples[0] - samples[1]) * (h / before)
    if len(samples) == 2:
        return [samples[0], newer]
    long_before = log_snr(levels[1]) - log_snr(levels[2])
    older = (samples[1] - samples[2]) * (h / long_before)
    change = (newer - older) * (h / (before + long_before))
    return [samples[0], newer + change * (before / h), change]


def _singlestep_differences(
    samples: list[Array], levels: tuple[Level, ...], target: Level, solver_type: str
) -> list[Array]:
    """[d0, d1, d2] from the start of the step, which is the oldest; both newest first."""
    origin = log_snr(levels[-1])
    h = log_snr(target) - origin
    if len(samples) == 1 or h == 0:
        return samples[-1:]
    newest = (log_snr(levels[0]) - origin) / h
    far = (samples[0] - samples[-1]) / newest
    if len(samples) == 2:
        return [samples[-1], far]
    middle = (log_snr(levels[1]) - origin) / h
    near = (samples[1] - samples[-1]) / middle
    if solver_type == "midpoint":
        return [samples[-1], far, 0.0]  # the paper's own third order has no d2
    return [
        samples[-1],
        (newest * near - middle * far) / (newest - middle),
        2 * (far - near) / (newest - middle),
    ]


def _integrate(
    x: Array,
    level: Level,
    target: Level,
    differences: list[Array],
    settings: Settings,
    draw: Draw | None,
) -> Array:
    """Latents at `target` from `x` at `level`; stochastic if there is `draw`."""
    h = log_snr(target) - log_snr(level)
    exponent = -h if draw is None else -2 * h
    decay = math.expm1(exponent)
    weights = [decay]
    if len(differences) == 2 and settings["solver_type"] == "midpoint":
        weights.append(decay / 2)
    elif len(differences) > 1:
        # The reference adds the half for sde, where the series would have it taken off.
        half = -0.5 if draw is None else 0.5
        weights += [decay / exponent - 1, (decay - exponent) / exponent**2 + half]
    change = sum(weight * d for weight, d in zip(weights, differences, strict=False))
    kept = target[1] / level[1] * (1.0 if draw is None else math.exp(-h))
    x = kept * x - target[0] * change
    return x if draw is None else x + target[1] * math.sqrt(-math.expm1(-2 * h)) * draw()
