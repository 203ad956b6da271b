"""The code that decides what a recorded program does, as a digest."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

import paddlenlp

from sdbatch import models

_TRACING = Path(__file__).parent / "tracing.py"


@lru_cache(maxsize=1)
def source_digest() -> str:
    """SHA-256 over the layers' source and PaddleNLP's version: other code, other programs."""
    digest = hashlib.sha256(paddlenlp.__version__.encode())
    for path in [*sorted(Path(models.__file__).parent.glob("*.py")), _TRACING]:
        digest.update(path.read_bytes())
    return digest.hexdigest()
