"""The networks of SD 1.5, 2.1 and XL: the right number of weights, the right shapes out."""

import math

import paddle
import pytest

from sdbatch.models.config import UNetConfig, VAEConfig
from sdbatch.models.unet import UNet
from sdbatch.models.vae import VAE
from sdbatch.weights.load import build
from tests.models.configs import SD15_UNET, SD15_VAE, SD21_UNET, SDXL_UNET, SDXL_VAE

NARROW = {"norm_num_groups": 4, "cross_attention_dim": 6, "sample_size": 8}
SD1_LIKE = {**SD15_UNET, **NARROW, "block_out_channels": [8, 8, 16, 16], "attention_head_dim": 4}
SD2_LIKE = {
    **SD21_UNET,
    **NARROW,
    "block_out_channels": [8, 8, 16, 16],
    "attention_head_dim": [1, 2, 4, 8],
}
SDXL_LIKE = {
    **SDXL_UNET,
    **NARROW,
    "block_out_channels": [8, 8, 16],
    "attention_head_dim": [1, 2, 4],
    "transformer_layers_per_block": [1, 2, 3],
    "addition_time_embed_dim": 4,
    "projection_class_embeddings_input_dim": 5 + 6 * 4,
}


def weights(layer) -> int:
    return sum(math.prod(parameter.shape) for parameter in layer.parameters())


@pytest.mark.parametrize(
    ("config", "expected"),
    [(SD15_UNET, 859_520_964), (SD21_UNET, 865_910_724), (SDXL_UNET, 2_567_463_684)],
    ids=["sd15", "sd21", "sdxl"],
)
def test_a_full_size_unet_has_as_many_weights_as_published(config, expected):
    unet = build(lambda: UNet(UNetConfig.from_dict(config)), "float32")
    assert weights(unet) == expected
    assert not any(parameter._is_initialized() for parameter in unet.parameters())


@pytest.mark.parametrize("config", [SD15_VAE, SDXL_VAE], ids=["sd15", "sdxl"])
def test_a_full_size_vae_has_as_many_weights_as_published(config):
    vae = build(lambda: VAE(VAEConfig.from_dict(config)), "float32")
    assert weights(vae) == 83_653_863


@pytest.mark.parametrize(("height", "width"), [(8, 8), (16, 24), (9, 13)])
@pytest.mark.parametrize(
    "config", [SD1_LIKE, SD2_LIKE, SDXL_LIKE], ids=["sd1_like", "sd2_like", "sdxl_like"]
)
@paddle.no_grad()
def test_a_unet_returns_the_shape_of_its_latents(config, height, width):
    unet = UNet(UNetConfig.from_dict(config))
    added = {}
    if unet.add_embedding is not None:
        added = {"pooled": paddle.randn([2, 5]), "time_ids": paddle.ones([2, 6])}
    latents = paddle.randn([2, 4, height, width])
    out = unet(latents, paddle.to_tensor([999, 1]), paddle.randn([2, 7, 6]), **added)
    assert out.shape == [2, 4, height, width]
    assert out.dtype == paddle.float32
    assert bool(paddle.isfinite(out).all())


@paddle.no_grad()
def test_a_vae_shrinks_and_enlarges_by_its_downscale():
    vae = VAE(
        VAEConfig.from_dict({**SD15_VAE, "norm_num_groups": 4, "block_out_channels": [4, 8, 8, 8]})
    )
    mean, log_variance = vae.encode(paddle.randn([1, 3, 32, 48]))
    assert mean.shape == log_variance.shape == [1, 4, 4, 6]
    assert vae.decode(mean).shape == [1, 3, 32, 48]


@pytest.mark.parametrize("absent", ["use_quant_conv", "use_post_quant_conv"])
@paddle.no_grad()
def test_a_vae_without_its_1x1_convolutions(absent):
    raw = {**SD15_VAE, "norm_num_groups": 4, "block_out_channels": [4, 4, 4, 4], absent: False}
    vae = VAE(VAEConfig.from_dict(raw))
    assert vae.decode(vae.encode(paddle.randn([1, 3, 16, 16]))[0]).shape == [1, 3, 16, 16]
