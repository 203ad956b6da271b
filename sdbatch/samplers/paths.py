"""Trajectories of the three families of solvers: which timesteps and levels make `steps` steps.

Reference: `set_timesteps` of each class in diffusers `schedulers/`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from sdbatch.samplers.schedule import NoiseSchedule, UnsupportedSchedule
from sdbatch.samplers.settings import Settings
from sdbatch.samplers.sigmas import sgm_uniform, spread, timesteps_of
from sdbatch.samplers.spacing import check_visited, visit, visit_between, visit_distilled
from sdbatch.samplers.trajectory import Trajectory


def timestep_path(schedule: NoiseSchedule, settings: Settings, steps: int) -> Trajectory:
    """DDPM and DDIM: one call at each visited training timestep."""
    visited = _visited(schedule, settings, steps)
    return _at_timesteps(schedule, visited, steps)


def distilled_path(schedule: NoiseSchedule, settings: Settings, steps: int) -> Trajectory:
    """LCM and TCD: one call at each chosen timestep of the distillation."""
    train_steps, original = schedule.train_steps, settings["original_inference_steps"]
    return _at_timesteps(schedule, visit_distilled(steps, train_steps, original), steps)


def pndm_path(schedule: NoiseSchedule, settings: Settings, steps: int) -> Trajectory:
    """PLMS visits the second timestep twice; PNDM's warm-up visits some four times.

    Raises:
        UnsupportedSchedule: too few steps for the warm-up.
    """
    visited = _visited(schedule, settings, steps)
    if settings["skip_prk_steps"]:
        return _at_timesteps(schedule, [*visited[:2], *visited[1:]], steps)
    if steps < 4:
        raise UnsupportedSchedule(
            f"steps={steps}: expected at least 4, which pndm's warm-up takes; or choose plms"
        )
    half = schedule.train_steps // steps // 2
    warm_up = []
    for start, end in itertools.pairwise(visited[:4]):
        warm_up += [start, end + half, end + half, end]
    return _at_timesteps(schedule, [*warm_up, *visited[3:]], steps)


def euler_path(schedule: NoiseSchedule, settings: Settings, steps: int) -> Trajectory:
    """Euler, ancestral or not: latents are sample + sigma * noise, timesteps may be fractional."""
    timesteps, sigmas = _euler_sigmas(schedule, settings, steps)
    return _growing(settings, timesteps, sigmas, steps)


def heun_path(schedule: NoiseSchedule, settings: Settings, steps: int) -> Trajectory:
    """Heun: as Euler, with two calls a step, at both its ends; the last step has one."""
    timesteps, sigmas = _euler_sigmas(schedule, settings, steps)
    twice = [sigma for sigma in sigmas[1:-1] for _ in range(2)]
    return _growing(
        settings, np.repeat(timesteps, 2)[1:], [sigmas[0], *twice, sigmas[-1]], steps, 2
    )


def dpm_path(schedule: NoiseSchedule, settings: Settings, steps: int) -> Trajectory:
    """DPM-Solver++: latents of variance 1, whole timesteps that stop short of the clean end."""
    timesteps, sigmas = _dpm_sigmas(schedule, settings, steps)
    to_zero = settings["final_sigmas_type"] == "zero"
    return _steady(timesteps, [*sigmas, 0.0 if to_zero else schedule.sigmas()[0]], steps)


def unipc_path(schedule: NoiseSchedule, settings: Settings, steps: int) -> Trajectory:
    """UniPC: as DPM-Solver++, but sigma_min is the schedule's own lowest level."""
    timesteps, sigmas = _dpm_sigmas(schedule, settings, steps)
    lowest = schedule.sigmas()[0] if settings["sigmas"] == "model" else sigmas[-1]
    to_zero = settings["final_sigmas_type"] == "zero"
    return _steady(timesteps, [*sigmas, 0.0 if to_zero else lowest], steps)


def _visited(
    schedule: NoiseSchedule, settings: Settings, steps: int, whole: bool = True
) -> np.ndarray:
    spacing, offset = settings["timestep_spacing"], settings["steps_offset"]
    visited = visit(spacing, steps, schedule.train_steps, offset, whole)
    check_visited(visited, steps, schedule.train_steps, offset)
    return visited


def _at_timesteps(schedule: NoiseSchedule, timesteps: Sequence[float], steps: int) -> Trajectory:
    alphas = [schedule.alpha(int(timestep)) for timestep in timesteps]
    if min(alphas) == 0 and schedule.prediction_type == "epsilon":
        raise UnsupportedSchedule(
            f"steps={steps}: timestep {int(timesteps[0])} holds no signal "
            "(rescale_betas_zero_snr), which prediction_type=epsilon cannot start from; "
            "expected v_prediction"
        )
    levels = [(alpha**0.5, (1 - alpha) ** 0.5) for alpha in alphas]
    return Trajectory(steps, tuple(map(float, timesteps)), (*levels, (1.0, 0.0)))


