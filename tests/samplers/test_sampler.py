"""A sampler: how often it asks the network, when it draws noise, where it starts and arrives."""

import math

import numpy as np
import paddle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdbatch.samplers import (
    SIGMA_NAMES,
    SOLVER_NAMES,
    Sampler,
    SamplerOptions,
    UnsupportedSchedule,
)

SHAPE = (2, 4, 3, 3)
CONFIG = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "clip_sample": False,
    "set_alpha_to_one": True,
}
SAMPLE = np.random.default_rng(0).uniform(-1, 1, SHAPE)
NOISE = np.random.default_rng(1).standard_normal(SHAPE)
DRAWS_OF_10_STEPS = {"ddpm": 9, "euler_a": 10, "dpmpp_2m_sde": 10, "lcm": 9, "tcd": 9}
CALLS_OF_10_STEPS = {"plms": 11, "pndm": 19, "heun": 19}
PREDICTIONS = ("epsilon", "v_prediction", "sample")


def sampler(solver: str, config: dict | None = None, **options) -> Sampler:
    found = SamplerOptions(solver=solver, **options)
    return Sampler.from_config({**CONFIG, **(config or {})}, found)


def every_sampler() -> list[Sampler]:
    found = []
    for solver in SOLVER_NAMES:
        for sigmas in SIGMA_NAMES:
            try:
                found.append(sampler(solver, sigmas=sigmas))
            except UnsupportedSchedule:
                continue
    return found


EVERY = {found.name: found for found in every_sampler()}
EXACT = [name for name in EVERY if name not in ("lcm", "tcd", "plms", "pndm")]


def perfect(found: Sampler, steps: int):
    """The network that knows SAMPLE: its output in the schedule's own parametrisation.

    It counts its calls rather than trust timesteps, which may repeat.
    """
    levels = iter(found.trajectory(steps).levels)
    kind = found.schedule.prediction_type

    def denoise(x, _):
        signal, noise = next(levels)
        scale = math.hypot(signal, noise)
        signal, noise = signal / scale, noise / scale
        epsilon = (x - signal * SAMPLE) / noise
        velocity = signal * epsilon - noise * SAMPLE
        return {"epsilon": epsilon, "v_prediction": velocity, "sample": SAMPLE}[kind]

    return denoise


def draws():
    """Standard normal noise, the next in one stream."""
    generator = np.random.default_rng(2)
    return lambda: generator.standard_normal(SHAPE)


class Counted:
    """A function that counts its calls and remembers their arguments."""

    def __init__(self, function):
        self.function, self.calls = function, []

    def __call__(self, *arguments):
        self.calls.append(arguments)
        return self.function(*arguments)


class TestAPerfectNetwork:
    @pytest.mark.parametrize("steps", [4, 10, 30])
    @pytest.mark.parametrize("name", [name for name in EVERY if name not in ("lcm", "tcd")])
    def test_leads_to_its_picture(self, name, steps):
        found = EVERY[name]
        start = found.trajectory(steps).initial(NOISE)
        result = found.run(perfect(found, steps), start, steps, draws())
        assert np.allclose(result, SAMPLE, atol=1e-6)

    @pytest.mark.parametrize("steps", [1, 2, 3])
    @pytest.mark.parametrize("name", [n for n in EVERY if n not in ("lcm", "tcd", "pndm")])
    def test_leads_there_in_few_steps_too(self, name, steps):
        found = EVERY[name]
        start = found.trajectory(steps).initial(NOISE)
        result = found.run(perfect(found, steps), start, steps, draws())
        assert np.allclose(result, SAMPLE, atol=1e-6)

    @pytest.mark.parametrize("kind", PREDICTIONS)
    @pytest.mark.parametrize("solver", ["ddpm", "ddim", "euler", "heun", "dpmpp_2m", "dpmpp_2s"])
    def test_leads_there_in_every_parametrisation(self, solver, kind):
        found = sampler(solver, {"prediction_type": kind})
        start = found.trajectory(10).initial(NOISE)
        assert np.allclose(found.run(perfect(found, 10), start, 10, draws()), SAMPLE, atol=1e-6)

    @pytest.mark.parametrize("solver", ["lcm", "tcd"])
    def test_leads_consistency_models_very_near(self, solver):
        """They stop at timestep 0 or read the last output as it is, not at zero noise."""
        found = sampler(solver)
        result = found.run(perfect(found, 4), NOISE, 4, draws())
        assert np.abs(result - SAMPLE).max() < 0.15

    @given(steps=st.integers(4, 60), strength=st.floats(0.26, 1), name=st.sampled_from(EXACT))
    def test_leads_there_from_the_middle(self, steps, strength, name):
        """Not PLMS and PNDM: started late, the reference's bookkeeping is one step out."""
        found = EVERY[name]
        trajectory = found.trajectory(steps)
        first = trajectory.first_call(strength)
        skipped = perfect(found, steps)
        for _ in range(first):
            skipped(NOISE, 0)
        start = trajectory.noised(SAMPLE, NOISE, first)
        result = found.run(skipped, start, steps, draws(), first_call=first)
        assert np.allclose(result, SAMPLE, atol=1e-6)


