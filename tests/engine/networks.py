"""Tiny networks of every family with weights, and inputs for them: random ones and flat ones.

Flat inputs vary by a thousandth, so that the epsilons of the norms count.
"""

from __future__ import annotations

import numpy as np
import paddle
from paddle import nn

from sdbatch.models.config import UNetConfig, VAEConfig
from sdbatch.models.unet import UNet
from sdbatch.models.vae import VAE
from tests.models.configs import SD15_UNET, SD15_VAE, SD21_UNET, SDXL_UNET

NARROW = {"norm_num_groups": 8, "cross_attention_dim": 24, "sample_size": 8}
UNETS = {
    "sd1": {**SD15_UNET, **NARROW, "block_out_channels": [32, 32, 64, 64]},
    "sd2": {
        **SD21_UNET,
        **NARROW,
        "block_out_channels": [32, 32, 64, 64],
        "attention_head_dim": [2, 4, 4, 8],
    },
    "sdxl": {
        **SDXL_UNET,
        **NARROW,
        "block_out_channels": [32, 32, 64],
        "attention_head_dim": [2, 4, 8],
        "transformer_layers_per_block": [1, 1, 2],
        "addition_time_embed_dim": 4,
        "projection_class_embeddings_input_dim": 5 + 6 * 4,
    },
}
VAE_CONFIG = {**SD15_VAE, "block_out_channels": [16, 16, 32, 32], "norm_num_groups": 8}


def seeded(layer: nn.Layer) -> nn.Layer:
    """The layer with random weights of its own, scaled by their fan-in, that wants no gradients."""
    rng = np.random.default_rng(7)
    for parameter in layer.parameters():
        shape = parameter.shape
        if len(shape) == 1:
            value = rng.normal(size=shape, scale=0.1) + (parameter.numpy().mean() > 0.5)
        else:
            value = rng.normal(size=shape, scale=np.prod(shape[1:]) ** -0.5)
        parameter.set_value(value.astype("float32"))
        parameter.stop_gradient = True
    layer.eval()
    return layer


def unet(family: str) -> UNet:
    """A small UNet of a family."""
    return seeded(UNet(UNetConfig.from_dict(UNETS[family])))


def vae() -> VAE:
    """A small autoencoder that enlarges eightfold."""
    return seeded(VAE(VAEConfig.from_dict(VAE_CONFIG)))


def unet_inputs(
    family: str, batch: int, side: int, *, flat: bool = False
) -> list[paddle.Tensor | None]:
    """All arguments of `UNet.forward`."""
    rng = np.random.default_rng(batch)
    scale, offset = (1e-3, 0.3) if flat else (1.0, 0.0)
    latents = rng.normal(size=(batch, 4, side, side), scale=scale) + offset
    context = rng.normal(size=(batch, 7, 24), scale=scale) + offset
    arguments = [latents, np.linspace(1, 981, batch), context]
    if family == "sdxl":
        arguments += [rng.normal(size=(batch, 5)), rng.integers(0, 99, (batch, 6))]
    arguments = [paddle.to_tensor(a.astype("float32")) for a in arguments]
    return [*arguments, *[None] * (6 - len(arguments))]
