"""How much memory a micro-batch takes, from the configs alone.

The walk goes through the networks as `sdbatch.models` does and keeps account of what Python holds
at the widest moment of each block. Compiled engines let go of tensors no later than that, so it is
an upper bound for them. The VAE's encoder needs less than its decoder and is left out. Estimates
are held against the bytes that Paddle counts in `tests/engine/test_estimate.py`. No Paddle here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from sdbatch.models.config import UNetConfig, VAEConfig
from sdbatch.models.kernels import AttentionKernels, rows_at_a_time
from sdbatch.weights.checkpoint import Checkpoint

CUDA_CONTEXT = 400_000_000
"""Driver, kernels and library handles of a process, loaded lazily. Not measured: no GPU at hand."""
CPU_PROCESS = 1_500_000_000
"""Python, Paddle, and pictures on their way to the disk."""
WORKSPACE_LIMIT = 512 << 20
"""What Paddle lets cuDNN take for one convolution (`FLAGS_conv_workspace_size_limit`)."""


@dataclass(frozen=True)
class ModelShape:
    """What memory depends on: both configs, and how many numbers each network holds."""

    unet: UNetConfig
    vae: VAEConfig
    unet_parameters: int
    vae_parameters: int
    text_parameters: int

    @classmethod
    def of(cls, checkpoint: Checkpoint, unet: UNetConfig, vae: VAEConfig) -> ModelShape:
        """Of an opened checkpoint; reads no tensor."""
        unet_count, vae_count, *texts = (
            sum(math.prod(component.shape(name)) for name in component.places)
            for component in checkpoint.components
        )
        return cls(unet, vae, unet_count, vae_count, sum(texts))


@dataclass(frozen=True)
class Work:
    """One micro-batch, and how it is computed.

    Attributes:
        width, height: of the pictures, in pixels.
        batch: how many.
        guided: the UNet is called for two rows a picture.
        number_bytes: of a number of the UNet and the text encoders.
        vae_number_bytes: of the VAE's.
        kernels: for attention.
        on_gpu: whether there is a CUDA context.
        columns: convolutions unroll each cell's neighbourhood, as Paddle's own on a CPU do, one
            row of the batch at a time. Otherwise they keep reordered copies of input and output.
        weight_copies: how often the UNet's and VAE's weights are held.
        tile: the VAE decodes squares of at most this many pixels a side; None: whole pictures.
    """

    width: int
    height: int
    batch: int
    guided: bool
    number_bytes: int
    vae_number_bytes: int
    kernels: AttentionKernels
    on_gpu: bool
    columns: bool = False
    weight_copies: int = 1
    tile: int | None = None


@dataclass(frozen=True)
class Estimate:
    """Bytes by part. The UNet and the VAE are never at work together."""

    unet_weights: int
    vae_weights: int
    text_weights: int
    denoising: int
    decoding: int
    process: int

    @property
    def allocated(self) -> int:
        """The peak of what Paddle allocates."""
        weights = self.unet_weights + self.vae_weights + self.text_weights
        return weights + max(self.denoising, self.decoding)

    @property
    def total(self) -> int:
        """The peak, with what the process takes before it allocates anything."""
        return self.allocated + self.process


def estimate(model: ModelShape, work: Work) -> Estimate:
    """The memory that `work` takes."""
    size, vae_size, copies = work.number_bytes, work.vae_number_bytes, work.weight_copies
    scale = model.vae.downscale
    height, width = work.height, work.width
    if work.tile is not None:
        height, width = min(height, work.tile), min(width, work.tile)
    rows = work.batch * (2 if work.guided else 1)
    unet = _Memory(rows, size, work.kernels, work.columns)
    vae = _Memory(1, vae_size, work.kernels, work.columns)
    # Latents and pictures are float32; the whole batch's pictures are held while it is decoded.
    pixels = 4 * work.batch * work.height * work.width * model.vae.out_channels
    return Estimate(
        unet_weights=copies * size * model.unet_parameters,
        vae_weights=copies * vae_size * model.vae_parameters,
        text_weights=size * model.text_parameters,
        denoising=_unet(model.unet, unet, work.height // scale, work.width // scale),
        decoding=2 * pixels + _decoder(model.vae, vae, height // scale, width // scale),
        process=CUDA_CONTEXT if work.on_gpu else CPU_PROCESS,
    )


@dataclass(frozen=True)
class _Memory:
    """Bytes of feature maps of so many rows, and what blocks need beside the map they are given.

    Method for method the layers of `sdbatch.models`; each returns the peak, its result included.
    """

    rows: int
    number_bytes: int
    kernels: AttentionKernels
    columns: bool

    def map(self, channels: int, cells: int) -> int:
        return self.rows * channels * cells * self.number_bytes

    def conv(self, before: int, after: int, cells: int) -> int:
        """The workspace of a 3x3 convolution from `before` to `after` channels."""
        if self.columns:
            return 9 * before * cells * self.number_bytes
        return min(WORKSPACE_LIMIT, self.map(before + after, cells))

    def resnet(self, before: int, after: int, cells: int) -> int:
        a, b = self.map(before, cells), self.map(after, cells)
        first = a + max(a, b + self.conv(before, after, cells))
        second = 3 * b + self.conv(after, after, cells)
        return max(first, second)

    def upsample(self, channels: int, cells: int) -> int:
        return 2 * self.map(channels, 4 * cells) + self.conv(channels, channels, 4 * cells)

    def last(self, before: int, after: int, cells: int) -> int:
        """Norm, SiLU and the last convolution."""
        a = self.map(before, cells)
        return a + max(a, self.map(after, cells) + self.conv(before, after, cells))

    def attention(
        self, channels: int, heads: int, tokens: int, keys: int, upcast: bool = False
    ) -> int:
        q, kv = self.map(channels, tokens), 2 * self.map(channels, keys)
        projected = 3 * q + kv  # q, what attention gives, its projection without and with bias
        head = channels // heads
        if head <= max(self.kernels.flash, self.kernels.memory_efficient):
            return projected + q
        # Scores before and after softmax, and cast back where they were wider than the rest.
        upcast = upcast and self.number_bytes < 4
        widths = 8 + self.number_bytes if upcast else 2 * self.number_bytes
        rows = rows_at_a_time(tokens, keys, heads, self.kernels.score_bytes)
        scores = self.rows * heads * rows * keys * widths
        # q scaled, and keys and values in the order of the product, beside those projected.
        return max(projected + q, 3 * q + 2 * kv + scores)

    def transformer(self, config: UNetConfig, level: int, cells: int) -> int:
        channels, heads = config.block_out_channels[level], config.heads[level]
        t = self.map(channels, cells)
        attention = self.attention(channels, heads, cells, cells, config.upcast_attention)
        # Sequence before the block, within it, and normed; then the feed-forward's 16, twice the
        # fourfold width with its bias added or split.
        return 3 * t + max(attention, 16 * t)


def _unet(config: UNetConfig, memory: _Memory, height: int, width: int) -> int:
    """The UNet's activations at their widest, for latents of `height` by `width` cells."""
    widths = config.block_out_channels
    cells = [_half(height, level) * _half(width, level) for level in range(len(widths))]
    skips = [memory.map(widths[0], cells[0])]
    peak = memory.map(config.in_channels, cells[0]) + skips[0]
    peak += memory.conv(config.in_channels, widths[0], cells[0])
    last = len(widths) - 1

    def at(block: int) -> None:
        nonlocal peak
        peak = max(peak, sum(skips) + block)

    for level, channels in enumerate(widths):
        before = widths[max(level - 1, 0)]
        attends = config.down_block_types[level] == "CrossAttnDownBlock2D"
        for layer in range(config.layers_per_block[level]):
            at(memory.resnet(before if layer == 0 else channels, channels, cells[level]))
            if attends:
                one = memory.map(channels, cells[level])
                at(one + memory.transformer(config, level, cells[level]))
            skips.append(memory.map(channels, cells[level]))
        if level < last:
            below = cells[level + 1]
            at(memory.map(channels, below) + memory.conv(channels, channels, below))
            skips.append(memory.map(channels, below))
    deepest = memory.map(widths[-1], cells[-1])
    at(deepest + memory.transformer(config, last, cells[-1]))
    at(deepest + memory.resnet(widths[-1], widths[-1], cells[-1]))

    for position, kind in enumerate(config.up_block_types):
        level = last - position
        channels, here = widths[level], cells[level]
        source = widths[min(level + 1, last)]
        given = memory.map(source, here)  # the caller holds it as long as the block runs
        for layer in range(config.layers_per_block[level] + 1):
            before = source if layer == 0 else channels
            one = 0 if layer == 0 else memory.map(channels, here)
            skip = (
                widths[max(level - 1, 0)] if layer == config.layers_per_block[level] else channels
            )
            skips.pop()
            joined = memory.map(before + skip, here)
            at(given + one + joined + memory.resnet(before + skip, channels, here))
            if kind == "CrossAttnUpBlock2D":
                one = memory.map(channels, here)
                at(given + one + memory.transformer(config, level, here))
        if level > 0:
            at(given + memory.map(channels, here) + memory.upsample(channels, here))
    at(memory.map(widths[0], cells[0]) + memory.last(widths[0], config.out_channels, cells[0]))
    return peak


def _decoder(config: VAEConfig, memory: _Memory, height: int, width: int) -> int:
    """The decoder's activations at their widest, for latents of `height` by `width` cells."""
    widths = config.block_out_channels[::-1]
    cells = height * width
    one = memory.map(widths[0], cells)
    peak = 2 * one + memory.resnet(widths[0], widths[0], cells)
    if config.mid_block_add_attention:
        peak = max(peak, 3 * one + memory.attention(widths[0], 1, cells, cells))
    for position, channels in enumerate(widths):
        before = widths[max(position - 1, 0)]
        given, one = memory.map(before, cells), memory.map(channels, cells)
        peak = max(
            peak,
            given + memory.resnet(before, channels, cells),
            given + one + memory.resnet(channels, channels, cells),
        )
        if position < len(widths) - 1:
            peak = max(peak, given + one + memory.upsample(channels, cells))
            cells *= 4
    one = memory.map(widths[-1], cells)
    return max(peak, one + memory.last(widths[-1], config.out_channels, cells))


def _half(side: int, times: int) -> int:
    """A side of the feature map after so many strided convolutions."""
    for _ in range(times):
        side = -(-side // 2)
    return side
