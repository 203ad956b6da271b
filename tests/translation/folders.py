"""The tiny Marian models that transformers has run (tools/golden_translation.py)."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np

from sdbatch.translation.files import open_translator
from sdbatch.translation.translator import Translator, load_translator
from tests.conftest import GOLDEN

TRANSLATION = GOLDEN.parent / "translation"
NAMES = ("stored", "computed")


@lru_cache
def record() -> dict:
    """Texts, their ids, and the translations' ids by search."""
    content = gzip.decompress((TRANSLATION / "translations.json.gz").read_bytes())
    return json.loads(content)


@lru_cache
def states() -> dict[str, np.ndarray]:
    """States of the encoder and first logits by folder and text."""
    with np.load(TRANSLATION / "states.npz") as file:
        return dict(file)


@lru_cache
def translator(name: str) -> Translator:
    """One of the recorded models."""
    return load_translator(open_translator(TRANSLATION / name))


def changed(name: str, folder: Path, **files: Mapping | bytes | None) -> Path:
    """A copy of a recorded folder; JSON files get these keys, other files this content.

    A file's suffix follows two underscores: `config__json`. None: it is removed.
    """
    copy = folder / name
    shutil.copytree(TRANSLATION / name, copy, dirs_exist_ok=True)
    for written, change in files.items():
        path = copy / written.replace("__", ".")
        if change is None:
            path.unlink()
        elif isinstance(change, bytes):
            path.write_bytes(change)
        else:
            raw = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
            path.write_text(json.dumps({**raw, **change}), encoding="utf-8")
    return copy
