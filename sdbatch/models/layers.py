"""Building blocks that the UNet and the VAE share: residual block, attention, resampling.

Feature maps are [batch, channels, height, width], token sequences [batch, tokens, channels].
"""

from __future__ import annotations

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

from sdbatch.models.attention import attend


class Linear(nn.Layer):
    """x W^T + b, with the weight as PyTorch stores it: [out_channels, in_channels].

    Paddle's own `nn.Linear` keeps [in, out], so that every weight from PyTorch would have to be
    copied to be transposed. As it is, a weight can be the checkpoint's memory map itself; the
    product takes as long either way (docs/performance.md).
    """

    def __init__(self, in_channels: int, out_channels: int, bias: bool = True):
        super().__init__()
        self.weight = self.create_parameter([out_channels, in_channels])
        self.bias = self.create_parameter([out_channels], is_bias=True) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """[..., in_channels] -> [..., out_channels]."""
        y = paddle.matmul(x, self.weight, transpose_y=True)
        return y if self.bias is None else y + self.bias


class ResnetBlock(nn.Layer):
    """GroupNorm, SiLU, 3x3 convolution, twice, around a skip (diffusers `ResnetBlock2D`).

    `eps` is 1e-5 in the UNet and 1e-6 in the VAE; `time_channels` is None in the VAE.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        groups: int,
        eps: float,
        time_channels: int | None = None,
    ):
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, in_channels, epsilon=eps)
        self.conv1 = nn.Conv2D(in_channels, out_channels, 3, padding=1)
        self.time_emb_proj = Linear(time_channels, out_channels) if time_channels else None
        self.norm2 = nn.GroupNorm(groups, out_channels, epsilon=eps)
        self.conv2 = nn.Conv2D(out_channels, out_channels, 3, padding=1)
        self.conv_shortcut = (
            nn.Conv2D(in_channels, out_channels, 1) if in_channels != out_channels else None
        )

    def forward(self, x: Tensor, time_embedding: Tensor | None = None) -> Tensor:
        """x: [B, in, H, W]; time_embedding: [B, time_channels], already activated."""
        h = self.conv1(F.silu(self.norm1(x)))
        if self.time_emb_proj is not None:
            h = h + self.time_emb_proj(time_embedding)[:, :, None, None]
        h = self.conv2(F.silu(self.norm2(h)))
        skip = x if self.conv_shortcut is None else self.conv_shortcut(x)
        return skip + h


class Attention(nn.Layer):
    """Multi-head attention with its four projections (diffusers `Attention`).

    `context_channels` is None for self-attention. The output projection is a list of one, because
    diffusers keeps a dropout beside it and so names its weight `to_out.0.weight`.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        *,
        context_channels: int | None = None,
        bias: bool = False,
        upcast: bool = False,
    ):
        super().__init__()
        source = context_channels or channels
        self.heads, self.head_dim, self.upcast = heads, channels // heads, upcast
        self.to_q = Linear(channels, channels, bias=bias)
        self.to_k = Linear(source, channels, bias=bias)
        self.to_v = Linear(source, channels, bias=bias)
        self.to_out = nn.LayerList([Linear(channels, channels)])

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """x: [B, N, channels]; context: [B, M, context_channels] -> [B, N, channels]."""
        context = x if context is None else context
        split = (0, 0, self.heads, self.head_dim)  # attend moves the head axis forward
        q = self.to_q(x).reshape(split)
        k = self.to_k(context).reshape(split)
        v = self.to_v(context).reshape(split)
        return self.to_out[0](attend(q, k, v, upcast=self.upcast).flatten(2))


class Downsample(nn.Layer):
    """Halve height and width by a strided convolution.

    The UNet pads evenly; the VAE encoder pads right and bottom only, (0, 1, 0, 1)
    (diffusers `models/downsampling.py`, `Downsample2D`).
    """

    def __init__(self, channels: int, *, padding: int):
        super().__init__()
        self.asymmetric = padding == 0
        self.conv = nn.Conv2D(channels, channels, 3, stride=2, padding=padding)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H / 2, W / 2]."""
        return self.conv(F.pad(x, [0, 1, 0, 1]) if self.asymmetric else x)


class Upsample(nn.Layer):
    """Enlarge by nearest neighbour, then convolve (diffusers `Upsample2D`)."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2D(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """[B, C, H, W] -> [B, C, 2H, 2W], or `size` where the skip has an odd side."""
        return self.conv(enlarge(x, size))


def enlarge(x: Tensor, size: tuple[int, int] | None = None) -> Tensor:
    """Nearest-neighbour enlargement: twofold, or to `size` (height, width), at most one less each.

    Not F.interpolate: Paddle 3.3's oneDNN programs do not implement its nearest mode.
    """
    channels, height, width = x.shape[1:]
    x = x.reshape([0, channels, height, 1, width, 1])
    x = x.expand([-1, channels, height, 2, width, 2])
    x = x.reshape([0, channels, 2 * height, 2 * width])
    # Where the smaller map was rounded up, nearest neighbours are the twofold map, cut off.
    if size is not None and tuple(size) != (2 * height, 2 * width):
        x = x[:, :, : size[0], : size[1]]
    return x


def timestep_embedding(
    timesteps: Tensor, channels: int, *, flip_sin_to_cos: bool, freq_shift: float
) -> Tensor:
    """Sinusoids of the timestep at log-spaced frequencies: [B] -> [B, channels], float32.

    Cosines come first where `flip_sin_to_cos` (every Stable Diffusion). Source: diffusers
    `models/embeddings.py`, `get_timestep_embedding`.
    """
    half = channels // 2
    # By NumPy, so that every engine has the same: a last bit of a frequency is an angle's fourth
    # decimal where the timestep, or the guidance times 1000, is large.
    exponent = -np.log(np.float32(10000)) * np.arange(half, dtype=np.float32)
    frequencies = paddle.to_tensor(np.exp(exponent / np.float32(half - freq_shift)))
    angles = timesteps.astype("float32")[:, None] * frequencies[None, :]
    sin, cos = paddle.sin(angles), paddle.cos(angles)
    return paddle.concat([cos, sin] if flip_sin_to_cos else [sin, cos], axis=-1)


def guidance_embedding(guidance_scale: Tensor, channels: int) -> Tensor:
    """Sinusoids of the guidance for networks distilled with it: [B] -> [B, channels], float32.

    Source: Luo et al. 2023, arXiv 2310.04378; diffusers `get_guidance_scale_embedding`.
    """
    return timestep_embedding(
        (guidance_scale - 1) * 1000, channels, flip_sin_to_cos=False, freq_shift=1
    )


class TimestepEmbedding(nn.Layer):
    """Linear, SiLU, Linear, before them a condition added (diffusers `TimestepEmbedding`)."""

    def __init__(self, in_channels: int, channels: int, condition_channels: int | None = None):
        super().__init__()
        self.linear_1 = Linear(in_channels, channels)
        self.cond_proj = None
        if condition_channels is not None:
            self.cond_proj = Linear(condition_channels, in_channels, bias=False)
        self.linear_2 = Linear(channels, channels)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """[B, in_channels] (and [B, condition_channels]) -> [B, channels]."""
        if self.cond_proj is not None:
            x = x + self.cond_proj(condition)
        return self.linear_2(F.silu(self.linear_1(x)))