def _euler_sigmas(
    schedule: NoiseSchedule, settings: Settings, steps: int
) -> tuple[np.ndarray, list[float]]:
    """Timesteps [steps] and sigmas, of which there is one more."""
    table = schedule.sigmas()
    log_table = np.log(table)
    final = float(table[0]) if settings.get("final_sigmas_type") == "sigma_min" else 0.0
    if settings["sigmas"] == "sgm_uniform":
        timesteps, sigmas = sgm_uniform(log_table, steps)
        return timesteps, [*sigmas, final]
    timesteps = _visited(schedule, settings, steps, whole=False)
    sigmas = np.interp(timesteps, np.arange(len(table)), table)
    if settings.get("interpolation_type") == "log_linear":
        sigmas = np.exp(np.linspace(log_table[-1], log_table[0], steps + 1))
    if settings["sigmas"] != "model":
        sigmas = spread(settings["sigmas"], *_ends(settings, sigmas), steps)
        timesteps = timesteps_of(sigmas, log_table)
    # Log-linear interpolation has one level too many in the reference: its last step ends there.
    return timesteps, [*sigmas, final][: steps + 1]


def _dpm_sigmas(
    schedule: NoiseSchedule, settings: Settings, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Timesteps and sigmas, both [steps]."""
    table, kind = schedule.sigmas(), settings["sigmas"]
    if kind == "sgm_uniform":
        return sgm_uniform(np.log(table), steps)
    if kind != "model":
        sigmas = spread(kind, *_ends(settings, table[::-1]), steps)
        return _whole_timesteps(schedule, settings, steps), sigmas
    spacing, offset = settings.get("timestep_spacing", "linspace"), settings.get("steps_offset", 0)
    too_noisy = int((-np.log(table) < settings.get("lambda_min_clipped", -np.inf)).sum())
    last = schedule.train_steps - too_noisy
    visited = visit_between(spacing, steps, schedule.train_steps, offset, last)
    check_visited(visited, steps, schedule.train_steps, offset)
    return visited, np.interp(visited, np.arange(len(table)), table)


def _whole_timesteps(schedule: NoiseSchedule, settings: Settings, steps: int) -> np.ndarray:
    """Timesteps of a sigma schedule, rounded or cut as the reference does.

    From float32 levels, as there: the last bit decides between 999 and 998.
    """
    table = schedule.sigmas(np.float32)
    log_table = np.log(table.astype(np.float64)).astype(np.float32)
    sigmas = spread(settings["sigmas"], *_ends(settings, table[::-1]), steps)
    timesteps = timesteps_of(sigmas, log_table)
    cosine = settings["beta_schedule"] == "squaredcos_cap_v2"
    # Of the three classes, only the multistep one makes an exception of cosine betas.
    cuts_cosine = cosine and "euler_at_final" in settings
    if settings["sigmas"] in ("karras", "lu") and not cuts_cosine:
        timesteps = timesteps.round()
    return np.trunc(timesteps)


def _ends(settings: Settings, falling: np.ndarray) -> tuple[float, float]:
    """Highest and lowest sigma: the config's, else those of `falling`."""
    highest, lowest = settings["sigma_max"], settings["sigma_min"]
    return (
        float(falling[0]) if highest is None else highest,
        float(falling[-1]) if lowest is None else lowest,
    )


def _growing(
    settings: Settings,
    timesteps: np.ndarray,
    sigmas: Sequence[float],
    steps: int,
    calls_per_step: int = 1,
) -> Trajectory:
    highest = float(max(sigmas))
    at_once = settings["timestep_spacing"] in ("linspace", "trailing")
    return Trajectory(
        steps=steps,
        timesteps=tuple(map(float, timesteps)),
        levels=tuple((1.0, float(sigma)) for sigma in sigmas),
        initial_scale=highest if at_once else (highest**2 + 1) ** 0.5,
        calls_per_step=calls_per_step,
        variance_grows=True,
    )


def _steady(timesteps: np.ndarray, sigmas: Sequence[float], steps: int) -> Trajectory:
    signals = [float((sigma**2 + 1) ** -0.5) for sigma in sigmas]
    levels = [
        (signal, float(sigma) * signal) for signal, sigma in zip(signals, sigmas, strict=True)
    ]
    return Trajectory(steps, tuple(map(float, timesteps)), tuple(levels))
