"""The plan of a run as text, for `engine.explain=true`: each choice, its reason, the memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sdbatch.engine.cards import Hardware, Line
from sdbatch.engine.choice import Choice
from sdbatch.engine.choices import Asked, Choices, choose
from sdbatch.engine.estimate import ModelShape
from sdbatch.models.kernels import AttentionKernels

UNMEASURED = "unmeasured: no GPU was at hand; benchmarks/gpu.sh measures"

# Titles, in the order of printing, and the fields of `Choices`.
_TITLES = {
    "engine": "engine",
    "precision": "precision",
    "VAE precision": "vae_precision",
    "attention": "attention",
    "channels last": "channels_last",
    "CINN": "cinn",
    "TensorRT": "tensorrt",
    "CUDA graphs": "cuda_graphs",
    "deleted passes": "deleted_passes",
    "optimization level": "optimization_level",
    "VAE pictures at once": "vae_slices",
    "VAE tile": "vae_tile",
    "batch size": "batch_size",
    "environment": "environment",
}


def explain(hardware: Hardware, line: Line, model: ModelShape, asked: Asked) -> str:
    """What a worker on this device would run by, and what memory it would take.

    Args:
        hardware: a card at hand or not, or a worker's share of the CPU.
        line: of Paddle.
        model: of the checkpoint.
        asked: by the config.

    Raises:
        UserError: a choice that was asked for and cannot be had there.
    """
    return "\n".join(_lines(hardware, line, choose(hardware, line, model, asked)))


def _lines(hardware: Hardware, line: Line, choices: Choices) -> Iterator[str]:
    yield f"plan for {_device(hardware)}, Paddle {line[0]}.{line[1]}"
    for title, field in _TITLES.items():
        choice: Choice[Any] = getattr(choices, field)
        yield f"  {title:<21} {_shown(choice.value)}: {choice.reason}"
    work = choices.work
    yield f"memory, estimated: batch {work.batch}, {work.width}x{work.height}"
    for title, size in memory_table(choices).items():
        yield f"  {title:<21} {gigabytes(size):>6} GB"
    yield f"  {'free':<21} {gigabytes(hardware.usable_bytes):>6} GB"
    if hardware.is_gpu:
        yield UNMEASURED


def memory_table(choices: Choices) -> Mapping[str, int]:
    """Bytes by part; denoising and decoding are never at work together."""
    memory = choices.memory
    return {
        "UNet weights": memory.unet_weights,
        "VAE weights": memory.vae_weights,
        "text weights": memory.text_weights,
        "denoising": memory.denoising,
        "decoding": memory.decoding,
        "allocated": memory.allocated,
        "CUDA context" if choices.work.on_gpu else "process": memory.process,
        "peak": memory.total,
    }


def gigabytes(size: int) -> str:
    """Bytes as GB (10^9), two digits after the point."""
    return f"{size / 1e9:.2f}"


def _device(hardware: Hardware) -> str:
    if hardware.capability is None:
        cores = f", {hardware.cores} cores" if hardware.cores else ""
        return f"{hardware.name}{cores}"
    major, minor = hardware.capability
    return f"{hardware.name} (compute capability {major}.{minor})"


def _shown(value: Any) -> str:
    if isinstance(value, AttentionKernels):
        limits = {"flash": value.flash, "memory-efficient": value.memory_efficient}
        used = [f"{name} up to {size}" for name, size in limits.items() if size]
        return ", ".join(used) or "products"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return " ".join(f"{name}={setting}" for name, setting in value.items()) or "none"
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    return "none" if value is None else str(value)
