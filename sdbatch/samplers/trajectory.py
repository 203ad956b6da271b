"""One way from noise to latents: the numbers of every network call, for one step count."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from sdbatch.samplers.prediction import Array, Level
from sdbatch.samplers.schedule import UnsupportedSchedule

Draw = Callable[[], Array]
"""Standard normal noise of the latents' shape, the next in each image's own stream."""
Step = Callable[[Array, Array, int], Array]
"""(network's output, latents, number of the network call) -> the next latents."""


@dataclass(frozen=True)
class Trajectory:
    """What the network is told at each call, and how noisy the latents are there.

    `timesteps` has one number per network call; `levels` has one more, the weights of (sample,
    noise) in the latents before each call and at the end. The levels have signal² + noise² = 1, or
    signal = 1 if the solver lets the variance grow (Euler, Heun). One step of `steps` takes
    `calls_per_step` calls, but for the warm-up of PLMS and PNDM.
    """

    steps: int
    timesteps: tuple[float, ...]
    levels: tuple[Level, ...]
    initial_scale: float = 1.0
    calls_per_step: int = 1
    variance_grows: bool = False

    def initial(self, noise: Array) -> Array:
        """Latents to start from: standard normal `noise` at the scale of the first call."""
        return noise * self.initial_scale

    def model_input(self, x: Array, call: int) -> Array:
        """Latents as the network wants them, of variance about 1."""
        return x / math.hypot(*self.levels[call]) if self.variance_grows else x

    def first_call(self, strength: float) -> int:
        """Number of the call at which image-to-image starts.

        `strength` (0 to 1) is the share of the steps to take. Reference: diffusers
        `pipeline_stable_diffusion_img2img.py`, `get_timesteps`.

        Raises:
            UnsupportedSchedule: no step would be left, or `strength` is not in 0 to 1.
        """
        if not 0 <= strength <= 1:
            raise UnsupportedSchedule(f"strength={strength}: expected 0 to 1")
        taken = int(self.steps * strength)
        if taken == 0:
            raise UnsupportedSchedule(
                f"strength={strength}: with steps={self.steps} no step would be left; "
                f"expected at least {1 / self.steps:.3g}"
            )
        return (self.steps - taken) * self.calls_per_step

    def noised(self, sample: Array, noise: Array, call: int) -> Array:
        """`sample` as noisy as latents before network call `call`; clean after the last one."""
        if call == len(self.timesteps):
            return sample
        signal, weight = self.levels[call]
        return signal * sample + weight * noise


@dataclass(frozen=True)
class Walk:
    """One run along a trajectory: where it starts and where its noise comes from."""

    trajectory: Trajectory
    first_call: int
    draw: Draw
