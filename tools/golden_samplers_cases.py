"""Which sampler trajectories `tools/golden_samplers.py` records: scheduler configs and options.

A case is (a checkpoint's scheduler_config.json, fields of sdbatch's SamplerOptions).
"""

from __future__ import annotations

import itertools
import json

SOLVERS = (
    "ddpm",
    "ddim",
    "plms",
    "pndm",
    "euler",
    "euler_a",
    "heun",
    "dpmpp_2m",
    "dpmpp_3m",
    "dpmpp_2m_sde",
    "dpmpp_2s",
    "dpmpp_3s",
    "unipc",
    "lcm",
    "tcd",
)
SPACINGS = ("leading", "trailing", "linspace")
SPACED = ("ddpm", "ddim", "plms", "pndm", "euler", "euler_a", "heun", "dpmpp_2m", "unipc")
MULTISTEP = ("dpmpp_2m", "dpmpp_3m", "dpmpp_2m_sde")
SINGLESTEP = ("dpmpp_2s", "dpmpp_3s")
SIGMA_SOLVERS = ("euler", "euler_a", "heun", *MULTISTEP, *SINGLESTEP, "unipc")

# Stable Diffusion 1.x's own scheduler_config.json, and what other checkpoints have.
SD1 = {
    "_class_name": "PNDMScheduler",
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
}
COSINE = {"_class_name": "DDIMScheduler", "beta_schedule": "squaredcos_cap_v2"}
TRAINED = {
    "_class_name": "DDIMScheduler",
    "num_train_timesteps": 100,
    "trained_betas": [round(0.001 + 0.0006 * i, 6) for i in range(100)],
}


def predictions(solver: str) -> tuple[str, ...]:
    """Prediction types that the reference's class has."""
    limited = solver in ("plms", "pndm", "euler_a")
    return ("epsilon", "v_prediction") if limited else ("epsilon", "v_prediction", "sample")


def sigma_names(solver: str) -> tuple[str, ...]:
    """Sigma schedules that the solver has."""
    if solver not in SIGMA_SOLVERS:
        return ("model",)
    common = ("model", "karras", "exponential", "beta", "sgm_uniform")
    return (*common, "lu") if solver in MULTISTEP else common


def cases() -> list[tuple[dict, dict]]:
    """(scheduler config, sampler options) of every trajectory."""
    v = {**SD1, "prediction_type": "v_prediction"}
    found = []
    for solver in SOLVERS:
        for sigmas, kind in itertools.product(sigma_names(solver), predictions(solver)):
            options = {"sigmas": sigmas} if solver in SIGMA_SOLVERS else {}
            found.append(({**SD1, "prediction_type": kind}, {"solver": solver, **options}))
        found.append(({}, {"solver": solver}))
        found.append((TRAINED, {"solver": solver}))
        found.append(({**COSINE, "prediction_type": "v_prediction"}, {"solver": solver}))
        if solver in SPACED:
            for spacing in SPACINGS:
                found.append((SD1, {"solver": solver, "spacing": spacing}))
                found.append((v, {"solver": solver, "spacing": spacing, "steps_offset": 0}))
        if solver in SPACED and solver not in ("plms", "pndm", "heun"):
            options = {"solver": solver, "spacing": "trailing", "zero_snr": True}
            found.append((v, options))
    found += special_cases(v)
    unique = {json.dumps(case, sort_keys=True): case for case in found}
    return list(unique.values())


