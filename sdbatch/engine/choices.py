"""All choices of a run, as a pure function of a device's description. Imports no Paddle.

How networks are computed is chosen in `compute_choices`, what fits into memory in
`memory_choices`; here they are put together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from sdbatch.engine import compute_choices as compute
from sdbatch.engine import memory_choices as memory
from sdbatch.engine.cards import Hardware, Line, refuse_misfit
from sdbatch.engine.choice import Choice
from sdbatch.engine.estimate import Estimate, ModelShape, Work, estimate
from sdbatch.engine.options import EngineOptions
from sdbatch.models.kernels import AttentionKernels

BYTES = {"fp16": 2, "bf16": 2, "fp32": 4}
"""Of a number, by precision."""


@dataclass(frozen=True)
class Asked:
    """What the config asks for: `auto`, or a choice that is kept to.

    Attributes:
        engine: auto, dygraph, static or inference.
        precision: auto, fp16, bf16 or fp32.
        batch_size: auto, or how many pictures.
        width, height: of the largest pictures, in pixels.
        guided: whether both halves of guidance are computed.
        cinn, tensorrt: whether these compilers are asked for.
    """

    width: int
    height: int
    engine: str = "auto"
    precision: str = "auto"
    batch_size: str | int = "auto"
    guided: bool = True
    cinn: bool = False
    tensorrt: bool = False


@dataclass(frozen=True)
class Choices:
    """All that a worker is run by. `work` is its largest micro-batch, `memory` what that takes."""

    engine: Choice[str]
    precision: Choice[str]
    vae_precision: Choice[str]
    attention: Choice[AttentionKernels]
    channels_last: Choice[bool]
    deleted_passes: Choice[tuple[str, ...]]
    optimization_level: Choice[int | None]
    cinn: Choice[bool]
    tensorrt: Choice[bool]
    cuda_graphs: Choice[bool]
    vae_slices: Choice[int]
    vae_tile: Choice[int | None]
    batch_size: Choice[int]
    environment: Choice[Mapping[str, str]]
    work: Work
    memory: Estimate

    def options(self, cache: Path, cache_bytes: int) -> EngineOptions:
        """What a worker's engine is made with.

        Args:
            cache: the folder of compiled programs.
            cache_bytes: what it may hold.
        """
        return EngineOptions(
            name=self.engine.value,
            cache=cache,
            cache_bytes=cache_bytes,
            kernels=self.attention.value,
            cinn=self.cinn.value,
            tensorrt=self.tensorrt.value,
            vae_precision=self.vae_precision.value,
            vae_tile=self.vae_tile.value,
            deleted_passes=self.deleted_passes.value,
            optimization_level=self.optimization_level.value,
        )


def choose(hardware: Hardware, line: Line, model: ModelShape, asked: Asked) -> Choices:
    """Everything at once.

    Args:
        hardware: the card, or a worker's share of the CPU.
        line: of Paddle.
        model: whose configs decide head sizes and memory.
        asked: by the config.

    Raises:
        UserError: a choice that was asked for and cannot be had here.
    """
    refuse_misfit(hardware, line)
    engine = compute.choose_engine(hardware, asked.engine)
    precision = compute.choose_precision(hardware, line, engine.value, asked.precision)
    vae_precision = compute.choose_vae_precision(hardware, precision.value, model.vae.force_upcast)
    heads = compute.head_sizes(model.unet, model.vae, precision.value, vae_precision.value)
    attention = compute.choose_attention(hardware, line, heads)
    channels_last = compute.choose_channels_last(hardware, engine.value, precision.value)
    work = Work(
        width=asked.width,
        height=asked.height,
        batch=1,
        guided=asked.guided,
        # On a CPU bf16 programs read float32 weights.
        number_bytes=BYTES[precision.value] if hardware.is_gpu else 4,
        vae_number_bytes=BYTES[vae_precision.value] if hardware.is_gpu else 4,
        kernels=attention.value,
        on_gpu=hardware.is_gpu,
        columns=not hardware.is_gpu and engine.value != "inference",
        # oneDNN keeps weights in an order of its own; on Paddle 3 the layers' are then let go.
        weight_copies=2 if _keeps_both(hardware, line, engine.value) else 1,
    )
    tile = memory.choose_vae_tile(hardware, model, work)
    work = replace(work, tile=tile.value)
    batch = memory.choose_batch_size(hardware.usable_bytes, model, work, asked.batch_size)
    work = replace(work, batch=batch.value)
    return Choices(
        engine=engine,
        precision=precision,
        vae_precision=vae_precision,
        attention=attention,
        channels_last=channels_last,
        deleted_passes=compute.choose_deleted_passes(hardware, engine.value, channels_last.value),
        optimization_level=compute.choose_optimization_level(engine.value),
        cinn=compute.choose_cinn(hardware, line, engine.value, asked.cinn),
        tensorrt=compute.choose_tensorrt(hardware, engine.value, asked.tensorrt),
        cuda_graphs=compute.choose_cuda_graphs(),
        vae_slices=Choice(1, "decoding takes the same memory at any batch"),
        vae_tile=tile,
        batch_size=batch,
        environment=compute.choose_environment(hardware),
        work=work,
        memory=estimate(model, work),
    )


def _keeps_both(hardware: Hardware, line: Line, engine: str) -> bool:
    return not hardware.is_gpu and engine == "inference" and line < (3, 0)
