"""Solvers apart from noise schedules; both pure functions of arrays (NumPy or Paddle alike)."""

from sdbatch.samplers.classes import SOLVER_NAMES
from sdbatch.samplers.sampler import Between, Denoise, Sampler
from sdbatch.samplers.schedule import NoiseSchedule, UnsupportedSchedule
from sdbatch.samplers.settings import SamplerOptions
from sdbatch.samplers.sigmas import SIGMA_NAMES
from sdbatch.samplers.spacing import SPACINGS
from sdbatch.samplers.trajectory import Draw, Trajectory

__all__ = [
    "SIGMA_NAMES",
    "SOLVER_NAMES",
    "SPACINGS",
    "Between",
    "Denoise",
    "Draw",
    "NoiseSchedule",
    "Sampler",
    "SamplerOptions",
    "Trajectory",
    "UnsupportedSchedule",
]
