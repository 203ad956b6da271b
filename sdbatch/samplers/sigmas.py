"""Sigma schedules: how the noise falls from the highest to the lowest level.

Sigma is noise over signal (k-diffusion's units: x = sample + sigma * noise). Each function gives
`steps` falling levels, float64 [steps]; the final level is added by the caller. Sources: Karras et
al. 2022, arXiv 2206.00364 (karras, equation 5); Lee et al. 2024, arXiv 2407.12173 (beta); Lu et al.
2022, arXiv 2211.01095 (lu); k-diffusion (exponential). Reference: diffusers
`scheduling_euler_discrete.py` and `scheduling_dpmsolver_multistep.py`.
"""

from __future__ import annotations

import math

import numpy as np

SIGMA_NAMES = ("model", "karras", "exponential", "beta", "sgm_uniform", "lu")
"""`model`: the levels of training at evenly spaced timesteps."""


def spread(name: str, highest: float, lowest: float, steps: int) -> np.ndarray:
    """Levels of the schedule `name` (karras, exponential, beta or lu) between two ends."""
    ramp = np.linspace(0, 1, steps)
    if name == "karras":
        rho = 7.0
        top, bottom = highest ** (1 / rho), lowest ** (1 / rho)
        return (top + ramp * (bottom - top)) ** rho
    if name == "beta":
        from scipy.special import betaincinv  # slow to import, and rarely needed

        return lowest + betaincinv(0.6, 0.6, 1 - ramp) * (highest - lowest)
    top, bottom = math.log(highest), math.log(lowest)
    if name == "lu":
        return np.exp(top + ramp * (bottom - top))
    return np.exp(np.linspace(top, bottom, steps))


def sgm_uniform(log_table: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Timesteps (fractional) and levels as the web UIs' "SGM Uniform" has them.

    Evenly spaced timesteps without the last, sigma by log-linear interpolation. Source: Stability
    AI's generative-models, `sgm/modules/diffusionmodules/discretizer.py`, as k-diffusion front ends
    adapt it.
    """
    timesteps = np.linspace(len(log_table) - 1, 0, steps + 1)[:-1]
    return timesteps, np.exp(np.interp(timesteps, np.arange(len(log_table)), log_table))


def timesteps_of(sigmas: np.ndarray, log_table: np.ndarray) -> np.ndarray:
    """Fractional timesteps at which training had these levels, float64 [len(sigmas)].

    `log_table` is log sigma at every training timestep, rising. Written out as the reference does,
    not as `np.interp`, because callers cut the result to integers: a last bit can matter.
    """
    log_sigmas = np.log(sigmas)
    low = np.searchsorted(log_table, log_sigmas, side="right") - 1
    low = low.clip(0, len(log_table) - 2)
    below, above = log_table[low], log_table[low + 1]
    weight = ((below - log_sigmas) / (below - above)).clip(0, 1)
    return (1 - weight) * low + weight * (low + 1)