class TestCalls:
    @pytest.mark.parametrize("solver", SOLVER_NAMES)
    def test_are_told_every_timestep_in_order(self, solver):
        found = sampler(solver)
        denoise = Counted(lambda x, t: 0.1 * x)
        found.run(denoise, NOISE, 10, draws())
        timesteps = found.trajectory(10).timesteps
        assert tuple(t for _, t in denoise.calls) == timesteps
        assert len(timesteps) == CALLS_OF_10_STEPS.get(solver, 10)

    def test_plms_of_one_step_asks_once(self):
        assert len(sampler("plms").trajectory(1).timesteps) == 1

    @pytest.mark.parametrize("solver", ["euler", "euler_a", "heun"])
    def test_of_the_euler_family_see_latents_of_variance_about_one(self, solver):
        found = sampler(solver)
        trajectory = found.trajectory(10)
        assert trajectory.initial(NOISE) == pytest.approx(NOISE * trajectory.levels[0][1])
        seen = trajectory.model_input(trajectory.noised(SAMPLE, NOISE, 0), 0)
        assert seen.std() == pytest.approx(1, abs=0.2)

    def test_of_leading_timesteps_start_a_little_higher(self):
        trajectory = sampler("euler", spacing="leading").trajectory(10)
        assert trajectory.initial_scale == pytest.approx(math.hypot(1, trajectory.levels[0][1]))

    @pytest.mark.parametrize("solver", SOLVER_NAMES)
    def test_are_followed_by_what_the_caller_does_between(self, solver):
        found = sampler(solver)
        between = Counted(lambda x, call: 0 * x + call)
        seen = Counted(lambda x, t: 0.1 * x)
        result = found.run(seen, NOISE, 10, draws(), between=between)
        count = len(found.trajectory(10).timesteps)
        assert [call for _, call in between.calls] == list(range(count))
        assert np.array_equal(result, np.full(SHAPE, count - 1.0))
        scales = [math.hypot(*level) for level in found.trajectory(10).levels]
        for call in range(1, count):
            latents = seen.calls[call][0] * scales[call]
            assert latents == pytest.approx(np.full(SHAPE, call - 1.0))


class TestNoise:
    @pytest.mark.parametrize("solver", SOLVER_NAMES)
    def test_is_drawn_as_often_as_the_reference_does(self, solver):
        draw = Counted(draws())
        sampler(solver).run(lambda x, t: 0.1 * x, NOISE, 10, draw)
        assert len(draw.calls) == DRAWS_OF_10_STEPS.get(solver, 0)

    @pytest.mark.parametrize(("offset", "expected"), [(0, 9), (1, 10)])
    def test_of_ddpm_is_left_out_at_timestep_zero_only(self, offset, expected):
        draw = Counted(draws())
        sampler("ddpm", steps_offset=offset).run(lambda x, t: 0.1 * x, NOISE, 10, draw)
        assert len(draw.calls) == expected

    @pytest.mark.parametrize(
        ("solver", "eta", "expected"),
        [("ddim", 0.0, 0), ("ddim", 0.5, 10), ("tcd", 0.0, 0), ("tcd", 1.0, 9)],
    )
    def test_follows_eta(self, solver, eta, expected):
        draw = Counted(draws())
        sampler(solver, eta=eta).run(lambda x, t: 0.1 * x, NOISE, 10, draw)
        assert len(draw.calls) == expected

    @pytest.mark.parametrize("name", EVERY)
    def test_and_latents_are_not_changed(self, name):
        before, drawn = NOISE.copy(), NOISE.copy()
        EVERY[name].run(lambda x, t: 0.1 * x, before, 5, lambda: drawn)
        assert np.array_equal(before, NOISE)
        assert np.array_equal(drawn, NOISE)


