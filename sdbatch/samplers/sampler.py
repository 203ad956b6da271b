"""A solver with its schedule, resolved from a checkpoint's config and the user's options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sdbatch.samplers import consistency, ddim, dpmpp, euler, paths, pndm, unipc
from sdbatch.samplers.classes import solver_name
from sdbatch.samplers.prediction import Array
from sdbatch.samplers.schedule import NoiseSchedule, UnsupportedSchedule
from sdbatch.samplers.settings import SamplerOptions, Settings, canonical, resolve
from sdbatch.samplers.trajectory import Draw, Step, Trajectory, Walk

Denoise = Callable[[Array, float], Array]
"""(model input, timestep) -> the network's output, of the same shape."""
Between = Callable[[Array, int], Array]
"""(latents after a network call's update, number of that call) -> latents to go on with."""
Solver = Callable[[Walk, NoiseSchedule, Settings], Step]
Path = Callable[[NoiseSchedule, Settings, int], Trajectory]

_PARTS: Mapping[str, tuple[Solver, Path]] = {
    "DDPMScheduler": (ddim.ddpm, paths.timestep_path),
    "DDIMScheduler": (ddim.ddim, paths.timestep_path),
    "PNDMScheduler": (pndm.pndm, paths.pndm_path),
    "EulerDiscreteScheduler": (euler.euler, paths.euler_path),
    "EulerAncestralDiscreteScheduler": (euler.euler_ancestral, paths.euler_path),
    "HeunDiscreteScheduler": (euler.heun, paths.heun_path),
    "DPMSolverMultistepScheduler": (dpmpp.multistep, paths.dpm_path),
    "DPMSolverSinglestepScheduler": (dpmpp.singlestep, paths.dpm_path),
    "UniPCMultistepScheduler": (unipc.unipc, paths.unipc_path),
    "LCMScheduler": (consistency.lcm, paths.distilled_path),
    "TCDScheduler": (consistency.tcd, paths.distilled_path),
}

_KEEP_SIGNAL = (paths.euler_path, paths.dpm_path, paths.unipc_path)
_AS_THE_CHECKPOINT = SamplerOptions()


@dataclass(frozen=True, eq=False)
class Sampler:
    """How latents are sampled: `Sampler.from_config(json, options).run(...)`.

    `name` is for metadata and file names; `resolved` is what the reference's class would be told.
    """

    name: str
    resolved: Settings
    schedule: NoiseSchedule
    solver: Solver
    path: Path

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], options: SamplerOptions = _AS_THE_CHECKPOINT
    ) -> Sampler:
        """From a diffusers `scheduler_config.json` and what the user sets beside it.

        Raises:
            UnsupportedSchedule: naming the key or option, its value and what is supported.
        """
        class_name, settings = resolve(config, options)
        solver, path = _PARTS[class_name]
        name = solver_name(class_name, settings)
        sigmas = settings.get("sigmas", "model")
        return cls(
            name=name if sigmas == "model" else f"{name}_{sigmas}",
            resolved=settings,
            schedule=NoiseSchedule.from_settings(settings, path in _KEEP_SIGNAL),
            solver=solver,
            path=path,
        )

    @property
    def settings(self) -> Settings:
        """All that can change the latents, JSON-able: for a dataset's fingerprint."""
        return {"solver": self.name, **canonical(self.resolved)}

    def trajectory(self, steps: int) -> Trajectory:
        """Timesteps and noise levels for this number of steps.

        Raises:
            UnsupportedSchedule: a number of steps that the schedule cannot give.
        """
        most = self.schedule.train_steps
        if not 1 <= steps <= most:
            raise UnsupportedSchedule(f"steps={steps}: expected 1 to {most}")
        return self.path(self.schedule, self.resolved, steps)

    def run(
        self,
        denoise: Denoise,
        x: Array,
        steps: int,
        draw: Draw,
        *,
        first_call: int = 0,
        between: Between | None = None,
    ) -> Array:
        """Follow the trajectory from network call `first_call` to clean latents.

        Args:
            denoise: the network, given the scaled latents and one of the trajectory's timesteps.
            x: latents at the noise level of `first_call` (`Trajectory.initial` or `.noised`).
            steps: number of steps of the whole trajectory.
            draw: noise for random solvers, in the order that the reference's `step` draws it.
            first_call: where image-to-image starts (`Trajectory.first_call`).
            between: what to do with the latents after each call's update, e.g. blend a mask.
        """
        trajectory = self.trajectory(steps)
        step = self.solver(Walk(trajectory, first_call, draw), self.schedule, self.resolved)
        for call in range(first_call, len(trajectory.timesteps)):
            output = denoise(trajectory.model_input(x, call), trajectory.timesteps[call])
            x = step(output, x, call)
            if between is not None:
                x = between(x, call)
        return x
