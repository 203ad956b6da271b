"""Solvers: what they compute, how often they call the network, when they draw noise."""

from functools import partial

import numpy as np
import paddle
import pytest

from sdbatch.noise import TorchGenerator
from sdbatch.samplers import SOLVERS, NoiseSchedule
from sdbatch.samplers.schedule import PREDICTION_TYPES, SPACINGS, UnsupportedSchedule
from tests.conftest import relative_error

SHAPE = (2, 4, 3, 3)
UNCLIPPED = {"clip_sample": False, "beta_schedule": "scaled_linear", "set_alpha_to_one": True}
X0 = np.random.default_rng(0).uniform(-1, 1, SHAPE)
NOISE = np.random.default_rng(1).standard_normal(SHAPE)


def schedule(**config) -> NoiseSchedule:
    return NoiseSchedule.from_config({**UNCLIPPED, **config})


def perfect(plan: NoiseSchedule):
    """The network that knows X0: its output in the schedule's own parametrisation."""

    def denoise(x, t):
        signal, noise = plan.alpha(t) ** 0.5, (1 - plan.alpha(t)) ** 0.5
        epsilon = (x - signal * X0) / noise
        return {
            "epsilon": epsilon,
            "v_prediction": signal * epsilon - noise * X0,
            "sample": X0,
        }[plan.prediction_type]

    return denoise


def draws():
    """Standard normal noise, the next in one stream."""
    generator = np.random.default_rng(2)
    return lambda: generator.standard_normal(SHAPE)


def no_draw():
    raise AssertionError("this solver draws nothing")


class Counted:
    """A function that counts its calls and remembers their arguments."""

    def __init__(self, function):
        self.function, self.calls = function, []

    def __call__(self, *arguments):
        self.calls.append(arguments)
        return self.function(*arguments)


class TestAPerfectNetwork:
    @pytest.mark.parametrize("steps", [1, 2, 3, 10, 50])
    @pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
    @pytest.mark.parametrize("solver", ["ddim", "ddpm"])
    def test_leads_to_its_picture(self, solver, prediction_type, steps):
        plan = schedule(prediction_type=prediction_type)
        found = SOLVERS[solver](perfect(plan), NOISE, plan, steps, draws())
        assert np.allclose(found, X0, atol=1e-9)

    @pytest.mark.parametrize("steps", [1, 2, 3, 4, 10, 50])
    @pytest.mark.parametrize("prediction_type", ["epsilon", "sample"])
    def test_leads_plms_to_its_picture(self, prediction_type, steps):
        plan = schedule(prediction_type=prediction_type)
        found = SOLVERS["plms"](perfect(plan), NOISE, plan, steps, no_draw)
        assert np.allclose(found, X0, atol=1e-9)

    def test_leads_plms_near_its_picture_where_velocities_are_averaged(self):
        """A velocity changes from step to step, so a multistep average is not exact."""
        plan = schedule(prediction_type="v_prediction")
        errors = [
            relative_error(SOLVERS["plms"](perfect(plan), NOISE, plan, steps, no_draw), X0)
            for steps in (10, 100)
        ]
        assert errors[0] < 0.01
        assert errors[1] < errors[0] / 5

    @pytest.mark.parametrize("solver", SOLVERS)
    def test_leaves_a_little_noise_where_the_chain_ends_below_one_but_not_in_ddpm(self, solver):
        plan = schedule(set_alpha_to_one=False)
        found = SOLVERS[solver](perfect(plan), NOISE, plan, 10, draws())
        assert np.allclose(found, X0, atol=1e-9) == (solver == "ddpm")


