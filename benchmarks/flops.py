"""The work of one call of a network, in floating-point operations, from its config alone.

Convolutions, linear layers and the two products of attention, a multiplication with its addition
as two operations. What is left out (norms, activations, softmax) is bound by memory and well under
a hundredth of the sum. The structure is that of `sdbatch/models/`.
"""

from __future__ import annotations

from sdbatch.models.config import UNetConfig, VAEConfig

TOKENS = 77


def unet_flops(config: UNetConfig, height: int, width: int, tokens: int = TOKENS) -> int:
    """One prediction for one picture.

    Args:
        config: of the UNet.
        height, width: of the latents.
        tokens: of the text.
    """
    widths, cells = config.block_out_channels, height * width
    attended = [kind == "CrossAttnDownBlock2D" for kind in config.down_block_types]
    attended_up = [kind == "CrossAttnUpBlock2D" for kind in config.up_block_types][::-1]
    time = 4 * widths[0]
    sizes = [config.projection_class_embeddings_input_dim or 0, widths[0]]
    total = sum(2 * time * (size + time) for size in sizes if size)
    total += conv(config.in_channels, widths[0], cells) + conv(
        widths[0], config.out_channels, cells
    )
    last = len(widths) - 1
    skips, x = [widths[0]], widths[0]
    for level, channels in enumerate(widths):
        for _ in range(config.layers_per_block[level]):
            total += resnet(x, channels, cells, time)
            total += attended[level] * _transformer(config, level, cells, tokens)
            x = channels
            skips.append(x)
        if level < last:
            cells = -(-height // 2 ** (level + 1)) * -(-width // 2 ** (level + 1))
            total += conv(x, x, cells)
            skips.append(x)
    total += 2 * resnet(x, x, cells, time) + _transformer(config, last, cells, tokens)
    for level in range(last, -1, -1):
        cells = -(-height // 2**level) * -(-width // 2**level)
        for _ in range(config.layers_per_block[level] + 1):
            total += resnet(x + skips.pop(), widths[level], cells, time)
            total += attended_up[level] * _transformer(config, level, cells, tokens)
            x = widths[level]
        if level:
            total += conv(x, x, -(-height // 2 ** (level - 1)) * -(-width // 2 ** (level - 1)))
    return total


def decoder_flops(config: VAEConfig, height: int, width: int) -> int:
    """One picture decoded from latents of this height and width."""
    widths, cells = config.block_out_channels[::-1], height * width
    x = widths[0]
    total = conv(config.latent_channels, x, cells) + 2 * resnet(x, x, cells)
    if config.use_post_quant_conv:
        total += conv(config.latent_channels, config.latent_channels, cells, kernel=1)
    if config.mid_block_add_attention:
        total += attention(x, cells, cells, x)
    for level, channels in enumerate(widths):
        for _ in range(config.layers_per_block + 1):
            total += resnet(x, channels, cells)
            x = channels
        if level < len(widths) - 1:
            cells *= 4
            total += conv(x, x, cells)
    return total + conv(x, config.out_channels, cells)


def conv(channels: int, out_channels: int, cells: int, kernel: int = 3) -> int:
    """A convolution; `cells` are those of its output."""
    return 2 * kernel**2 * channels * out_channels * cells


def resnet(channels: int, out_channels: int, cells: int, time: int = 0) -> int:
    """A residual block, which reads the time where it has `time` channels."""
    total = conv(channels, out_channels, cells) + conv(out_channels, out_channels, cells)
    if channels != out_channels:
        total += conv(channels, out_channels, cells, kernel=1)
    return total + 2 * time * out_channels


def attention(channels: int, queries: int, keys: int, context: int) -> int:
    """Four projections, the scores, and their product with the values."""
    projections = 4 * queries * channels**2 + 4 * keys * context * channels
    return projections + 4 * queries * keys * channels


def _transformer(config: UNetConfig, level: int, cells: int, tokens: int) -> int:
    """Both projections, and blocks of two attentions and a gated feed-forward (8 wide, then 4)."""
    channels, context = config.block_out_channels[level], config.cross_attention_dim[level]
    block = attention(channels, cells, cells, channels)
    block += attention(channels, cells, tokens, context)
    block += 2 * cells * channels * (8 + 4) * channels
    return 4 * cells * channels**2 + config.transformer_layers[level] * block
