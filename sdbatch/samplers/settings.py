"""Reading a checkpoint's `scheduler_config.json` and what the user sets beside it.

As diffusers' `NewScheduler.from_config(json)`: keys that the solver's class knows stay, others take
that class's defaults (`classes.py`). Everything that is not implemented is refused by name.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sdbatch.samplers.classes import DEFAULTS, SOLVER_NAMES, SOLVERS, UNSUPPORTED, solver_name
from sdbatch.samplers.schedule import UnsupportedSchedule
from sdbatch.samplers.sigmas import SIGMA_NAMES
from sdbatch.samplers.spacing import SPACINGS

Settings = dict[str, Any]
"""What a class of the reference is told, by its own key names."""


@dataclass(frozen=True)
class SamplerOptions:
    """What a user may set; None leaves it to the checkpoint.

    `solver` is "checkpoint" or one of `SOLVER_NAMES`; `sigmas` one of `SIGMA_NAMES`; `spacing` one
    of `SPACINGS`; `final_sigma` zero or sigma_min; `eta` (0 to 1) DDIM's share of ancestral noise
    or TCD's gamma; `zero_snr` rescales the betas to zero terminal SNR.
    """

    solver: str = "checkpoint"
    sigmas: str | None = None
    spacing: str | None = None
    steps_offset: int | None = None
    final_sigma: str | None = None
    lower_order_final: bool | None = None
    eta: float | None = None
    zero_snr: bool | None = None


_EULER_A = "EulerAncestralDiscreteScheduler"
_MULTISTEP = "DPMSolverMultistepScheduler"
_SINGLESTEP = "DPMSolverSinglestepScheduler"
_UNIPC = "UniPCMultistepScheduler"
_KEY_OF_OPTION = {
    "sigmas": "sigmas",
    "spacing": "timestep_spacing",
    "steps_offset": "steps_offset",
    "final_sigma": "final_sigmas_type",
    "lower_order_final": "lower_order_final",
    "eta": "eta",
    "zero_snr": "rescale_betas_zero_snr",
}
_OPTION_VALUES: Mapping[str, tuple[str, ...]] = {
    "sigmas": SIGMA_NAMES,
    "spacing": SPACINGS,
    "final_sigma": ("zero", "sigma_min"),
}
_SIGMAS_OF_FLAG = {
    "use_karras_sigmas": "karras",
    "use_exponential_sigmas": "exponential",
    "use_beta_sigmas": "beta",
    "use_lu_lambdas": "lu",
}
_FLAGS = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas")
_FLAGS_OF_CLASS = {_EULER_A: (), _MULTISTEP: (*_FLAGS, "use_lu_lambdas")}
_SOLVER_TYPES = {
    _MULTISTEP: ("midpoint", ("logrho", "bh1", "bh2")),
    _SINGLESTEP: ("midpoint", ("logrho", "bh1", "bh2")),
    _UNIPC: ("bh2", ("midpoint", "heun", "logrho")),
}
_KIND_OF_KEY = {"trained_betas": list, "sigma_min": float, "sigma_max": float}
_FITTING: Mapping[type, tuple[str, tuple[type, ...]]] = {
    bool: ("true or false", (bool,)),
    int: ("a whole number", (int,)),
    float: ("a number", (int, float)),
    list: ("a list of numbers", (list, tuple)),
}
_ALLOWED: Mapping[str, tuple[Any, ...]] = {
    "prediction_type": ("epsilon", "v_prediction", "sample"),
    "beta_schedule": ("linear", "scaled_linear", "squaredcos_cap_v2"),
    "timestep_spacing": SPACINGS,
    "timestep_type": ("discrete",),
    "interpolation_type": ("linear", "log_linear"),
    "final_sigmas_type": ("zero", "sigma_min"),
    "algorithm_type": ("dpmsolver++", "sde-dpmsolver++"),
    "solver_order": (1, 2, 3),
    "solver_type": ("midpoint", "heun"),
    "predict_x0": (True,),
    "solver_p": (None,),
    "shift_terminal": (None,),
    "use_flow_sigmas": (False,),
    "use_dynamic_shifting": (False,),
    "thresholding": (False,),
}
_ALLOWED_OF_CLASS: Mapping[str, Mapping[str, tuple[Any, ...]]] = {
    "DDPMScheduler": {"variance_type": ("fixed_small", "fixed_small_log", "fixed_large")},
    "PNDMScheduler": {"prediction_type": ("epsilon", "v_prediction")},
    _EULER_A: {"prediction_type": ("epsilon", "v_prediction")},
    _UNIPC: {"solver_type": ("bh1", "bh2")},
}
_ADVICE = {
    "thresholding": "; it is for pixel models",
    "timestep_type": "; the model needs EDM's continuous timesteps",
    "use_flow_sigmas": "; it is for flow matching models",
    "algorithm_type": "; choose scheduler=dpmpp_2m",
}


def resolve(config: Mapping[str, Any], options: SamplerOptions) -> tuple[str, Settings]:
    """The class of the reference and all that it is told, defaults filled in.

    Raises:
        UnsupportedSchedule: naming the key or option, its value and what is supported.
    """
    class_name, fixed = _class_of(config, options.solver)
    known = DEFAULTS[class_name]
    settings = {key: _typed(key, config.get(key, known[key]), known[key]) for key in known}
    if "sigmas" in known:
        settings["sigmas"] = _sigmas_of(config, class_name)
    settings.update(fixed)
    _rename_as_the_reference(settings, class_name)
    _check(settings, class_name)
    _apply(options, settings, class_name)
    _check_ranges(settings, class_name)
    return class_name, settings


def canonical(settings: Settings) -> Settings:
    """`settings` without what cannot act, JSON-able; trained betas by their digest."""
    idle = {"num_train_timesteps", "beta_start", "beta_end", "beta_schedule"}
    if settings["trained_betas"] is None:
        idle = {"trained_betas"}
    if not settings.get("clip_sample"):
        idle |= {"clip_sample_range"}
    if settings.get("timestep_spacing") != "leading":
        idle |= {"steps_offset"}
    if settings.get("lambda_min_clipped") == -math.inf:
        idle |= {"lambda_min_clipped"}
    idle |= {key for key, allowed in _ALLOWED.items() if len(allowed) == 1}
    found = {key: value for key, value in settings.items() if key not in idle}
    if "trained_betas" in found:
        numbers = json.dumps([float(beta) for beta in found["trained_betas"]])
        found["trained_betas"] = hashlib.sha256(numbers.encode()).hexdigest()
    return dict(sorted(found.items()))


def _class_of(config: Mapping[str, Any], solver: str) -> tuple[str, Mapping[str, Any]]:
    if solver in SOLVERS:
        return SOLVERS[solver]
    if solver != "checkpoint":
        raise UnsupportedSchedule(
            f"solver={solver!r}: expected checkpoint or one of {', '.join(SOLVER_NAMES)}"
        )
    named = config.get("_class_name")
    if named in DEFAULTS:
        return named, {}
    if named in UNSUPPORTED:
        advice = f"not implemented; the nearest is scheduler={UNSUPPORTED[named]}"
    else:
        advice = f"not supported; choose another with scheduler={'|'.join(SOLVER_NAMES)}"
    raise UnsupportedSchedule(f"_class_name={named!r}: {advice}")


def _typed(key: str, value: Any, default: Any) -> Any:
    """`value`, checked to be of the kind that `default` is; null is no value at all."""
    if value is None:
        return False if isinstance(default, bool) else default
    kind = _KIND_OF_KEY.get(key, type(default))
    if kind not in _FITTING:
        return value
    expected, types = _FITTING[kind]
    fits = isinstance(value, types) and isinstance(value, bool) == (kind is bool)
    if fits and kind is list:
        fits = all(type(item) in (int, float) for item in value)
    if not fits:
        raise UnsupportedSchedule(f"{key}={value!r}: expected {expected}")
    return kind(value)


def _sigmas_of(config: Mapping[str, Any], class_name: str) -> str:
    """The sigma schedule that the reference's flags ask for, of those its class knows."""
    flags = [flag for flag in _FLAGS_OF_CLASS.get(class_name, _FLAGS) if config.get(flag)]
    if len(flags) > 1:
        raise UnsupportedSchedule(f"{flags[0]}=true and {flags[1]}=true: expected one of them")
    return _SIGMAS_OF_FLAG[flags[0]] if flags else "model"