class TestCalls:
    @pytest.mark.parametrize("spacing", SPACINGS)
    @pytest.mark.parametrize("solver", ["ddim", "ddpm"])
    def test_ddim_and_ddpm_ask_the_network_once_at_each_timestep(self, solver, spacing):
        plan = schedule(timestep_spacing=spacing)
        denoise = Counted(perfect(plan))
        SOLVERS[solver](denoise, NOISE, plan, 7, draws())
        assert [t for _, t in denoise.calls] == plan.timesteps(7)

    @pytest.mark.parametrize("steps", [2, 3, 4, 9])
    def test_plms_asks_once_more_at_the_second_timestep(self, steps):
        plan = schedule()
        denoise = Counted(perfect(plan))
        SOLVERS["plms"](denoise, NOISE, plan, steps, no_draw)
        first, second, *rest = plan.timesteps(steps)
        assert [t for _, t in denoise.calls] == [first, second, second, *rest]

    def test_plms_of_one_step_asks_once(self):
        plan = schedule()
        denoise = Counted(perfect(plan))
        SOLVERS["plms"](denoise, NOISE, plan, 1, no_draw)
        assert len(denoise.calls) == 1


class TestNoise:
    @pytest.mark.parametrize(("offset", "expected"), [(0, 9), (1, 10)])
    def test_ddpm_draws_at_every_step_but_one_at_timestep_zero(self, offset, expected):
        plan = schedule(steps_offset=offset)
        draw = Counted(draws())
        SOLVERS["ddpm"](perfect(plan), NOISE, plan, 10, draw)
        assert len(draw.calls) == expected

    @pytest.mark.parametrize("spacing", SPACINGS)
    @pytest.mark.parametrize("solver", ["ddim", "plms"])
    def test_ddim_and_plms_draw_nothing(self, solver, spacing):
        plan = schedule(timestep_spacing=spacing)
        SOLVERS[solver](perfect(plan), NOISE, plan, 10, no_draw)

    def test_the_input_is_not_changed(self):
        plan = schedule()
        for solver in SOLVERS.values():
            before = NOISE.copy()
            solver(perfect(plan), before, plan, 3, draws())
            assert np.array_equal(before, NOISE)


class TestClipping:
    @pytest.mark.parametrize("solver", ["ddim", "ddpm"])
    @pytest.mark.parametrize("bound", [1.0, 0.5])
    def test_bounds_the_predicted_sample(self, solver, bound):
        plan = schedule(prediction_type="sample", clip_sample=True, clip_sample_range=bound)
        found = SOLVERS[solver](lambda x, t: 5 * X0, NOISE, plan, 10, draws())
        assert np.allclose(found, (5 * X0).clip(-bound, bound))

    def test_plms_has_none(self):
        plan = schedule(prediction_type="sample", clip_sample=True)
        found = SOLVERS["plms"](lambda x, t: 5 * X0, NOISE, plan, 10, no_draw)
        assert np.allclose(found, 5 * X0)


def test_plms_refuses_a_start_without_any_signal():
    plan = schedule(rescale_betas_zero_snr=True, timestep_spacing="trailing")
    with pytest.raises(UnsupportedSchedule, match="plms cannot start at timestep 999"):
        SOLVERS["plms"](perfect(plan), NOISE, plan, 10, no_draw)


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
@pytest.mark.parametrize("solver", SOLVERS)
def test_numpy_and_paddle_arrays_give_equal_results(solver, prediction_type):
    plan = schedule(prediction_type=prediction_type, clip_sample=True)

    def run(convert):
        noise = draws()
        return SOLVERS[solver](
            lambda x, t: (0.2 + t / 2000) * x - 0.1,
            convert(NOISE.astype(np.float32)),
            plan,
            9,
            lambda: convert(noise().astype(np.float32)),
        )

    in_numpy, in_paddle = run(np.asarray), run(paddle.to_tensor)
    assert in_numpy.dtype == np.float32
    assert in_paddle.dtype == paddle.float32
    assert np.allclose(in_numpy, in_paddle.numpy(), rtol=1e-5, atol=1e-5)


def test_every_trajectory_of_diffusers_is_followed(golden):
    """Three solvers, three parametrisations, three spacings; zero SNR, clipping, variances."""
    assert len(golden["trajectories"]) >= 24
    for record in golden["trajectories"]:
        plan = NoiseSchedule.from_config(record["config"])
        draw = partial(TorchGenerator(11).randn, (1, 4, 2, 2))
        found = SOLVERS[record["solver"]](
            lambda x, t: (0.2 + t / 2000) * x - 0.1, draw(), plan, 7, draw
        )
        assert relative_error(found.ravel(), np.array(record["result"])) < 1e-5, record["config"]
