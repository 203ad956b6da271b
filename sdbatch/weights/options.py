"""What a user may say about a checkpoint that its files do not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class SourceOptions:
    """Everything has a default; an option that contradicts the files is refused or said aloud.

    Attributes:
        family: sd1, sd2 or sdxl, to check what the keys say.
        prediction: what the UNet predicts, epsilon, v_prediction or sample.
        ema: take the running averages of the UNet's weights, where a file has both.
        variant: of a folder's weights, e.g. fp16.
        vae: a file or folder whose autoencoder is used instead.
        base: a diffusers folder that gives what a single file lacks: configs, tokenizer, networks.
    """

    family: str | None = None
    prediction: str | None = None
    ema: bool = False
    variant: str | None = None
    vae: Path | None = None
    base: Path | None = None
