"""Tiny judges of random weights that transformers and diffusers ran (tools/golden_scoring.py)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from sdbatch.scoring import JudgeFiles, open_judge
from sdbatch.scoring.checker import Checker, load_checker
from sdbatch.scoring.scorer import Scorer, load_scorer
from tests.conftest import GOLDEN

FOLDER = GOLDEN.parent / "scoring"
SCORERS = {"clip": "clip", "clip_old": "clip", "chinese_clip": "chinese_clip"}
KINDS = {**SCORERS, "safety_checker": "safety"}
TOLERANCE = 1e-5  # what is promised is 1e-4


@cache
def record() -> dict[str, np.ndarray]:
    """Inputs and outputs."""
    with np.load(FOLDER / "record.npz") as file:
        return dict(file)


def pictures() -> list[np.ndarray]:
    """uint8 [height, width, 3]: noise, smooth and nearly flat ones, odd sizes."""
    return [record()[f"picture/{i}"] for i in range(12)]


def texts() -> list[str]:
    """English and Chinese, emoji, longer than can be read."""
    return json.loads(str(record()["texts"]))["prompts"]


def files(name: str) -> JudgeFiles:
    """One of `KINDS`, opened."""
    return open_judge(FOLDER / name, KINDS[name])


@cache
def scorer(name: str) -> Scorer:
    """One of `SCORERS`, ready."""
    return load_scorer(files(name))


@cache
def checker() -> Checker:
    """The safety checker, ready."""
    return load_checker(files("safety_checker"))


def copied(name: str, folder: Path) -> Path:
    """A judge's folder that may be changed, with the safety checker's settings beside it."""
    for part in {name, "feature_extractor"}:
        shutil.copytree(FOLDER / part, folder / part)
    return folder / name


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a JSON file."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
