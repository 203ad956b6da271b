"""How networks are computed on a device: engine, precision, kernels, compilers, flags.

Each function makes one choice and says in its docstring why; the `Choice` it returns carries the
short reason that `engine.explain=true` prints. What concerns GPUs rests on Paddle's source and on
published figures: no GPU was at hand to measure (docs/gpu.md). Imports no Paddle.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType

from sdbatch.engine.cards import Hardware, Line
from sdbatch.engine.choice import Choice
from sdbatch.errors import UserError
from sdbatch.models.config import UNetConfig, VAEConfig
from sdbatch.models.kernels import AttentionKernels

GPU_SCORE_BYTES = 64 << 20
"""Where products are used on a GPU: slices large enough to keep it busy."""
GPU_ENVIRONMENT: Mapping[str, str] = MappingProxyType(
    {
        "FLAGS_gpu_allocator_retry_time": "1",
        "FLAGS_cudnn_exhaustive_search": "0",
        "CUDA_MODULE_LOADING": "LAZY",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    }
)
"""See `choose_environment`."""
_NO_PASSES = "only Paddle Inference has passes"


def choose_engine(hardware: Hardware, asked: str) -> Choice[str]:
    """`inference` on a CPU, `static` on a GPU, unless asked for another.

    On a CPU oneDNN is three times as fast as Paddle's own kernels. On a GPU eager Paddle waits for
    the host to launch operation after operation, which a whole program does not. Paddle Inference
    is not chosen there: its layout pass would reorder the weights, which are inputs of our
    programs, at each call, and on Paddle 2.6 results go through the host at each step.
    """
    if asked != "auto":
        return Choice(asked, "asked for")
    if hardware.is_gpu:
        return Choice("static", "one program a network: the host launches no single operations")
    return Choice("inference", "oneDNN: about three times as fast as Paddle's own CPU kernels")


def choose_precision(hardware: Hardware, line: Line, engine: str, asked: str) -> Choice[str]:
    """fp16 on a GPU, fp32 on a CPU, unless asked for another.

    All tensor cores have fp16; bf16 begins with compute capability 8.0 and has three bits less.
    On a CPU Paddle has bf16 in oneDNN's programs alone, and those are right from Paddle 3 on; where
    the CPU lacks the instructions, oneDNN 3.6 fails over a program instead of emulating them.

    Raises:
        UserError: there are no such kernels here.
    """
    if asked == "auto":
        if hardware.is_gpu:
            return Choice("fp16", "half the memory and traffic; every card here computes in it")
        return Choice("fp32", "as PyTorch on a CPU; precision=bf16 is faster where the CPU has it")
    if hardware.is_gpu:
        if asked == "bf16" and not _at_least(hardware, (8, 0)):
            raise UserError(
                f"precision=bf16: {hardware.name} has no bf16 (compute capability 8.0 and later); "
                "expected fp16 or fp32"
            )
    elif asked == "fp16":
        raise UserError("precision=fp16: Paddle has no fp16 on a CPU; expected fp32 or bf16")
    elif asked == "bf16" and not hardware.bf16:
        raise UserError(
            "precision=bf16: this CPU multiplies no bfloat16 (no avx512_bf16 in /proc/cpuinfo); "
            "expected fp32"
        )
    elif asked == "bf16" and line < (3, 0):
        raise UserError("precision=bf16: on a CPU it needs Paddle 3; expected fp32")
    elif asked == "bf16" and engine != "inference":
        raise UserError(f"precision=bf16: on a CPU expected engine=inference, found {engine}")
    return Choice(asked, "asked for")


def choose_vae_precision(hardware: Hardware, precision: str, force_upcast: bool) -> Choice[str]:
    """As the UNet's, but where the checkpoint says that the VAE overflows in fp16.

    SDXL's activations exceed fp16's range. bf16 has float32's, at half the memory, from compute
    capability 8.0 on. On a CPU it is in float32 always: in bfloat16 it is 0.026 off, and decoding
    is a twentieth of the work.
    """
    if not hardware.is_gpu:
        return Choice("fp32", "in bf16 it would be 2.6 % off, for a twentieth of the work")
    if precision != "fp16" or not force_upcast:
        return Choice(precision, "as the UNet")
    if _at_least(hardware, (8, 0)):
        return Choice("bf16", "force_upcast: fp16 overflows, bf16 has the range of fp32")
    return Choice("fp32", "force_upcast: fp16 overflows, and the card has no bf16")


Head = tuple[int, str]
"""Numbers of one attention head, and their precision."""


def head_sizes(
    unet: UNetConfig, vae: VAEConfig, precision: str, vae_precision: str
) -> frozenset[Head]:
    """Every kind of attention head in both networks."""
    levels = zip(unet.block_out_channels, unet.heads, strict=True)
    kinds = zip(unet.down_block_types, reversed(unet.up_block_types), strict=True)
    found = {
        (channels // heads, precision)
        for (channels, heads), pair in zip(levels, kinds, strict=True)
        if any(kind.startswith("CrossAttn") for kind in pair)
    }
    found.add((unet.block_out_channels[-1] // unet.heads[-1], precision))  # of the middle
    if vae.mid_block_add_attention:
        found.add((vae.block_out_channels[-1], vae_precision))
    return frozenset(found)


def choose_attention(
    hardware: Hardware, line: Line, heads: Collection[Head]
) -> Choice[AttentionKernels]:
    """Flash where the card, the head size and the precision have it, else memory-efficient.

    Both write no scores to memory, which at 64x64 cells are half a gigabyte a row. Paddle has flash
    for fp16 and bf16, heads of up to 256 in steps of 8, from compute capability 8.0 on; the
    memory-efficient kernel for fp32 too and wider heads, below 9.0 only. Otherwise products.
    """
    if not hardware.is_gpu:
        return Choice(AttentionKernels(), "products over slices of scores that stay in the cache")
    flash = _limit(heads, lambda head: _has_flash(hardware, line, head))
    wider = [head for head in heads if head[0] > flash]
    memory_efficient = _limit(wider, lambda head: _has_memory_efficient(hardware, head))
    parts = []
    for size, precision in sorted(heads):
        one = "flash" if size <= flash else "memory-efficient"
        one = one if size <= max(flash, memory_efficient) else "products"
        parts.append(f"{size} ({precision}) {one}")
    kernels = AttentionKernels(flash, memory_efficient, score_bytes=GPU_SCORE_BYTES)
    return Choice(kernels, "heads of " + ", ".join(parts))


def _limit(heads: Collection[Head], allowed: Callable[[Head], bool]) -> int:
    """The largest head size up to which every head is allowed; 0: not even the smallest."""
    refused = min((size for size, p in heads if not allowed((size, p))), default=None)
    return max((size for size, _ in heads if refused is None or size < refused), default=0)


def _has_flash(hardware: Hardware, line: Line, head: Head) -> bool:
    size, precision = head
    # 2.6 has code for 8.0 and 8.6, which runs on 8.9.
    last = (8, 9) if line < (3, 0) else (12, 1)
    fits = precision in ("fp16", "bf16") and size <= 256 and size % 8 == 0
    return fits and _at_least(hardware, (8, 0)) and hardware.capability <= last


def _has_memory_efficient(hardware: Hardware, head: Head) -> bool:
    # Cutlass' code ends below 9.0: "the kernel should not be launched".
    return head[0] % 8 == 0 and _at_least(hardware, (7, 0)) and hardware.capability < (9, 0)


def choose_channels_last(hardware: Hardware, engine: str, precision: str) -> Choice[bool]:
    """By Paddle Inference's layout pass, in half precision on tensor cores, which read it so.

    Published: Stable Diffusion 1.5 on an A30 from 3517 to 2562 ms (PaddlePaddle/Paddle#63628).
    """
    if not hardware.is_gpu:
        return Choice(False, "oneDNN has layouts of its own")
    if engine != "inference":
        return Choice(False, "only Paddle Inference has a layout pass; cuDNN reorders by itself")
    if not _at_least(hardware, (7, 0)) or precision == "fp32":
        return Choice(False, "pays in half precision on tensor cores only")
    return Choice(True, "tensor cores read it; the layout pass puts it in")


def choose_deleted_passes(
    hardware: Hardware, engine: str, channels_last: bool
) -> Choice[tuple[str, ...]]:
    """On a GPU, of Paddle Inference: lowering what is lowered, and a layout not wanted.

    What is wrong or failing on a line is left out by `sdbatch.engine.predictor` itself.
    """
    if engine != "inference":
        return Choice((), _NO_PASSES)
    if not hardware.is_gpu:
        return Choice((), "none but those known to be wrong")
    layout = () if channels_last else ("transfer_layout_pass",)
    return Choice(
        ("auto_mixed_precision_pass", *layout), "programs are in the precision they run in"
    )


def choose_optimization_level(engine: str) -> Choice[int | None]:
    """Paddle's own. Level 3 adds a fusion published at one percent (PaddlePaddle/Paddle#64199)."""
    if engine != "inference":
        return Choice(None, _NO_PASSES)
    return Choice(None, "Paddle's default; what level 3 adds is published at 1 %")


def choose_cinn(hardware: Hardware, line: Line, engine: str, asked: bool) -> Choice[bool]:
    """Only if asked for: compiling takes minutes, and no gain is measured.

    Raises:
        UserError: asked for where it is not to be had.
    """
    if not asked:
        return Choice(False, "only if asked for (engine.cinn=true): slow to compile, unmeasured")
    if not hardware.is_gpu or line < (3, 0) or engine != "static":
        where = "a GPU" if hardware.is_gpu else "a CPU"
        raise UserError(
            "engine.cinn=true: expected engine=static, Paddle 3 and a GPU, found "
            f"engine={engine}, Paddle {line[0]}.{line[1]} and {where}"
        )
    return Choice(True, "asked for")


def choose_tensorrt(hardware: Hardware, engine: str, asked: bool) -> Choice[bool]:
    """Only if asked for: compiling takes minutes and up to 20 GB (PaddlePaddle/Paddle#44057).

    Raises:
        UserError: asked for where it is not to be had.
    """
    if not asked:
        return Choice(False, "only if asked for (engine.tensorrt=true): minutes to compile")
    if not hardware.is_gpu or engine != "inference":
        raise UserError(
            "engine.tensorrt=true: expected engine=inference and a GPU, found "
            f"engine={engine} and {'a GPU' if hardware.is_gpu else 'a CPU'}"
        )
    return Choice(True, "asked for")


def choose_cuda_graphs() -> Choice[bool]:
    """No: Paddle's Python cannot switch them on for a predictor.

    Capturing by hand wants one shape and one set of addresses, and text chunks, sizes and batch
    sizes vary in a job.
    """
    return Choice(False, "no switch in Paddle's Python; shapes vary in a job")


def choose_environment(hardware: Hardware) -> Choice[Mapping[str, str]]:
    """What a worker's process finds before it imports Paddle, on a GPU.

    Paddle waits 10 s before it says that memory is exhausted, which never helps us. CUDA 11 loads
    all kernels at once unless told otherwise: hundreds of megabytes. By default CUDA numbers cards
    by speed, nvidia-smi by bus. cuDNN's exhaustive search stays off: a race of timings would choose
    the algorithm, and a picture made again could differ in its last bits.
    """
    if not hardware.is_gpu:
        return Choice({}, "nothing on a CPU")
    return Choice(
        GPU_ENVIRONMENT,
        "memory errors at once, repeatable convolutions, a small context, nvidia-smi's numbers",
    )


def _at_least(hardware: Hardware, capability: tuple[int, int]) -> bool:
    return hardware.capability is not None and hardware.capability >= capability
