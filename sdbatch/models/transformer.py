"""The UNet's transformers: attention over the cells of a feature map, and to the text.

Source of the structure and the names: diffusers `models/transformers/transformer_2d.py` and
`models/attention.py`; Rombach et al. 2022, arXiv 2112.10752.
"""

from __future__ import annotations

import paddle.nn.functional as F
from paddle import Tensor, nn

from sdbatch.models.config import UNetConfig
from sdbatch.models.layers import Attention, Linear
from sdbatch.models.token_merging import TokenMerging


class GEGLU(nn.Layer):
    """Gated GELU: the first half of the projection is the value, the second the gate."""

    def __init__(self, channels: int, inner: int):
        super().__init__()
        self.proj = Linear(channels, 2 * inner)

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, channels] -> [B, N, inner]; exact (erf) GELU."""
        value, gate = self.proj(x).chunk(2, axis=-1)
        return value * F.gelu(gate)


class FeedForward(nn.Layer):
    """GEGLU and a linear layer; `net.1` is where diffusers has its dropout."""

    def __init__(self, channels: int):
        super().__init__()
        inner = 4 * channels
        self.net = nn.Sequential(GEGLU(channels, inner), nn.Identity(), Linear(inner, channels))

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, channels] -> [B, N, channels]."""
        return self.net(x)


class TransformerBlock(nn.Layer):
    """Self-attention, cross-attention, feed-forward, each after a LayerNorm, each with a skip."""

    def __init__(self, channels: int, heads: int, context_channels: int, upcast: bool):
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attn1 = Attention(channels, heads, upcast=upcast)
        self.norm2 = nn.LayerNorm(channels)
        self.attn2 = Attention(channels, heads, context_channels=context_channels, upcast=upcast)
        self.norm3 = nn.LayerNorm(channels)
        self.ff = FeedForward(channels)

    def forward(self, x: Tensor, context: Tensor, merging: TokenMerging | None = None) -> Tensor:
        """x: [B, N, channels]; context: [B, M, context_channels]."""
        h = self.norm1(x)
        x = x + (self.attn1(h) if merging is None else merging.around(self.attn1, h, metric=x))
        x = x + self.attn2(self.norm2(x), context)
        return x + self.ff(self.norm3(x))


class SpatialTransformer(nn.Layer):
    """Transformer blocks over the cells of a feature map (diffusers `Transformer2DModel`).

    The projections are 1x1 convolutions in SD 1.x and linear layers in 2.x and XL; the norm's
    epsilon is 1e-6, unlike the residual blocks' 1e-5. `token_merging` is the share of cells that
    are merged before self-attention.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        depth: int,
        context_channels: int,
        config: UNetConfig,
        token_merging: float = 0.0,
    ):
        super().__init__()
        self.token_merging = token_merging
        self.linear = config.use_linear_projection
        project = Linear if self.linear else _conv1x1
        self.norm = nn.GroupNorm(config.norm_num_groups, channels, epsilon=1e-6)
        self.proj_in = project(channels, channels)
        self.transformer_blocks = nn.LayerList(
            TransformerBlock(channels, heads, context_channels, config.upcast_attention)
            for _ in range(depth)
        )
        self.proj_out = project(channels, channels)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """x: [B, channels, H, W]; context: [B, M, context_channels] -> [B, channels, H, W]."""
        shape = [0, *x.shape[1:]]
        h = self.norm(x)
        h = self.proj_in(_to_tokens(h)) if self.linear else _to_tokens(self.proj_in(h))
        merging = TokenMerging(*x.shape[2:], self.token_merging) if self.token_merging else None
        for block in self.transformer_blocks:
            h = block(h, context, merging)
        h = _to_map(self.proj_out(h), shape) if self.linear else self.proj_out(_to_map(h, shape))
        return x + h


def _conv1x1(in_channels: int, out_channels: int) -> nn.Conv2D:
    return nn.Conv2D(in_channels, out_channels, 1)


def _to_tokens(x: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, H * W, C]."""
    return x.flatten(2).transpose([0, 2, 1])


def _to_map(x: Tensor, shape: list[int]) -> Tensor:
    """[B, H * W, C] -> [B, C, H, W], which is `shape`, its batch left out as 0."""
    return x.transpose([0, 2, 1]).reshape(shape)
