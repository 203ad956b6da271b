"""How networks shall be executed, as settled before any process imports Paddle."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from sdbatch.models.kernels import BY_PRODUCTS, AttentionKernels


@dataclass(frozen=True)
class PredictorOptions:
    """How Paddle Inference is set up.

    Attributes:
        device: `cpu` or `gpu:N`.
        threads: of the CPU.
        bf16: compute in bfloat16 what oneDNN can (CPU only; the program is in float32).
        deleted_passes: of Paddle's program transformations, besides those that are known to fail.
        optimization_level: Paddle 3's, 0 to 3; None leaves its default.
        tensorrt: let TensorRT compile what it can (GPU only).
    """

    device: str = "cpu"
    threads: int = 1
    bf16: bool = False
    deleted_passes: tuple[str, ...] = ()
    optimization_level: int | None = None
    tensorrt: bool = False


@dataclass(frozen=True)
class EngineOptions:
    """What a worker's networks are run by.

    Attributes:
        name: dygraph, static, inference, or random for a rehearsal.
        cache: the folder of compiled programs.
        cache_bytes: what it may hold.
        kernels: for attention.
        cinn: whether `static` compiles with CINN.
        tensorrt: whether `inference` uses TensorRT.
        vae_precision: the VAE's, where it is not the device's.
        vae_tile: pixels of the largest side that the VAE decodes whole; None: any.
        deleted_passes, optimization_level: of `PredictorOptions`.
    """

    name: str
    cache: Path
    cache_bytes: int
    kernels: AttentionKernels = BY_PRODUCTS
    cinn: bool = False
    tensorrt: bool = False
    vae_precision: str | None = None
    vae_tile: int | None = None
    deleted_passes: tuple[str, ...] = ()
    optimization_level: int | None = None


def default_cache() -> Path:
    """`$XDG_CACHE_HOME/sdbatch`, by default `~/.cache/sdbatch`; where neither can be written, as in
    many containers, a new temporary folder, which serves this run alone."""
    # Not Path.expanduser, which raises for a user without a home.
    given = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111
    folder = Path(given).absolute() / "sdbatch"
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if existing.is_dir() and os.access(existing, os.W_OK):
        return folder
    return Path(tempfile.mkdtemp(prefix="sdbatch-"))
