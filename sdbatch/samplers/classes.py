"""What diffusers' scheduler classes can be told, with their defaults, and which class a solver is.

A key of `scheduler_config.json` that a class does not know means nothing to it, so the tables also
say which options a solver has. Source: the `__init__` signatures in diffusers 0.42 `schedulers/`.
`sigmas` stands for its flags `use_karras_sigmas` and so on; `eta` for its argument to `step`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_BETAS = {
    "num_train_timesteps": 1000,
    "beta_start": 0.0001,
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "trained_betas": None,
    "prediction_type": "epsilon",
}
_SD_BETAS = {"beta_start": 0.00085, "beta_end": 0.012}
_LEADING = {"timestep_spacing": "leading", "steps_offset": 0}
_LINSPACE = {"timestep_spacing": "linspace", "steps_offset": 0}
_CLIPPED = {"clip_sample": True, "clip_sample_range": 1.0}
_UNCLIPPED = {"clip_sample": False, "clip_sample_range": 1.0}
_SIGMAS = {"sigmas": "model", "sigma_min": None, "sigma_max": None}
_ZERO_SNR = {"rescale_betas_zero_snr": False}
_FINAL = {"final_sigmas_type": "zero"}
_DPM = {
    **_BETAS,
    **_SIGMAS,
    **_FINAL,
    "solver_order": 2,
    "algorithm_type": "dpmsolver++",
    "solver_type": "midpoint",
    "lambda_min_clipped": -float("inf"),
    "variance_type": None,
    "thresholding": False,
    "use_flow_sigmas": False,
    "use_dynamic_shifting": False,
}
_DISTILLED = {
    **_BETAS,
    **_SD_BETAS,
    **_ZERO_SNR,
    "beta_schedule": "scaled_linear",
    "original_inference_steps": 50,
    "thresholding": False,
}

DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "DDPMScheduler": {
        **_BETAS,
        **_LEADING,
        **_CLIPPED,
        **_ZERO_SNR,
        "variance_type": "fixed_small",
        "thresholding": False,
    },
    "DDIMScheduler": {
        **_BETAS,
        **_LEADING,
        **_CLIPPED,
        **_ZERO_SNR,
        "set_alpha_to_one": True,
        "thresholding": False,
        "eta": 0.0,
    },
    "PNDMScheduler": {
        **_BETAS,
        **_LEADING,
        "set_alpha_to_one": False,
        "skip_prk_steps": False,
    },
    "EulerDiscreteScheduler": {
        **_BETAS,
        **_LINSPACE,
        **_SIGMAS,
        **_FINAL,
        **_ZERO_SNR,
        "interpolation_type": "linear",
        "timestep_type": "discrete",
    },
    "EulerAncestralDiscreteScheduler": {**_BETAS, **_LINSPACE, **_SIGMAS, **_ZERO_SNR},
    "HeunDiscreteScheduler": {**_BETAS, **_SD_BETAS, **_LINSPACE, **_SIGMAS, **_UNCLIPPED},
    "DPMSolverMultistepScheduler": {
        **_DPM,
        **_LINSPACE,
        **_ZERO_SNR,
        "lower_order_final": True,
        "euler_at_final": False,
    },
    "DPMSolverSinglestepScheduler": {**_DPM, "lower_order_final": False},
    "UniPCMultistepScheduler": {
        **_BETAS,
        **_LINSPACE,
        **_SIGMAS,
        **_FINAL,
        **_ZERO_SNR,
        "solver_order": 2,
        "solver_type": "bh2",
        "lower_order_final": True,
        "disable_corrector": [],
        "predict_x0": True,
        "solver_p": None,
        "thresholding": False,
        "use_flow_sigmas": False,
        "use_dynamic_shifting": False,
        "shift_terminal": None,
    },
    "LCMScheduler": {
        **_DISTILLED,
        **_UNCLIPPED,
        "set_alpha_to_one": True,
        "timestep_scaling": 10.0,
    },
    "TCDScheduler": {**_DISTILLED, "eta": 0.3},
}

SOLVERS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "ddpm": ("DDPMScheduler", {}),
    "ddim": ("DDIMScheduler", {}),
    "plms": ("PNDMScheduler", {"skip_prk_steps": True}),
    "pndm": ("PNDMScheduler", {"skip_prk_steps": False}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler_a": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "dpmpp_2m": (
        "DPMSolverMultistepScheduler",
        {"algorithm_type": "dpmsolver++", "solver_order": 2},
    ),
    "dpmpp_3m": (
        "DPMSolverMultistepScheduler",
        {"algorithm_type": "dpmsolver++", "solver_order": 3},
    ),
    "dpmpp_2m_sde": (
        "DPMSolverMultistepScheduler",
        {"algorithm_type": "sde-dpmsolver++", "solver_order": 2},
    ),
    "dpmpp_2s": (
        "DPMSolverSinglestepScheduler",
        {"algorithm_type": "dpmsolver++", "solver_order": 2},
    ),
    "dpmpp_3s": (
        "DPMSolverSinglestepScheduler",
        {"algorithm_type": "dpmsolver++", "solver_order": 3},
    ),
    "unipc": ("UniPCMultistepScheduler", {}),
    "lcm": ("LCMScheduler", {}),
    "tcd": ("TCDScheduler", {}),
}
"""Name that people type -> (class of the reference, what it is told whatever the config says)."""

SOLVER_NAMES = tuple(SOLVERS)


def solver_name(class_name: str, settings: Mapping[str, Any]) -> str:
    """The name of what a class does with these settings; orders without a name get one."""
    if class_name == "PNDMScheduler":
        return "plms" if settings["skip_prk_steps"] else "pndm"
    steps = {"DPMSolverMultistepScheduler": "m", "DPMSolverSinglestepScheduler": "s"}
    if class_name in steps:
        random = "_sde" if settings["algorithm_type"] == "sde-dpmsolver++" else ""
        return f"dpmpp_{settings['solver_order']}{steps[class_name]}{random}"
    return next(name for name, (owner, _) in SOLVERS.items() if owner == class_name)


UNSUPPORTED: Mapping[str, str] = {
    "LMSDiscreteScheduler": "euler",
    "KDPM2DiscreteScheduler": "heun",
    "KDPM2AncestralDiscreteScheduler": "euler_a",
    "DEISMultistepScheduler": "unipc",
    "IPNDMScheduler": "plms",
    "DPMSolverSDEScheduler": "dpmpp_2m_sde",
    "SASolverScheduler": "dpmpp_2m_sde",
}
"""Classes that are not implemented -> the nearest solver that is."""
