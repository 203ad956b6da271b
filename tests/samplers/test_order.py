"""On a smooth problem, errors fall with the number of steps as the solver's order promises."""

import math

import numpy as np
import pytest

from sdbatch.samplers import Sampler, SamplerOptions

CONFIG = {
    "_class_name": "DPMSolverMultistepScheduler",
    "solver_type": "heun",
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
}
NOISE = np.random.default_rng(1).standard_normal((1, 4, 3, 3))


def error(steps: int, config: dict, solver: str = "checkpoint") -> float:
    """Distance from the exact end for samples that are normal with deviation 0.5.

    Their best network is linear in x, and the way it leads has a closed form. Levels fall
    evenly in log sigma, and the last is not zero, so that only the solver errs.
    """
    options = SamplerOptions(solver, "exponential", final_sigma="sigma_min")
    found = Sampler.from_config({**CONFIG, **config}, options)
    levels = found.trajectory(steps).levels
    following = iter(levels)

    def denoise(x, _):
        signal, noise = next(following)
        return x * noise / (0.25 * signal**2 + noise**2)

    def deviation(level):
        return math.hypot(0.5 * level[0], level[1])

    exact = NOISE * deviation(levels[-1]) / deviation(levels[0])
    return np.abs(found.run(denoise, NOISE, steps, no_draw) - exact).max()


def no_draw():
    raise AssertionError("these solvers draw nothing")


def measured(*wishes) -> float:
    return math.log2(error(60, *wishes) / error(120, *wishes))


@pytest.mark.parametrize(("order", "expected"), [(1, 1), (2, 2), (3, 2)])
def test_of_multistep_is_that_of_its_name_up_to_2(order, expected):
    """It has to begin with one step of order 1, whose error of order 2 stays."""
    config = {"solver_order": order, "lower_order_final": False}
    assert measured(config) == pytest.approx(expected, abs=0.3)


@pytest.mark.parametrize(("solver", "order"), [("dpmpp_2s", 2), ("dpmpp_3s", 3)])
def test_of_singlestep_is_that_of_its_name(solver, order):
    assert measured({}, solver) == pytest.approx(order, abs=0.3)


@pytest.mark.parametrize("order", [1, 2])
def test_of_unipc_is_one_higher_by_its_corrector(order):
    config = {"solver_order": order, "solver_type": "bh2", "lower_order_final": False}
    assert measured(config, "unipc") == pytest.approx(order + 1, abs=0.3)


def test_makes_the_error_of_20_steps_smaller():
    errors = [error(20, {"solver_order": order}) for order in (1, 2, 3)]
    assert errors[0] > 3 * errors[1] > 3 * errors[2]
