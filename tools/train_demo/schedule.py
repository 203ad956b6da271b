"""Training by the clock: how much of the time is spent, and the learning rate that follows."""

from __future__ import annotations

import math
import time

import torch


class TimeBudget:
    """A span of wall time that starts when the object is made."""

    def __init__(self, minutes: float) -> None:
        self._seconds = minutes * 60
        self._start = time.monotonic()

    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._start

    def spent(self) -> float:
        """The share of the budget that is used up; above 1 it is time to stop."""
        return self.elapsed() / self._seconds


def set_learning_rate(
    optimizer: torch.optim.Optimizer, peak: float, warm: float, spent: float, floor: float
) -> None:
    """Warm up linearly (`warm` counts to 1), then fall by half a cosine as time is `spent`.

    `floor` is the share of the peak that is left at the end. The cosine follows the clock and
    not the step count, so that a slower machine also finishes its decay.
    """
    rate = peak * min(1.0, warm) * (0.5 * (1 + math.cos(math.pi * spent)) + floor)
    for group in optimizer.param_groups:
        group["lr"] = rate
