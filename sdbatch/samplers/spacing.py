"""Which training timesteps to visit, evenly spaced: leading, trailing or linspace.

Names and rounding follow Lin et al. 2023 (arXiv 2305.08891, table 2) as diffusers implements them;
its solvers differ in whether the last timestep is a step of its own (`visit_between`).
"""

from __future__ import annotations

import numpy as np

from sdbatch.samplers.schedule import UnsupportedSchedule

SPACINGS = ("leading", "trailing", "linspace")


def visit(
    spacing: str, steps: int, train_steps: int, offset: int, whole: bool = True
) -> np.ndarray:
    """Descending timesteps that reach the ends of training, float64 [steps].

    For DDPM, DDIM, PNDM and the Euler family. `whole` rounds linspace to integers.
    """
    if spacing == "linspace":
        visited = np.linspace(0, train_steps - 1, steps)[::-1]
        return visited.round() if whole else visited
    if spacing == "leading":
        return np.arange(steps)[::-1] * float(train_steps // steps) + offset
    return _trailing(steps, train_steps, train_steps)


def visit_between(spacing: str, steps: int, train_steps: int, offset: int, last: int) -> np.ndarray:
    """Descending timesteps that stop one stride before the clean end, float64 [steps].

    For DPM-Solver and UniPC. `last` is the number of timesteps that are not too noisy to visit.
    """
    if spacing == "linspace":
        return np.linspace(0, last - 1, steps + 1).round()[:0:-1]
    if spacing == "leading":
        return np.arange(steps, 0, -1) * float(last // (steps + 1)) + offset
    return _trailing(steps, train_steps, last)


def visit_distilled(steps: int, train_steps: int, original_steps: int) -> np.ndarray:
    """An even choice among the timesteps a consistency model was distilled at, float64 [steps].

    For LCM and TCD. Reference: diffusers `scheduling_lcm.py`.

    Raises:
        UnsupportedSchedule: more steps than the distillation had.
    """
    if steps > original_steps:
        raise UnsupportedSchedule(
            f"steps={steps}: expected at most original_inference_steps={original_steps}"
        )
    distilled = np.arange(original_steps, 0, -1) * (train_steps // original_steps) - 1
    chosen = np.floor(np.linspace(0, original_steps, steps, endpoint=False)).astype(int)
    return distilled[chosen].astype(float)


def check_visited(visited: np.ndarray, steps: int, train_steps: int, offset: int) -> None:
    """Refuse timesteps that were not trained or do not fall.

    Raises:
        UnsupportedSchedule: naming the number of steps and what is wrong with it.
    """
    if visited[0] >= train_steps:
        raise UnsupportedSchedule(
            f"steps={steps}: with steps_offset={offset} the first timestep would "
            f"be {int(visited[0])}, but the last one trained is {train_steps - 1}"
        )
    if (np.diff(visited) >= 0).any() or visited[-1] < 0:
        raise UnsupportedSchedule(f"steps={steps}: expected fewer, timesteps would repeat")


def _trailing(steps: int, train_steps: int, last: int) -> np.ndarray:
    # Cut: for some counts (61, 103 ...) rounding makes arange one longer, ending at -1.
    return np.arange(last, 0, -train_steps / steps)[:steps].round() - 1
