"""UNet2DConditionModel: predicts the noise (or velocity) in latents, given text states.

Driven by the checkpoint's own config; covers the shapes of SD 1.x, 2.x and XL. Source of the
structure and the names: diffusers `models/unets/unet_2d_condition.py`, `unet_2d_blocks.py`;
Rombach et al. 2022, arXiv 2112.10752.
"""

from __future__ import annotations

import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

from sdbatch.models.config import UNetConfig
from sdbatch.models.layers import (
    Downsample,
    ResnetBlock,
    TimestepEmbedding,
    Upsample,
    guidance_embedding,
    timestep_embedding,
)
from sdbatch.models.parts import part
from sdbatch.models.transformer import SpatialTransformer


class DownBlock(nn.Layer):
    """Residual blocks, each followed by a transformer where the block has attention."""

    def __init__(self, config: UNetConfig, level: int, in_channels: int, token_merging: float):
        super().__init__()
        channels = config.block_out_channels[level]
        layers = config.layers_per_block[level]
        self.resnets = nn.LayerList(
            _resnet(config, in_channels if i == 0 else channels, channels) for i in range(layers)
        )
        self.attentions = None
        if config.down_block_types[level] == "CrossAttnDownBlock2D":
            self.attentions = _transformers(config, level, layers, token_merging)
        last = level == len(config.block_out_channels) - 1
        self.downsamplers = None if last else nn.LayerList([Downsample(channels, padding=1)])

    def forward(self, x: Tensor, time: Tensor, context: Tensor) -> tuple[Tensor, ...]:
        """The skips that the up path takes; the last of them is the next block's feature map."""
        skips = self.level(x, time, context)
        if self.downsamplers is not None:
            skips = (*skips, self.downsamplers[0](skips[-1]))
        return skips

    def level(self, x: Tensor, time: Tensor, context: Tensor) -> tuple[Tensor, ...]:
        """As forward, but for the way down to the next level."""
        skips = []
        for i, resnet in enumerate(self.resnets):
            x = resnet(x, time)
            if self.attentions is not None:
                x = self.attentions[i](x, context)
            skips.append(x)
        return tuple(skips)


