"""Published configs are read as they are meant; what is not implemented is refused by name."""

import pytest

from sdbatch.models.config import UNetConfig, UnsupportedConfig, VAEConfig
from tests.models.configs import SD15_UNET, SD15_VAE, SD21_UNET, SDXL_UNET, SDXL_VAE


class TestUNet:
    def test_sd15(self):
        config = UNetConfig.from_dict(SD15_UNET)
        assert config.block_out_channels == (320, 640, 1280, 1280)
        assert config.heads == (8, 8, 8, 8)  # of 40, 80, 160 and 160 channels
        assert config.layers_per_block == (2, 2, 2, 2)
        assert config.cross_attention_dim == (768, 768, 768, 768)
        assert config.transformer_layers == (1, 1, 1, 1)
        assert config.sample_size == 64
        assert config.norm_eps == 1e-5
        assert config.flip_sin_to_cos
        assert not config.use_linear_projection
        assert not config.upcast_attention
        assert config.addition_time_embed_dim is None

    def test_sd21(self):
        config = UNetConfig.from_dict(SD21_UNET)
        assert config.heads == (5, 10, 20, 20)  # of 64 channels each
        assert config.cross_attention_dim == (1024,) * 4
        assert config.sample_size == 96
        assert config.use_linear_projection
        assert config.upcast_attention

    def test_sdxl(self):
        config = UNetConfig.from_dict(SDXL_UNET)
        assert config.block_out_channels == (320, 640, 1280)
        assert config.heads == (5, 10, 20)
        assert config.transformer_layers == (1, 2, 10)
        assert config.cross_attention_dim == (2048,) * 3
        assert config.addition_time_embed_dim == 256
        assert config.projection_class_embeddings_input_dim == 2816
        assert config.use_linear_projection
        assert not config.upcast_attention

    def test_an_empty_config_is_the_default_of_diffusers(self):
        config = UNetConfig.from_dict({})
        assert config.block_out_channels == (320, 640, 1280, 1280)
        assert config.cross_attention_dim == (1280,) * 4
        assert config.heads == (8,) * 4

    def test_num_attention_heads_wins_over_the_misnomer(self):
        raw = {**SD15_UNET, "num_attention_heads": [1, 2, 4, 8]}
        assert UNetConfig.from_dict(raw).heads == (1, 2, 4, 8)

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("act_fn", "gelu"),
            ("addition_embed_type", "text"),
            ("attention_type", "gated"),
            ("center_input_sample", True),
            ("class_embed_type", "timestep"),
            ("class_embeddings_concat", True),
            ("conv_in_kernel", 1),
            ("conv_out_kernel", 1),
            ("cross_attention_norm", "layer_norm"),
            ("downsample_padding", 0),
            ("dual_cross_attention", True),
            ("encoder_hid_dim", 1024),
            ("encoder_hid_dim_type", "text_proj"),
            ("mid_block_only_cross_attention", True),
            ("mid_block_scale_factor", 2),
            ("mid_block_type", "UNetMidBlock2DSimpleCrossAttn"),
            ("num_class_embeds", 1000),
            ("only_cross_attention", True),
            ("only_cross_attention", [True, True, True, False]),
            ("resnet_out_scale_factor", 1.414),
            ("resnet_skip_time_act", True),
            ("resnet_time_scale_shift", "scale_shift"),
            ("reverse_transformer_layers_per_block", [[1], [2]]),
            ("time_embedding_act_fn", "silu"),
            ("time_embedding_dim", 512),
            ("time_embedding_type", "fourier"),
            ("timestep_post_act", "silu"),
            ("norm_num_groups", None),
            ("sample_size", [64, 96]),
            ("in_channels", "4"),
            ("block_out_channels", 320),
            ("attention_head_dim", None),
            ("attention_head_dim", [5, 10, 20]),
            ("layers_per_block", [2, 2]),
            ("cross_attention_dim", [768, 768, 768, None]),
            ("transformer_layers_per_block", [1, 2, [3], 4]),
        ],
    )
    def test_what_is_not_implemented_is_refused_by_key_and_value(self, key, value):
        with pytest.raises(UnsupportedConfig) as caught:
            UNetConfig.from_dict({**SD15_UNET, key: value})
        assert str(caught.value).startswith(f"{key}={value!r}: ")

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("down_block_types", ["AttnDownBlock2D"] * 4),
            ("up_block_types", ["SimpleCrossAttnUpBlock2D"] * 4),
        ],
    )
    def test_other_blocks_are_refused_naming_the_known_ones(self, key, value):
        with pytest.raises(UnsupportedConfig) as caught:
            UNetConfig.from_dict({**SD15_UNET, key: value})
        assert f"{key} has {value[0]!r}: expected one of CrossAttn" in str(caught.value)

    @pytest.mark.parametrize("key", ["block_out_channels", "down_block_types", "up_block_types"])
    def test_lists_of_different_lengths_are_refused(self, key):
        with pytest.raises(UnsupportedConfig, match="expected the same number"):
            UNetConfig.from_dict({**SD15_UNET, key: SD15_UNET[key][:3]})

    @pytest.mark.parametrize(
        "key", ["addition_time_embed_dim", "projection_class_embeddings_input_dim"]
    )
    def test_added_embeddings_need_their_sizes(self, key):
        with pytest.raises(UnsupportedConfig, match=f"{key}=None: expected a positive integer"):
            UNetConfig.from_dict({**SDXL_UNET, key: None})


class TestVAE:
    def test_sd15(self):
        config = VAEConfig.from_dict(SD15_VAE)
        assert config.block_out_channels == (128, 256, 512, 512)
        assert config.scaling_factor == 0.18215
        assert config.downscale == 8
        assert config.use_quant_conv and config.use_post_quant_conv
        assert not config.force_upcast

    def test_sdxl(self):
        config = VAEConfig.from_dict(SDXL_VAE)
        assert config.scaling_factor == 0.13025
        assert config.force_upcast

    def test_downscale_is_two_to_the_blocks_but_one(self):
        three = {key: SD15_VAE[key][:3] for key in ("block_out_channels", "down_block_types")}
        raw = {**SD15_VAE, **three, "up_block_types": ["UpDecoderBlock2D"] * 3}
        assert VAEConfig.from_dict(raw).downscale == 4

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("act_fn", "gelu"),
            ("latents_mean", [0.0] * 4),
            ("latents_std", [1.0] * 4),
            ("shift_factor", 0.1159),
            ("norm_num_groups", None),
            ("layers_per_block", [2, 2, 2, 2]),
            ("block_out_channels", 128),
        ],
    )
    def test_what_is_not_implemented_is_refused_by_key_and_value(self, key, value):
        with pytest.raises(UnsupportedConfig) as caught:
            VAEConfig.from_dict({**SD15_VAE, key: value})
        assert str(caught.value).startswith(f"{key}={value!r}: ")

    @pytest.mark.parametrize("key", ["down_block_types", "up_block_types"])
    def test_other_or_fewer_blocks_are_refused(self, key):
        with pytest.raises(UnsupportedConfig, match=f"{key} has 'AttnBlock': expected one of"):
            VAEConfig.from_dict({**SD15_VAE, key: ["AttnBlock"] * 4})
        with pytest.raises(UnsupportedConfig, match=f"{key} has 3 entries, block_out_channels 4"):
            VAEConfig.from_dict({**SD15_VAE, key: SD15_VAE[key][:3]})
