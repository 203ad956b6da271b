"""A checkpoint's scheduler_config.json and the user's options make one sampler, or are refused."""

import json
from pathlib import Path

import pytest

from sdbatch.samplers import SOLVER_NAMES, Sampler, SamplerOptions, UnsupportedSchedule
from sdbatch.samplers.classes import DEFAULTS

CONF = Path(__file__).resolve().parents[2] / "conf" / "scheduler"


def sampler(config=None, **options) -> Sampler:
    return Sampler.from_config(config or {}, SamplerOptions(**options))


def refusal(config=None, **options) -> str:
    with pytest.raises(UnsupportedSchedule) as caught:
        sampler(config, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestTheCheckpointsOwnSolver:
    @pytest.mark.parametrize(
        ("config", "name"),
        [
            ({"_class_name": "DDPMScheduler"}, "ddpm"),
            ({"_class_name": "DDIMScheduler"}, "ddim"),
            ({"_class_name": "PNDMScheduler"}, "pndm"),
            ({"_class_name": "PNDMScheduler", "skip_prk_steps": True}, "plms"),
            ({"_class_name": "EulerDiscreteScheduler"}, "euler"),
            ({"_class_name": "EulerDiscreteScheduler", "use_karras_sigmas": True}, "euler_karras"),
            ({"_class_name": "EulerAncestralDiscreteScheduler"}, "euler_a"),
            ({"_class_name": "HeunDiscreteScheduler", "use_beta_sigmas": True}, "heun_beta"),
            ({"_class_name": "DPMSolverMultistepScheduler"}, "dpmpp_2m"),
            ({"_class_name": "DPMSolverMultistepScheduler", "use_lu_lambdas": True}, "dpmpp_2m_lu"),
            ({"_class_name": "DPMSolverMultistepScheduler", "solver_order": 1}, "dpmpp_1m"),
            ({"_class_name": "DPMSolverMultistepScheduler", "solver_order": 3}, "dpmpp_3m"),
            (
                {
                    "_class_name": "DPMSolverMultistepScheduler",
                    "algorithm_type": "sde-dpmsolver++",
                    "use_karras_sigmas": True,
                },
                "dpmpp_2m_sde_karras",
            ),
            ({"_class_name": "DPMSolverSinglestepScheduler", "solver_order": 3}, "dpmpp_3s"),
            ({"_class_name": "UniPCMultistepScheduler"}, "unipc"),
            ({"_class_name": "LCMScheduler"}, "lcm"),
            ({"_class_name": "TCDScheduler"}, "tcd"),
        ],
    )
    def test_has_the_name_of_what_it_does(self, config, name):
        assert sampler(config).name == name

    @pytest.mark.parametrize(
        ("class_name", "nearest"),
        [
            ("LMSDiscreteScheduler", "euler"),
            ("DEISMultistepScheduler", "unipc"),
            ("KDPM2AncestralDiscreteScheduler", "euler_a"),
        ],
    )
    def test_that_is_not_implemented_is_refused_with_the_nearest(self, class_name, nearest):
        assert refusal({"_class_name": class_name}) == (
            f"_class_name='{class_name}': not implemented; the nearest is scheduler={nearest}"
        )

    @pytest.mark.parametrize("class_name", ["EDMEulerScheduler", None, 3])
    def test_that_is_unknown_is_refused_with_all_names(self, class_name):
        message = refusal({"_class_name": class_name})
        assert message.startswith(f"_class_name={class_name!r}: not supported; choose another")
        assert all(name in message for name in SOLVER_NAMES)


class TestKeysOfTheConfig:
    def test_stay_where_the_chosen_class_knows_them(self):
        config = {"_class_name": "PNDMScheduler", "steps_offset": 1, "beta_end": 0.012}
        found = sampler(config, solver="euler").resolved
        assert (found["steps_offset"], found["beta_end"]) == (1, 0.012)

    def test_that_are_missing_take_the_default_of_the_chosen_class(self):
        config = {"_class_name": "PNDMScheduler"}
        assert sampler(config, solver="plms").resolved["timestep_spacing"] == "leading"
        assert sampler(config, solver="euler").resolved["timestep_spacing"] == "linspace"
        assert sampler(config, solver="ddim").resolved["clip_sample"]
        assert not sampler(config, solver="heun").resolved["clip_sample"]

    def test_that_the_chosen_class_does_not_know_mean_nothing(self):
        config = {"_class_name": "EulerDiscreteScheduler", "use_karras_sigmas": True}
        assert sampler(config).name == "euler_karras"
        assert sampler(config, solver="euler_a").name == "euler_a"
        assert "sigmas" not in sampler(config, solver="ddim").resolved

    def test_of_null_are_as_if_missing(self):
        config = {"timestep_spacing": None, "rescale_betas_zero_snr": None, "sigma_min": None}
        assert sampler(config, solver="euler").settings == sampler(solver="euler").settings

    def test_that_name_another_solvers_kind_are_replaced_as_diffusers_does(self):
        config = {"solver_type": "bh1", "algorithm_type": "deis"}
        named = {"_class_name": "DPMSolverMultistepScheduler", **config}
        found = sampler(named).resolved
        assert (found["solver_type"], found["algorithm_type"]) == ("midpoint", "dpmsolver++")
        assert sampler({"solver_type": "heun"}, solver="unipc").resolved["solver_type"] == "bh2"

    @pytest.mark.parametrize(
        ("solver", "key", "value", "expected"),
        [
            ("ddim", "prediction_type", "flow", "one of epsilon, v_prediction, sample"),
            ("plms", "prediction_type", "sample", "one of epsilon, v_prediction"),
            ("euler_a", "prediction_type", "sample", "one of epsilon, v_prediction"),
            ("ddim", "timestep_spacing", "karras", "one of leading, trailing, linspace"),
            ("ddim", "steps_offset", "one", "a whole number"),
            ("ddim", "steps_offset", True, "a whole number"),
            ("ddim", "beta_end", "0.02", "a number"),
            ("ddim", "clip_sample", 1, "true or false"),
            ("ddim", "trained_betas", 0.5, "a list"),
            ("ddim", "num_train_timesteps", 1, "at least 2"),
            ("ddim", "beta_start", -0.1, "a number between 0 and 1"),
            ("ddim", "trained_betas", [0.1, "0.2"], "a list of numbers"),
            ("ddim", "clip_sample_range", 0.0, "a number above 0"),
            ("euler", "sigma_min", 0.0, "a number above 0"),
            ("lcm", "original_inference_steps", 2000, "1 to num_train_timesteps=1000"),
            ("ddim", "beta_schedule", "sigmoid", "one of linear, scaled_linear"),
            ("ddim", "thresholding", True, "false; it is for pixel models"),
            ("ddpm", "variance_type", "learned_range", "one of fixed_small, fixed_small_log"),
            ("dpmpp_2m", "variance_type", "learned", "one that is not learned"),
            ("dpmpp_2m", "use_flow_sigmas", True, "false; it is for flow matching models"),
            ("euler", "timestep_type", "continuous", "discrete; the model needs EDM's"),
            ("unipc", "predict_x0", False, "true"),
            ("unipc", "solver_order", 4, "one of 1, 2, 3"),
        ],
    )
    def test_that_are_not_implemented_are_refused_by_name(self, solver, key, value, expected):
        message = refusal({key: value}, solver=solver)
        assert message.startswith(f"{key}={value!r}: expected {expected}")

    def test_of_trained_betas_beyond_their_range_are_refused_in_one_short_line(self):
        config = {"trained_betas": [0.5] * 999 + [1.0]}
        assert refusal(config, solver="ddim") == (
            "trained_betas=1000 numbers: expected all between 0 and 1"
        )

    def test_that_exclude_each_other_are_refused(self):
        config = {"use_karras_sigmas": True, "use_beta_sigmas": True}
        assert refusal(config, solver="euler") == (
            "use_karras_sigmas=true and use_beta_sigmas=true: expected one of them"
        )

    def test_that_name_the_older_dpm_solver_are_refused_with_advice(self):
        config = {"_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "dpmsolver"}
        assert refusal(config).endswith("choose scheduler=dpmpp_2m")
        assert sampler(config, solver="dpmpp_2m").name == "dpmpp_2m"


class TestOptions:
    def test_win_over_the_config(self):
        config = {
            "_class_name": "EulerDiscreteScheduler",
            "timestep_spacing": "leading",
            "use_karras_sigmas": True,
        }
        found = sampler(config, sigmas="model", spacing="trailing", steps_offset=2, zero_snr=True)
        assert found.name == "euler"
        assert found.resolved["timestep_spacing"] == "trailing"
        assert found.resolved["steps_offset"] == 2
        assert found.resolved["rescale_betas_zero_snr"]

    @pytest.mark.parametrize(
        ("solver", "option", "value"),
        [
            ("ddim", "sigmas", "karras"),
            ("ddim", "final_sigma", "zero"),
            ("dpmpp_2s", "spacing", "trailing"),
            ("lcm", "steps_offset", 1),
            ("euler", "lower_order_final", True),
            ("euler", "eta", 0.5),
            ("heun", "zero_snr", True),
            ("plms", "zero_snr", True),
        ],
    )
    def test_that_mean_nothing_to_the_solver_are_refused(self, solver, option, value):
        expected = f"{option}={value!r}: {solver} has no such setting"
        assert refusal(solver=solver, **{option: value}) == expected

    def test_the_models_own_sigmas_are_what_every_solver_has(self):
        assert sampler(solver="ddim", sigmas="model").name == "ddim"

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"solver": "lms"}, "solver='lms': expected checkpoint or one of ddpm, ddim"),
            ({"solver": "euler", "sigmas": "cosine"}, "sigmas='cosine': expected one of model"),
            ({"solver": "euler", "sigmas": "lu"}, "sigmas='lu': euler has no such schedule"),
            ({"solver": "ddim", "spacing": "even"}, "spacing='even': expected one of leading"),
            ({"solver": "ddim", "eta": 1.5}, "eta=1.5: expected 0 to 1"),
            ({"solver": "tcd", "eta": -0.1}, "eta=-0.1: expected 0 to 1"),
            ({"solver": "ddim", "steps_offset": -1}, "steps_offset=-1: expected 0 or more"),
            ({"solver": "unipc", "lower_order_final": False}, "lower_order_final=false: unipc"),
        ],
    )
    def test_out_of_range_are_refused(self, options, message):
        assert refusal(**options).startswith(message)