class MidBlock(nn.Layer):
    """Residual block, transformer, residual block at the lowest resolution."""

    def __init__(self, config: UNetConfig):
        super().__init__()
        channels = config.block_out_channels[-1]
        self.resnets = nn.LayerList(_resnet(config, channels, channels) for _ in range(2))
        self.attentions = _transformers(config, len(config.block_out_channels) - 1, 1)

    def forward(self, x: Tensor, time: Tensor, context: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        x = self.resnets[0](x, time)
        x = self.attentions[0](x, context)
        return self.resnets[1](x, time)


class UpBlock(nn.Layer):
    """As DownBlock, with a skip concatenated before each residual block, then enlarged.

    `position` counts from the lowest resolution; widths, heads and depths are the ones of the
    mirrored level of the down path.
    """

    def __init__(self, config: UNetConfig, position: int, token_merging: float):
        super().__init__()
        widths = config.block_out_channels
        level = len(widths) - 1 - position
        channels = widths[level]
        below = widths[min(level + 1, len(widths) - 1)]
        above = widths[max(level - 1, 0)]
        layers = config.layers_per_block[level] + 1
        self.resnets = nn.LayerList()
        for i in range(layers):
            source = below if i == 0 else channels
            skip = above if i == layers - 1 else channels
            self.resnets.append(_resnet(config, source + skip, channels))
        self.attentions = None
        if config.up_block_types[position] == "CrossAttnUpBlock2D":
            self.attentions = _transformers(config, level, layers, token_merging)
        self.upsamplers = nn.LayerList([Upsample(channels)]) if level > 0 else None

    def forward(self, x: Tensor, time: Tensor, context: Tensor, *skips: Tensor) -> Tensor:
        """Takes one skip for each residual block, then one whose height and width follow."""
        for i, resnet in enumerate(self.resnets):
            x = resnet(paddle.concat([x, skips[i]], axis=1), time)
            if self.attentions is not None:
                x = self.attentions[i](x, context)
        if self.upsamplers is not None:
            x = self.upsamplers[0](x, tuple(skips[-1].shape[2:]))
        return x


class UNet(nn.Layer):
    """The whole denoising network.

    Args:
        config: of the checkpoint.
        token_merging: share of cells, 0..0.75, that are merged before self-attention at the highest
            resolution that has any (`sdbatch.models.token_merging`).
    """

    def __init__(self, config: UNetConfig, token_merging: float = 0.0):
        super().__init__()
        self.config = config
        widths = config.block_out_channels
        time_channels = 4 * widths[0]
        self.conv_in = nn.Conv2D(config.in_channels, widths[0], 3, padding=1)
        self.time_embedding = TimestepEmbedding(widths[0], time_channels, config.time_cond_proj_dim)
        self.add_embedding = None
        if config.addition_time_embed_dim is not None:
            self.add_embedding = TimestepEmbedding(
                config.projection_class_embeddings_input_dim, time_channels
            )
        levels = range(len(widths))
        merging = [token_merging if level == _highest(config) else 0.0 for level in levels]
        self.down_blocks = nn.LayerList(
            DownBlock(config, level, widths[max(level - 1, 0)], merging[level]) for level in levels
        )
        self.mid_block = MidBlock(config)
        self.up_blocks = nn.LayerList(UpBlock(config, i, merging[-1 - i]) for i in levels)
        self.conv_norm_out = nn.GroupNorm(
            config.norm_num_groups, widths[0], epsilon=config.norm_eps
        )
        self.conv_out = nn.Conv2D(widths[0], config.out_channels, 3, padding=1)

    @property
    def dtype(self) -> paddle.dtype:
        """Of the weights."""
        return self.conv_in.weight.dtype

    def forward(
        self,
        latents: Tensor,
        timesteps: Tensor,
        context: Tensor,
        pooled: Tensor | None = None,
        time_ids: Tensor | None = None,
        guidance_scale: Tensor | None = None,
    ) -> Tensor:
        """Predict the noise, the velocity or the sample, as the checkpoint was trained.

        Args:
            latents: [B, in_channels, H, W]; H and W need not be multiples of the deepest stride.
            timesteps: [B], any number type.
            context: [B, tokens, cross_attention_dim] text encoder states.
            pooled: [B, pooled_dim] pooled text embedding (SDXL only).
            time_ids: [B, 6] original size, crop and target size in pixels (SDXL only).
            guidance_scale: [B], for networks distilled with guidance inside (`time_cond_proj_dim`).

        Returns:
            [B, out_channels, H, W] in the dtype of `latents`.
        """
        return self.whole(latents, timesteps, context, pooled, time_ids, guidance_scale)[0]

    def whole(
        self,
        latents: Tensor,
        timesteps: Tensor,
        context: Tensor,
        pooled: Tensor | None = None,
        time_ids: Tensor | None = None,
        guidance_scale: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """As forward; beside it the deep features [B, C, H, W] that `outermost` takes."""
        x, time = part(self._enter)(latents, timesteps, pooled, time_ids, guidance_scale)
        skips = [x]
        for block in self.down_blocks:
            skips.extend(part(block)(skips[-1], time, context))
        x = part(self.mid_block)(skips[-1], time, context)
        skips.reverse()
        for block in self.up_blocks[:-1]:
            taken = len(block.resnets)
            x = part(block)(x, time, context, *skips[: taken + 1])
            skips = skips[taken:]
        return part(self._leave)(x, time, context, *skips), x

    def outermost(
        self,
        latents: Tensor,
        timesteps: Tensor,
        context: Tensor,
        deep: Tensor,
        pooled: Tensor | None = None,
        time_ids: Tensor | None = None,
        guidance_scale: Tensor | None = None,
    ) -> Tensor:
        """As forward, but all below the first level is `deep`, from a call nearby in time.

        Ma et al. 2023 (DeepCache), arXiv 2312.00858.
        """
        x, time = part(self._enter)(latents, timesteps, pooled, time_ids, guidance_scale)
        skips = part(self.down_blocks[0].level)(x, time, context)
        return part(self._leave)(deep, time, context, *reversed(skips), x)

    def _enter(
        self,
        latents: Tensor,
        timesteps: Tensor,
        pooled: Tensor | None,
        time_ids: Tensor | None,
        guidance_scale: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """The first feature map, and what every residual block adds, [B, 4 * width], activated."""
        dtype = latents.dtype
        waves = self._waves(timesteps, self.config.block_out_channels[0]).astype(dtype)
        condition = None
        if self.config.time_cond_proj_dim is not None:
            condition = guidance_embedding(guidance_scale, self.config.time_cond_proj_dim)
            condition = condition.astype(dtype)
        embedding = self.time_embedding(waves, condition)
        if self.add_embedding is not None:
            sizes = self._waves(time_ids.flatten(), self.config.addition_time_embed_dim)
            sizes = sizes.reshape([-1, 6 * self.config.addition_time_embed_dim]).astype(dtype)
            added = paddle.concat([pooled.astype(dtype), sizes], axis=-1)
            embedding = embedding + self.add_embedding(added)
        return self.conv_in(latents), F.silu(embedding)

    def _leave(self, x: Tensor, time: Tensor, context: Tensor, *skips: Tensor) -> Tensor:
        """From what the lower levels gave to the network's output."""
        x = self.up_blocks[-1](x, time, context, *skips)
        return self.conv_out(F.silu(self.conv_norm_out(x)))

    def _waves(self, values: Tensor, channels: int) -> Tensor:
        return timestep_embedding(
            values,
            channels,
            flip_sin_to_cos=self.config.flip_sin_to_cos,
            freq_shift=self.config.freq_shift,
        )


def _resnet(config: UNetConfig, in_channels: int, out_channels: int) -> ResnetBlock:
    return ResnetBlock(
        in_channels,
        out_channels,
        groups=config.norm_num_groups,
        eps=config.norm_eps,
        time_channels=4 * config.block_out_channels[0],
    )


def _highest(config: UNetConfig) -> int | None:
    """The level of the highest resolution that has attention; None if only the middle has."""
    ways = zip(config.down_block_types, reversed(config.up_block_types), strict=True)
    return next((i for i, kinds in enumerate(ways) if any("CrossAttn" in k for k in kinds)), None)


def _transformers(
    config: UNetConfig, level: int, count: int, token_merging: float = 0.0
) -> nn.LayerList:
    return nn.LayerList(
        SpatialTransformer(
            config.block_out_channels[level],
            config.heads[level],
            config.transformer_layers[level],
            config.cross_attention_dim[level],
            config,
            token_merging,
        )
        for _ in range(count)
    )
