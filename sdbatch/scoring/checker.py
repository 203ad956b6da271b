"""Whether pictures should be shown, by Stable Diffusion's safety checker.

Reference: diffusers `pipelines/stable_diffusion/safety_checker.py`. What its concepts are is not
said; Rando et al. 2022, arXiv 2210.04610, found them to be sexual.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sdbatch.scoring.files import JudgeFiles
from sdbatch.scoring.preparation import Preparation
from sdbatch.scoring.reading import BATCH, directions, read_pictures
from sdbatch.scoring.towers import SafetyTowers, load_towers

_CARE = np.float32(0.01)
"""How much nearer to its threshold every concept is once a special one was found."""


@dataclass(frozen=True)
class Verdict:
    """What the checker thinks of one picture.

    Attributes:
        flagged: whether any concept was found.
        score: the largest of the concepts' scores, rounded to three digits; found is above 0.
        concepts: numbers of those that were found.
    """

    flagged: bool
    score: float
    concepts: tuple[int, ...]


@dataclass(frozen=True)
class Checker:
    """A judge of what should be shown. Any thread may call it, several at once too.

    Attributes:
        name: of the judge's folder.
        preparation: of pictures.
        towers: the network.
        concepts: its directions and thresholds, see `SafetyTowers.concepts`.
        batch: how many pictures are read at once.
    """

    name: str
    preparation: Preparation
    towers: SafetyTowers
    concepts: Mapping[str, np.ndarray]
    batch: int = BATCH

    def check(self, pixels: Sequence[np.ndarray]) -> list[Verdict]:
        """Judge each picture by itself.

        Args:
            pixels: uint8 [height, width, 3] each, of any sizes.

        Raises:
            ValueError: something is no picture.
        """
        return [_verdict(scores) for scores in self.scores(pixels)]

    def scores(self, pixels: Sequence[np.ndarray]) -> np.ndarray:
        """float32 [n, concepts]: how far each is above its threshold, in steps of 0.001."""
        if not len(pixels):
            return np.zeros((0, len(self.concepts["concept_embeds"])), np.float32)
        features = read_pictures(self.towers, self.preparation, pixels, self.batch)
        special = _above(features, self.concepts, "special_care_embeds")
        above = _above(features, self.concepts, "concept_embeds")
        care = np.array([_care(row) for row in special], np.float32)
        return np.round(above + care[:, None], 3)


def load_checker(files: JudgeFiles, *, batch: int = BATCH) -> Checker:
    """Build the network on the current device and fill it, strictly; see `load_scorer`.

    Raises:
        UserError: a weight is missing, unexpected or of a wrong shape.
        ValueError: the files are of another kind of judge.
    """
    if files.kind != "safety":
        raise ValueError(f"kind {files.kind!r} is no safety checker")
    towers = load_towers(files)
    return Checker(files.name, files.preparation, towers, towers.concepts(), batch)


def _above(features: np.ndarray, concepts: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """Cosines less their thresholds, in float32 as the reference under NumPy 2."""
    cosines = directions(features) @ directions(concepts[name]).T
    return cosines - concepts[f"{name}_weights"]


def _care(special: np.ndarray) -> np.float32:
    """What is added for every concept: special ones count in order, each with what came before."""
    care = np.float32(0)
    for above in special:
        if np.round(above + care, 3) > 0:
            care = _CARE
    return care


def _verdict(scores: np.ndarray) -> Verdict:
    found = tuple(np.flatnonzero(scores > 0).tolist())
    return Verdict(bool(found), round(float(scores.max()), 3), found)