def _rename_as_the_reference(settings: Settings, class_name: str) -> None:
    """DPM-Solver and UniPC read each other's configs: what names the other's kind is replaced."""
    ours, others = _SOLVER_TYPES.get(class_name, ("", ()))
    if settings.get("solver_type") in others:
        settings["solver_type"] = ours
    if settings.get("algorithm_type") == "deis":
        settings["algorithm_type"] = "dpmsolver++"


def _check(settings: Settings, class_name: str) -> None:
    allowed = {**_ALLOWED, **_ALLOWED_OF_CLASS.get(class_name, {})}
    for key, value in settings.items():
        if value not in allowed.get(key, (value,)):
            expected = ", ".join(_as_json(item) for item in allowed[key])
            one_of = "one of " if len(allowed[key]) > 1 else ""
            advice = _ADVICE.get(key, "")
            raise UnsupportedSchedule(f"{key}={value!r}: expected {one_of}{expected}{advice}")
    if settings.get("variance_type") in ("learned", "learned_range"):
        value = settings["variance_type"]
        raise UnsupportedSchedule(f"variance_type={value!r}: expected one that is not learned")


def _apply(options: SamplerOptions, settings: Settings, class_name: str) -> None:
    """Let what the user set win over the checkpoint, if it means something to the solver."""
    name = solver_name(class_name, settings)
    for option, key in _KEY_OF_OPTION.items():
        value = getattr(options, option)
        if value is None or (value == "model" and key not in settings):
            continue
        if key not in settings:
            raise UnsupportedSchedule(f"{option}={value!r}: {name} has no such setting")
        allowed = _OPTION_VALUES.get(option, (value,))
        if value not in allowed:
            raise UnsupportedSchedule(f"{option}={value!r}: expected one of {', '.join(allowed)}")
        settings[key] = value
    if settings.get("sigmas") == "lu" and class_name != _MULTISTEP:
        raise UnsupportedSchedule(f"sigmas='lu': {name} has no such schedule, dpmpp_2m has")


