"""Noise schedules apart from solvers; both pure functions of arrays (NumPy or Paddle alike)."""

from sdbatch.samplers.schedule import NoiseSchedule
from sdbatch.samplers.solvers import SOLVERS, Denoise, Draw, Solver

__all__ = ["SOLVERS", "Denoise", "Draw", "NoiseSchedule", "Solver"]
