"""Noise schedules are those of diffusers, read from the checkpoint's own config."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdbatch.samplers.schedule import SPACINGS, NoiseSchedule, UnsupportedSchedule

SCHEDULES = ["linear", "scaled_linear", "squaredcos_cap_v2", "zero_snr"]


def schedule(**config) -> NoiseSchedule:
    return NoiseSchedule.from_config(config)


@pytest.fixture(params=range(4), ids=SCHEDULES)
def record(request, golden) -> dict:
    """One of the schedules that were recorded from diffusers."""
    return golden["schedules"][request.param]


class TestEqualToDiffusers:
    def test_signal_shares(self, record):
        found = NoiseSchedule.from_config(record["config"]).alphas_cumprod
        assert found.dtype == np.float32
        assert found[::111].tolist() == pytest.approx(
            record["alphas_cumprod_every_111"], rel=1e-6, abs=0
        )

    def test_visited_timesteps(self, record):
        for spacing, offset, steps, expected in record["timesteps"]:
            config = {**record["config"], "timestep_spacing": spacing, "steps_offset": offset}
            assert NoiseSchedule.from_config(config).timesteps(steps) == expected


class TestSignalShares:
    def test_fall_with_the_timestep(self, record):
        alphas = NoiseSchedule.from_config(record["config"]).alphas_cumprod
        assert len(alphas) == 1000
        assert (np.diff(alphas) < 0).all()

    def test_zero_terminal_snr_ends_in_pure_noise_and_keeps_the_first(self):
        plain, rescaled = schedule(), schedule(rescale_betas_zero_snr=True)
        assert rescaled.alpha(999) == 0
        assert rescaled.alpha(0) == pytest.approx(plain.alpha(0), rel=1e-6)

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
    @given(steps=st.integers(1, 999), spacing=st.sampled_from(SPACINGS), offset=st.integers(0, 1))
    def test_are_as_many_as_asked_for_descending_and_trained(self, steps, spacing, offset):
        found = schedule(timestep_spacing=spacing, steps_offset=offset).timesteps(steps)
        assert len(found) == steps
        assert all(a > b for a, b in itertools.pairwise(found))
        assert found[-1] >= 0 and found[0] <= 999

    @pytest.mark.parametrize("steps", [61, 103, 121])
    def test_trailing_has_no_step_too_many_where_rounding_would_add_one(self, steps):
        found = schedule(timestep_spacing="trailing").timesteps(steps)
        assert len(found) == steps
        assert found[-1] > 0

    @pytest.mark.parametrize("steps", [0, -1, 1001])
    def test_a_number_of_steps_beyond_the_training_is_refused(self, steps):
        with pytest.raises(UnsupportedSchedule, match=f"steps={steps}: expected 1 to 1000"):
            schedule().timesteps(steps)

    def test_an_offset_that_leads_beyond_the_training_is_refused(self):
        with pytest.raises(UnsupportedSchedule) as caught:
            schedule(steps_offset=1).timesteps(1000)
        assert str(caught.value) == (
            "steps=1000: with steps_offset=1 the first timestep would be 1000, "
            "but the last one trained is 999"
        )
        assert schedule(steps_offset=0).timesteps(1000)[0] == 999

    def test_follow_the_number_of_training_steps(self):
        assert schedule(num_train_timesteps=100).timesteps(4) == [75, 50, 25, 0]


class TestDefaultsOfTheClass:
    @pytest.mark.parametrize("name", ["DDIMScheduler", "DDPMScheduler", None])
    def test_ddim_and_ddpm_clip_and_end_at_one(self, name):
        found = schedule(_class_name=name)
        assert found.clip_range == 1.0
        assert found.set_alpha_to_one

    def test_pndm_does_neither(self):
        found = schedule(_class_name="PNDMScheduler")
        assert found.clip_range is None
        assert not found.set_alpha_to_one

    @pytest.mark.parametrize("name", ["DDIMScheduler", "PNDMScheduler"])
    def test_a_value_in_the_config_wins(self, name):
        values = {"clip_sample": True, "clip_sample_range": 2.5, "set_alpha_to_one": True}
        found = schedule(_class_name=name, **values)
        assert found.clip_range == 2.5
        assert found.set_alpha_to_one
        found = schedule(_class_name=name, clip_sample=False, set_alpha_to_one=False)
        assert found.clip_range is None
        assert not found.set_alpha_to_one

    def test_the_rest_is_the_same_for_all(self):
        found = schedule()
        assert (found.prediction_type, found.spacing) == ("epsilon", "leading")
        assert (found.steps_offset, found.variance_type) == (0, "fixed_small")


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("prediction_type", "flow", "epsilon, v_prediction, sample"),
        ("timestep_spacing", "karras", "leading, trailing, linspace"),
        ("variance_type", "learned_range", "fixed_small, fixed_large"),
        ("beta_schedule", "sigmoid", "linear, scaled_linear or squaredcos_cap_v2"),
        ("thresholding", True, "it is for pixel models"),
    ],
)
def test_what_is_not_implemented_is_refused_by_name(key, value, expected):
    with pytest.raises(UnsupportedSchedule) as caught:
        schedule(**{key: value})
    assert key in str(caught.value)
    assert expected in str(caught.value)