def special_cases(v: dict) -> list[tuple[dict, dict]]:
    """What only some solvers have."""
    clip = {"clip_sample": True, "clip_sample_range": 0.8}
    found = [({**SD1, **clip}, {"solver": s}) for s in ("ddpm", "ddim", "heun", "lcm")]
    variances = ("fixed_large", "fixed_small_log")
    found += [({**SD1, "variance_type": kind}, {"solver": "ddpm"}) for kind in variances]
    found += [(c, {"solver": "ddim", "eta": eta}) for c in (SD1, v) for eta in (0.5, 1.0)]
    found.append(({**SD1, "set_alpha_to_one": True}, {"solver": "ddim"}))
    found += [(v, {"solver": "tcd", "eta": eta}) for eta in (0.0, 0.7, 1.0)]
    found.append((v, {"solver": "lcm", "zero_snr": True}))
    found.append(({**SD1, "original_inference_steps": 100}, {"solver": "lcm"}))
    for kind in (None, "karras"):
        found.append(({**SD1, "interpolation_type": "log_linear"}, {"solver": "euler"}))
        ends = {"sigma_min": 0.1, "sigma_max": 10.0}
        found.append(({**SD1, **ends}, {"solver": "euler", "sigmas": kind}))
    for solver in ("euler", *MULTISTEP, *SINGLESTEP, "unipc"):
        found.append((SD1, {"solver": solver, "final_sigma": "sigma_min"}))
        if solver != "euler":
            options = {"lower_order_final": False, "final_sigma": "sigma_min"}
            found.append((SD1, {"solver": solver, **options}))
    for solver in (*MULTISTEP, *SINGLESTEP):
        found.append(({**SD1, "solver_type": "heun"}, {"solver": solver}))
        found.append(({**v, "solver_type": "heun"}, {"solver": solver, "sigmas": "karras"}))
        found.append(({**COSINE, "lambda_min_clipped": -5.1}, {"solver": solver}))
        found.append((COSINE, {"solver": solver, "sigmas": "karras"}))
    for solver in MULTISTEP:
        options = {"solver": solver, "lower_order_final": False}
        found.append(({**SD1, "euler_at_final": True}, options))
        found.append((SD1, options))
    for class_name in ("DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler"):
        for kind, order in (("", 1), ("sde-", 1), ("sde-", 2), ("sde-", 3)):
            named = {"_class_name": class_name, "solver_order": order, "solver_type": "heun"}
            found.append(({**SD1, **named, "algorithm_type": f"{kind}dpmsolver++"}, {}))
    for order, kind in itertools.product((1, 2, 3), ("bh1", "bh2")):
        config = {**SD1, "solver_order": order, "solver_type": kind}
        found.append((config, {"solver": "unipc", "final_sigma": "sigma_min"}))
        if kind == "bh2":
            found.append((config, {"solver": "unipc"}))
            found.append((config, {"solver": "unipc", "sigmas": "karras"}))
    found.append(({**SD1, "disable_corrector": [0, 2]}, {"solver": "unipc"}))
    return found


def start_cases() -> list[tuple[dict, dict, int, float]]:
    """(scheduler config, sampler options, steps, strength) of image-to-image."""
    found = []
    for solver in SOLVERS:
        karras = {"sigmas": "karras"} if solver in SIGMA_SOLVERS else {}
        found += [(SD1, {"solver": solver}, steps, share) for steps, share in ((10, 0.6), (9, 0.8))]
        found.append((SD1, {"solver": solver, **karras}, 20, 0.3))
    return found


def timestep_cases() -> list[tuple[dict, dict]]:
    """(scheduler config, sampler options) whose timesteps are recorded for every count."""
    wanted = [({"beta_schedule": "linear"}, {"solver": solver}) for solver in SOLVERS]
    for solver in SOLVERS:
        if solver in SPACED:
            wanted += [(SD1, {"solver": solver, "spacing": spacing}) for spacing in SPACINGS]
        if solver not in ("dpmpp_3m", "dpmpp_2m_sde", "dpmpp_3s"):  # as dpmpp_2m, dpmpp_2s
            names = sigma_names(solver)[1:]
            wanted += [(SD1, {"solver": solver, "sigmas": sigmas}) for sigmas in names]
    for solver in ("dpmpp_2m", "dpmpp_2s", "unipc"):
        wanted += [(COSINE, {"solver": solver, "sigmas": sigmas}) for sigmas in ("karras", "beta")]
    return wanted


def schedule_cases() -> list[tuple[dict, dict]]:
    """(scheduler config, sampler options) whose signal shares are recorded."""
    betas = [{}, {"beta_schedule": "linear", "beta_start": 0.0015, "beta_end": 0.0195}]
    betas += [SD1, COSINE, TRAINED, {**SD1, "rescale_betas_zero_snr": True}]
    return [(config, {"solver": solver}) for config in betas for solver in ("ddim", "euler")]