class TestClipping:
    @pytest.mark.parametrize("solver", ["ddpm", "ddim", "heun"])
    @pytest.mark.parametrize("bound", [1.0, 0.5])
    def test_bounds_the_predicted_sample(self, solver, bound):
        clip = {"clip_sample": True, "clip_sample_range": bound}
        found = sampler(solver, {"prediction_type": "sample", **clip})
        result = found.run(lambda x, t: 5 * SAMPLE, NOISE, 10, draws())
        assert np.allclose(result, (5 * SAMPLE).clip(-bound, bound))


class TestStartsFromAPicture:
    @pytest.mark.parametrize(
        ("solver", "steps", "strength", "expected"),
        [("ddim", 10, 0.6, 4), ("ddim", 10, 1.0, 0), ("ddim", 10, 0.19, 9), ("heun", 10, 0.6, 8)],
    )
    def test_skip_a_share_of_the_steps(self, solver, steps, strength, expected):
        assert sampler(solver).trajectory(steps).first_call(strength) == expected

    def test_that_leave_no_step_are_refused(self):
        with pytest.raises(UnsupportedSchedule) as caught:
            sampler("ddim").trajectory(10).first_call(0.05)
        assert str(caught.value) == (
            "strength=0.05: with steps=10 no step would be left; expected at least 0.1"
        )

    @pytest.mark.parametrize("strength", [-0.1, 1.1, math.nan])
    def test_of_no_share_are_refused(self, strength):
        with pytest.raises(UnsupportedSchedule, match="expected 0 to 1"):
            sampler("ddim").trajectory(10).first_call(strength)

    @pytest.mark.parametrize("solver", SOLVER_NAMES)
    def test_are_as_clean_as_the_picture_after_the_last_call(self, solver):
        trajectory = sampler(solver).trajectory(10)
        assert trajectory.noised(SAMPLE, NOISE, len(trajectory.timesteps)) is SAMPLE


class TestZeroTerminalSnr:
    @pytest.mark.parametrize("solver", ["ddpm", "ddim", "lcm", "tcd"])
    def test_needs_a_network_that_sees_through_pure_noise(self, solver):
        spacing = {"spacing": "trailing"} if solver in ("ddpm", "ddim") else {}
        with pytest.raises(UnsupportedSchedule, match="timestep 999 holds no signal"):
            sampler(solver, zero_snr=True, **spacing).trajectory(10)
        velocity = {"prediction_type": "v_prediction"}
        found = sampler(solver, velocity, zero_snr=True, **spacing)
        assert found.trajectory(10).levels[0] == (0, 1)

    @pytest.mark.parametrize("steps", range(1, 40))
    def test_leaves_real_numbers_where_rounding_goes_below_zero(self, steps):
        found = sampler(
            "ddim", {"prediction_type": "v_prediction"}, eta=1.0, zero_snr=True, spacing="trailing"
        )
        result = found.run(lambda x, t: 0.1 * x, NOISE, steps, draws())
        assert result.dtype == np.float64
        assert np.isfinite(result).all()


@pytest.mark.parametrize("name", EVERY)
def test_numpy_and_paddle_arrays_give_equal_results(name):
    found = EVERY[name]

    def run(convert):
        noise = draws()
        return found.run(
            lambda x, t: (0.2 + t / 2000) * x - 0.1,
            convert(found.trajectory(6).initial(NOISE.astype(np.float32))),
            6,
            lambda: convert(noise().astype(np.float32)),
        )

    in_numpy, in_paddle = run(np.asarray), run(paddle.to_tensor)
    assert in_numpy.dtype == np.float32
    assert in_paddle.dtype == paddle.float32
    assert np.allclose(in_numpy, in_paddle.numpy(), rtol=1e-4, atol=1e-4)