def _check_ranges(settings: Settings, class_name: str) -> None:
    """Refuse numbers out of range, and what cannot go together."""
    train_steps, betas = settings["num_train_timesteps"], settings["trained_betas"]
    for key, fits, expected in (
        ("num_train_timesteps", lambda steps: steps > 1 or betas is not None, "at least 2"),
        ("beta_start", lambda beta: 0 < beta < 1, "a number between 0 and 1"),
        ("beta_end", lambda beta: 0 < beta < 1, "a number between 0 and 1"),
        ("trained_betas", lambda _: all(0 < beta < 1 for beta in betas), "all between 0 and 1"),
        ("eta", lambda eta: 0 <= eta <= 1, "0 to 1"),
        ("steps_offset", lambda offset: offset >= 0, "0 or more"),
        ("sigma_min", lambda sigma: sigma > 0, "a number above 0"),
        ("sigma_max", lambda sigma: sigma > 0, "a number above 0"),
        ("clip_sample_range", lambda bound: bound > 0, "a number above 0"),
        (
            "original_inference_steps",
            lambda steps: 1 <= steps <= train_steps,
            f"1 to num_train_timesteps={train_steps}",
        ),
    ):
        value = settings.get(key)
        if value is not None and not fits(value):
            found = f"{len(value)} numbers" if key == "trained_betas" else value
            raise UnsupportedSchedule(f"{key}={found}: expected {expected}")
    to_zero = settings.get("final_sigmas_type") == "zero"
    if class_name == _UNIPC and to_zero and not settings["lower_order_final"]:
        raise UnsupportedSchedule(
            "lower_order_final=false: unipc cannot reach sigma zero with it; "
            "expected lower_order_final=true or final_sigma=sigma_min"
        )


def _as_json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
