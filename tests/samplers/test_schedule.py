"""Noise schedules are those of diffusers, from the betas to the visited timesteps."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdbatch.samplers import SPACINGS, Sampler, SamplerOptions, UnsupportedSchedule
from sdbatch.samplers.sigmas import sgm_uniform, spread, timesteps_of
from tests.samplers.records import read, sampler

SD1 = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}


def schedule(solver="ddim", **config):
    return Sampler.from_config(config, SamplerOptions(solver=solver)).schedule


def visited(steps, solver="ddim", **config):
    found = Sampler.from_config(config, SamplerOptions(solver=solver))
    return found.trajectory(steps).timesteps


class TestSignalShares:
    def test_are_those_of_diffusers_to_the_last_bit(self):
        """Except after rescaling, where PyTorch's square root is not always rounded correctly."""
        records, numbers = read("schedules")
        ends = np.cumsum([record["length"] for record in records])
        assert len(records) == 12
        for record, expected in zip(records, np.split(numbers, ends[:-1]), strict=True):
            found = sampler(record).schedule.alphas_cumprod
            assert found.dtype == np.float32
            if record["config"].get("rescale_betas_zero_snr"):
                assert np.allclose(found, expected, rtol=5e-6, atol=1e-12)
            else:
                assert np.array_equal(found, expected), record

    def test_zero_terminal_snr_ends_in_pure_noise_and_keeps_the_first(self):
        plain, rescaled = schedule(), schedule(rescale_betas_zero_snr=True)
        assert rescaled.alpha(999) == 0
        assert rescaled.alpha(0) == pytest.approx(plain.alpha(0), rel=1e-6)

    @pytest.mark.parametrize("solver", ["euler", "euler_a", "dpmpp_2m", "unipc"])
    def test_solvers_that_divide_by_signal_keep_a_trace_of_it(self, solver):
        assert schedule(solver, rescale_betas_zero_snr=True).alpha(999) == 2**-24

    def test_trained_betas_win_over_a_formula(self):
        found = schedule(beta_schedule="linear", trained_betas=[0.5, 0.5, 0.5])
        assert found.train_steps == 3
        assert found.alphas_cumprod.tolist() == [0.5, 0.25, 0.125]

    @pytest.mark.parametrize("to_one", [True, False])
    def test_the_end_of_the_chain_is_one_or_that_of_timestep_zero(self, to_one):
        found = schedule(set_alpha_to_one=to_one)
        assert found.alpha(-1) == (1.0 if to_one else found.alpha(0))
        assert found.alpha(0) < 1


class TestTimesteps:
    @given(
        steps=st.integers(1, 998),
        spacing=st.sampled_from(SPACINGS),
        offset=st.integers(0, 1),
        solver=st.sampled_from(["ddim", "euler", "dpmpp_2m", "unipc"]),
    )
    def test_are_as_many_as_asked_for_descending_and_trained(self, steps, spacing, offset, solver):
        found = visited(steps, solver, timestep_spacing=spacing, steps_offset=offset)
        assert len(found) == steps
        assert all(a > b for a, b in itertools.pairwise(found))
        assert found[-1] >= 0 and found[0] <= 999

    @pytest.mark.parametrize("steps", [61, 103, 121])
    def test_trailing_has_no_step_too_many_where_rounding_would_add_one(self, steps):
        found = visited(steps, timestep_spacing="trailing")
        assert len(found) == steps
        assert found[-1] > 0

    @pytest.mark.parametrize("steps", [0, -1, 1001])
    def test_a_number_of_steps_beyond_the_training_is_refused(self, steps):
        with pytest.raises(UnsupportedSchedule, match=f"steps={steps}: expected 1 to 1000"):
            visited(steps)

    def test_an_offset_that_leads_beyond_the_training_is_refused(self):
        with pytest.raises(UnsupportedSchedule) as caught:
            visited(1000, steps_offset=1)
        assert str(caught.value) == (
            "steps=1000: with steps_offset=1 the first timestep would be 1000, "
            "but the last one trained is 999"
        )
        assert visited(1000, steps_offset=0)[0] == 999

    def test_that_would_repeat_are_refused(self):
        with pytest.raises(UnsupportedSchedule, match="steps=1000: expected fewer"):
            visited(1000, "dpmpp_2m", timestep_spacing="linspace")

    def test_follow_the_number_of_training_steps(self):
        assert visited(4, num_train_timesteps=100) == (75, 50, 25, 0)

    def test_of_plms_name_the_second_twice(self):
        assert visited(4, "plms") == (750, 500, 500, 250, 0)

    def test_of_heun_name_all_but_the_first_twice(self):
        assert visited(3, "heun") == (999, 499.5, 499.5, 0, 0)

    def test_of_the_warm_up_of_pndm_go_through_the_middle_of_three_steps(self):
        first, second = (750, 625, 625, 500), (500, 375, 375, 250)
        assert visited(4, "pndm") == (*first, *second, 250, 125, 125, 0, 0)

    @pytest.mark.parametrize("solver", ["lcm", "tcd"])
    def test_of_consistency_models_are_those_of_the_distillation(self, solver):
        assert visited(4, solver) == (999, 759, 499, 259)
        with pytest.raises(UnsupportedSchedule, match="at most original_inference_steps=50"):
            visited(51, solver)


class TestSigmas:
    @given(
        name=st.sampled_from(["karras", "exponential", "beta", "lu"]),
        steps=st.integers(2, 200),
        lowest=st.floats(0.001, 0.5),
        highest=st.floats(1, 5000),
    )
    def test_fall_from_the_highest_to_the_lowest(self, name, steps, lowest, highest):
        found = spread(name, highest, lowest, steps)
        assert found[[0, -1]] == pytest.approx([highest, lowest])
        assert len(found) == steps
        assert (np.diff(found) < 0).all()

    @pytest.mark.parametrize("name", ["karras", "exponential", "beta", "lu"])
    def test_of_one_step_are_the_highest(self, name):
        assert spread(name, 14.6, 0.03, 1) == pytest.approx([14.6])

    @given(st.floats(0, 999))
    def test_are_found_again_at_the_timestep_that_has_them(self, timestep):
        table = np.log(schedule("euler", **SD1).sigmas())
        sigma = np.exp(np.interp(timestep, np.arange(1000), table))
        assert timesteps_of(np.array([sigma]), table) == pytest.approx([timestep], abs=1e-6)

    def test_of_sgm_uniform_are_evenly_spaced_in_time_and_stop_before_the_end(self):
        table = np.log(schedule("euler", **SD1).sigmas())
        timesteps, sigmas = sgm_uniform(table, 10)
        assert timesteps[0] == 999
        assert np.diff(timesteps) == pytest.approx([-99.9] * 9)
        assert timesteps_of(sigmas, table) == pytest.approx(timesteps)

    @pytest.mark.parametrize("solver", ["dpmpp_2m", "unipc"])
    def test_end_where_the_config_says(self, solver):
        ends = {"zero": 0.0, "sigma_min": 0.02917}
        for final, expected in ends.items():
            options = SamplerOptions(solver=solver, final_sigma=final)
            signal, noise = Sampler.from_config(SD1, options).trajectory(10).levels[-1]
            assert noise / signal == pytest.approx(expected, rel=1e-3)
