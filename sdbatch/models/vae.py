"""AutoencoderKL: pixels to latents and back.

Source of the structure and the names: diffusers `models/autoencoders/autoencoder_kl.py` and
`vae.py`. Every GroupNorm here has epsilon 1e-6, unlike the UNet's.
"""

from __future__ import annotations

import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

from sdbatch.models.config import VAEConfig
from sdbatch.models.layers import Attention, Downsample, ResnetBlock, Upsample
from sdbatch.models.parts import part

EPS = 1e-6


class VAEAttention(Attention):
    """Single-head self-attention over the cells of a feature map, with norm and skip."""

    def __init__(self, channels: int, groups: int):
        super().__init__(channels, heads=1, bias=True)
        self.group_norm = nn.GroupNorm(groups, channels, epsilon=EPS)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        tokens = self.group_norm(x).flatten(2).transpose([0, 2, 1])
        # Not super(), which to_static of Paddle 2.6 cannot read.
        return x + Attention.forward(self, tokens).transpose([0, 2, 1]).reshape([0, *x.shape[1:]])


class MidBlock(nn.Layer):
    """Residual block, attention (where the config has it), residual block."""

    def __init__(self, channels: int, config: VAEConfig):
        super().__init__()
        groups = config.norm_num_groups
        self.resnets = nn.LayerList(_resnet(channels, channels, config) for _ in range(2))
        self.attentions = None
        if config.mid_block_add_attention:
            self.attentions = nn.LayerList([VAEAttention(channels, groups)])

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        x = self.resnets[0](x)
        if self.attentions is not None:
            x = self.attentions[0](x)
        return self.resnets[1](x)


class DownBlock(nn.Layer):
    """Residual blocks, then half the size (but not in the last block)."""

    def __init__(self, in_channels: int, out_channels: int, config: VAEConfig, last: bool):
        super().__init__()
        self.resnets = nn.LayerList(
            _resnet(in_channels if i == 0 else out_channels, out_channels, config)
            for i in range(config.layers_per_block)
        )
        self.downsamplers = None if last else nn.LayerList([Downsample(out_channels, padding=0)])

    def forward(self, x: Tensor) -> Tensor:
        """[B, in, H, W] -> [B, out, H / 2, W / 2]."""
        for resnet in self.resnets:
            x = resnet(x)
        return x if self.downsamplers is None else self.downsamplers[0](x)


class UpBlock(nn.Layer):
    """One residual block more than the encoder has, then twice the size (but not in the last)."""

    def __init__(self, in_channels: int, out_channels: int, config: VAEConfig, last: bool):
        super().__init__()
        self.resnets = nn.LayerList(
            _resnet(in_channels if i == 0 else out_channels, out_channels, config)
            for i in range(config.layers_per_block + 1)
        )
        self.upsamplers = None if last else nn.LayerList([Upsample(out_channels)])

    def forward(self, x: Tensor) -> Tensor:
        """[B, in, H, W] -> [B, out, 2H, 2W]."""
        for resnet in self.resnets:
            x = part(resnet)(x)
        return x if self.upsamplers is None else part(self.upsamplers[0])(x)


class Encoder(nn.Layer):
    """Pixels to the moments of the latent distribution."""

    def __init__(self, config: VAEConfig):
        super().__init__()
        widths = config.block_out_channels
        self.conv_in = nn.Conv2D(config.in_channels, widths[0], 3, padding=1)
        self.down_blocks = nn.LayerList(
            DownBlock(widths[max(i - 1, 0)], width, config, last=i == len(widths) - 1)
            for i, width in enumerate(widths)
        )
        self.mid_block = MidBlock(widths[-1], config)
        self.conv_norm_out = nn.GroupNorm(config.norm_num_groups, widths[-1], epsilon=EPS)
        self.conv_out = nn.Conv2D(widths[-1], 2 * config.latent_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, 2 * latent_channels, H / s, W / s]."""
        x = self.conv_in(x)
        for block in self.down_blocks:
            x = block(x)
        return self.conv_out(F.silu(self.conv_norm_out(self.mid_block(x))))


class Decoder(nn.Layer):
    """Latents to pixels."""

    def __init__(self, config: VAEConfig):
        super().__init__()
        widths = config.block_out_channels[::-1]
        self.conv_in = nn.Conv2D(config.latent_channels, widths[0], 3, padding=1)
        self.mid_block = MidBlock(widths[0], config)
        self.up_blocks = nn.LayerList(
            UpBlock(widths[max(i - 1, 0)], width, config, last=i == len(widths) - 1)
            for i, width in enumerate(widths)
        )
        self.conv_norm_out = nn.GroupNorm(config.norm_num_groups, widths[-1], epsilon=EPS)
        # Padding is zeros, one wide: anything else leaves stripes along the picture's border.
        self.conv_out = nn.Conv2D(widths[-1], config.out_channels, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        """[B, latent_channels, h, w] -> [B, 3, s * h, s * w]."""
        x = part(self.mid_block)(part(self.conv_in)(z))
        for block in self.up_blocks:
            x = block(x)
        return part(self._leave)(x)

    def _leave(self, x: Tensor) -> Tensor:
        """From features at full size to pixels."""
        return self.conv_out(F.silu(self.conv_norm_out(x)))


class VAE(nn.Layer):
    """Encoder and decoder; `encode` and `decode` know nothing of `scaling_factor`."""

    def __init__(self, config: VAEConfig):
        super().__init__()
        self.config = config
        latent = config.latent_channels
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.quant_conv = nn.Conv2D(2 * latent, 2 * latent, 1) if config.use_quant_conv else None
        self.post_quant_conv = nn.Conv2D(latent, latent, 1) if config.use_post_quant_conv else None

    @property
    def dtype(self) -> paddle.dtype:
        """Of the weights."""
        return self.decoder.conv_in.weight.dtype

    def encode(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels [B, 3, H, W] in -1..1 -> mean and log variance, each [B, latent, H / s, W / s]."""
        moments = self.encoder(pixels)
        if self.quant_conv is not None:
            moments = self.quant_conv(moments)
        mean, log_variance = moments.chunk(2, axis=1)
        return mean, paddle.clip(log_variance, -30.0, 20.0)

    def decode(self, latents: Tensor) -> Tensor:
        """Unscaled latents [B, latent, h, w] -> pixels [B, 3, s * h, s * w], about -1..1."""
        if self.post_quant_conv is not None:
            latents = part(self.post_quant_conv)(latents)
        return self.decoder(latents)


def _resnet(in_channels: int, out_channels: int, config: VAEConfig) -> ResnetBlock:
    return ResnetBlock(in_channels, out_channels, groups=config.norm_num_groups, eps=EPS)
