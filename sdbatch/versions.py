"""What made a dataset, for its record."""

from __future__ import annotations

import platform
from importlib import metadata

from sdbatch import __version__


def versions() -> dict[str, str]:
    """Versions by name: of sdbatch, of Python, and of the packages that numbers depend on."""
    return {
        "sdbatch": __version__,
        "paddle": _version("paddlepaddle-gpu", "paddlepaddle"),
        "paddlenlp": _version("paddlenlp"),
        "numpy": _version("numpy"),
        "python": platform.python_version(),
    }


def _version(*names: str) -> str:
    for name in names:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return "unknown"
