"""UniPC (Zhao et al. 2023, arXiv 2302.04867): a predictor and a corrector of one family.

Both step from one level to another over h in lambda = log(signal / noise), with the samples
predicted at levels before (and, in the corrector, at the target itself). The corrector of a step
runs when the network's output at its end is known, so it costs no call. Reference: diffusers
`scheduling_unipc_multistep.py`.
"""

from __future__ import annotations

import math

import numpy as np

from sdbatch.samplers.dpmpp import log_snr
from sdbatch.samplers.prediction import Array, Level, predicted_sample
from sdbatch.samplers.schedule import NoiseSchedule
from sdbatch.samplers.settings import Settings
from sdbatch.samplers.trajectory import Step, Walk


def unipc(walk: Walk, schedule: NoiseSchedule, settings: Settings) -> Step:
    """Orders 1 to 3, B(h) of kind bh1 or bh2, with the corrector. Draws nothing."""
    path, kind = walk.trajectory, settings["solver_type"]
    samples: list[Array] = []  # newest first
    start: Array = None
    order = 0

    def step(output: Array, x: Array, call: int) -> Array:
        nonlocal start, order
        sample = predicted_sample(output, x, path.levels[call], schedule.prediction_type)
        if samples and call - 1 not in settings["disable_corrector"]:
            levels = path.levels[call - order : call][::-1]
            x = _step(start, levels, path.levels[call], samples[:order], sample, kind)
        samples.insert(0, sample)
        del samples[settings["solver_order"] :]
        order = len(samples)
        if settings["lower_order_final"]:
            order = min(order, len(path.timesteps) - call)
        start = x
        levels = path.levels[call + 1 - order : call + 1][::-1]
        return _step(x, levels, path.levels[call + 1], samples[:order], None, kind)

    return step


def _step(
    x: Array,
    levels: tuple[Level, ...],
    target: Level,
    samples: list[Array],
    at_target: Array | None,
    kind: str,
) -> Array:
    """From `levels[0]` to `target`; `samples` were predicted at `levels`, both newest first.

    With the sample predicted `at_target` this is the corrector, without it the predictor.
    """
    origin = log_snr(levels[0])
    h = log_snr(target) - origin
    growth = math.expm1(-h)
    x = target[1] / levels[0][1] * x - target[0] * growth * samples[0]
    if h == 0 or (at_target is None and len(samples) == 1):
        return x
    # Where the differences are taken, in shares of the step: before it, and at its end.
    places = [(log_snr(level) - origin) / h for level in levels[1:]]
    differences = [(s - samples[0]) / p for s, p in zip(samples[1:], places, strict=True)]
    if at_target is not None:
        places.append(1.0)
        differences.append(at_target - samples[0])
    scale = -h if kind == "bh1" else growth
    weights = _weights(places, -h, scale)
    change = sum(weight * d for weight, d in zip(weights, differences, strict=True))
    return x - target[0] * scale * change


def _weights(places: list[float], exponent: float, scale: float) -> list[float]:
    """Weights of the differences: a small Vandermonde system (equation 11 of the paper)."""
    if len(places) == 1:
        return [0.5]  # as the reference simplifies it: predictor of order 2, corrector of order 1
    rows = [[place**power for place in places] for power in range(len(places))]
    right, factorial, phi = [], 1, math.expm1(exponent) / exponent - 1
    for power in range(1, len(places) + 1):
        right.append(phi * factorial / scale)
        factorial *= power + 1
        phi = phi / exponent - 1 / factorial
    return [float(weight) for weight in np.linalg.solve(np.array(rows), np.array(right))]
