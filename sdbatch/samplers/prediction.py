"""What the network's raw output says about the clean sample and the noise.

Latents are x = signal * sample + noise * epsilon. The two weights are a `Level`: with signal² +
noise² = 1 in DDIM and DPM-Solver, with signal = 1 and noise = sigma in the Euler family. Velocities
(Salimans and Ho 2022, arXiv 2202.00512) are defined at signal² + noise² = 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

Array = Any
"""A NumPy array or Paddle tensor [batch, channels, height, width]."""
Level = tuple[float, float]
"""Weights of (sample, epsilon) in the latents."""


def predicted_sample(output: Array, x: Array, level: Level, prediction_type: str) -> Array:
    """The clean sample that `output` implies for latents `x`."""
    signal, noise = level
    if prediction_type == "epsilon":
        return (x - noise * output) / signal
    if prediction_type == "v_prediction":
        scale = math.hypot(signal, noise)
        return (signal / scale**2) * x - (noise / scale) * output
    return output


def predicted_noise(output: Array, x: Array, level: Level, prediction_type: str) -> Array:
    """The noise that `output` implies for latents `x` at signal² + noise² = 1."""
    signal, noise = level
    if prediction_type == "epsilon":
        return output
    if prediction_type == "v_prediction":
        return signal * output + noise * x
    return (x - signal * output) / noise


def clipped(sample: Array, settings: Mapping[str, Any]) -> Array:
    """The predicted sample within `clip_sample_range`, if the settings say `clip_sample`."""
    bound = settings["clip_sample_range"]
    return sample.clip(-bound, bound) if settings["clip_sample"] else sample