class TestSettingsForTheFingerprint:
    def test_are_json_and_sorted(self):
        for class_name in DEFAULTS:
            found = sampler({"_class_name": class_name}).settings
            assert json.loads(json.dumps(found, allow_nan=False)) == found
            assert list(found) == ["solver", *sorted(key for key in found if key != "solver")]

    def test_change_with_all_that_changes_latents(self):
        config = {"_class_name": "DDIMScheduler"}
        settings = [
            sampler({**config, **change}).settings
            for change in (
                {},
                {"steps_offset": 1},
                {"beta_end": 0.03},
                {"prediction_type": "v_prediction"},
                {"clip_sample": False},
                {"trained_betas": [0.1, 0.2]},
                {"trained_betas": [0.1, 0.3]},
                {"_class_name": "DDPMScheduler"},
            )
        ]
        assert len({json.dumps(found) for found in settings}) == len(settings)

    @pytest.mark.parametrize(
        "idle",
        [
            {"clip_sample_range": 2.0},
            {"steps_offset": 1, "timestep_spacing": "trailing"},
            {"thresholding": False},
            {"skip_prk_steps": True},
        ],
    )
    def test_leave_out_what_cannot_act(self, idle):
        config = {"_class_name": "DDIMScheduler", "clip_sample": False}
        with_idle = sampler({**config, **idle}).settings
        assert set(idle) & set(with_idle) <= {"timestep_spacing"}


class TestConfigFiles:
    def test_every_one_is_a_sampler_of_its_name(self):
        from omegaconf import OmegaConf

        paths = sorted(CONF.glob("*.yaml"))
        assert {path.stem for path in paths} >= {"checkpoint", *SOLVER_NAMES}
        for path in paths:
            text = path.read_text(encoding="utf-8")
            assert text.startswith("# ") and text.splitlines()[0].endswith((".", ")"))
            found = sampler({"_class_name": "DDIMScheduler"}, **OmegaConf.load(path))
            if path.stem not in ("checkpoint", "ddim_trailing", "euler_trailing"):
                assert found.name == path.stem
