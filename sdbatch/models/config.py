"""A checkpoint's `config.json`, read strictly into frozen dataclasses.

A key that changes the network and that these layers do not implement is refused by name: a
network that is silently a little different makes pictures that are silently a little wrong.
Key names and defaults: diffusers `models/unets/unet_2d_condition.py` and
`models/autoencoders/autoencoder_kl.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class UnsupportedConfig(ValueError):
    """A `config.json` asks for something these layers do not implement."""


@dataclass(frozen=True)
class UNetConfig:
    """Shape of a UNet2DConditionModel, per block where diffusers allows it."""

    in_channels: int
    out_channels: int
    sample_size: int
    block_out_channels: tuple[int, ...]
    down_block_types: tuple[str, ...]
    up_block_types: tuple[str, ...]
    layers_per_block: tuple[int, ...]
    heads: tuple[int, ...]
    cross_attention_dim: tuple[int, ...]
    transformer_layers: tuple[int, ...]
    norm_num_groups: int
    norm_eps: float
    flip_sin_to_cos: bool
    freq_shift: float
    use_linear_projection: bool
    upcast_attention: bool
    time_cond_proj_dim: int | None
    addition_time_embed_dim: int | None
    projection_class_embeddings_input_dim: int | None

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> UNetConfig:
        """Read a diffusers UNet config.

        Raises:
            UnsupportedConfig: naming the key, its value and what is supported.
        """
        require(raw, _UNET_FIXED)
        blocks = _integers(raw, "block_out_channels", (320, 640, 1280, 1280))
        down = tuple(raw.get("down_block_types", ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",)))
        up = tuple(raw.get("up_block_types", ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3))
        _known_blocks("down_block_types", down, ("CrossAttnDownBlock2D", "DownBlock2D"))
        _known_blocks("up_block_types", up, ("CrossAttnUpBlock2D", "UpBlock2D"))
        if len(down) != len(blocks) or len(up) != len(blocks):
            raise UnsupportedConfig(
                f"block_out_channels has {len(blocks)} entries, down_block_types {len(down)}, "
                f"up_block_types {len(up)}: expected the same number"
            )
        added = raw.get("addition_embed_type")
        if added not in (None, "text_time"):
            raise UnsupportedConfig(f"addition_embed_type={added!r}: expected null or 'text_time'")
        # "attention_head_dim" holds the number of heads in SD 1.x, 2.x and XL: a misnomer that
        # diffusers keeps for old checkpoints. "num_attention_heads" wins where it is given.
        given = raw.get("num_attention_heads") is not None
        heads = "num_attention_heads" if given else "attention_head_dim"
        return cls(
            in_channels=integer(raw, "in_channels", 4),
            out_channels=integer(raw, "out_channels", 4),
            sample_size=(64 if raw.get("sample_size") is None else integer(raw, "sample_size")),
            block_out_channels=blocks,
            down_block_types=down,
            up_block_types=up,
            layers_per_block=_per_block(raw, "layers_per_block", 2, len(blocks)),
            heads=_per_block(raw, heads, 8, len(blocks)),
            cross_attention_dim=_per_block(raw, "cross_attention_dim", 1280, len(blocks)),
            transformer_layers=_per_block(raw, "transformer_layers_per_block", 1, len(blocks)),
            norm_num_groups=integer(raw, "norm_num_groups", 32),
            norm_eps=raw.get("norm_eps", 1e-5),
            flip_sin_to_cos=raw.get("flip_sin_to_cos", True),
            freq_shift=raw.get("freq_shift", 0),
            use_linear_projection=raw.get("use_linear_projection", False),
            upcast_attention=bool(raw.get("upcast_attention", False)),
            time_cond_proj_dim=(
                None
                if raw.get("time_cond_proj_dim") is None
                else integer(raw, "time_cond_proj_dim")
            ),
            addition_time_embed_dim=integer(raw, "addition_time_embed_dim") if added else None,
            projection_class_embeddings_input_dim=(
                integer(raw, "projection_class_embeddings_input_dim") if added else None
            ),
        )


@dataclass(frozen=True)
class VAEConfig:
    """Shape of an AutoencoderKL. `scaling_factor` multiplies latents after encoding."""

    in_channels: int
    out_channels: int
    latent_channels: int
    block_out_channels: tuple[int, ...]
    layers_per_block: int
    norm_num_groups: int
    scaling_factor: float
    mid_block_add_attention: bool
    use_quant_conv: bool
    use_post_quant_conv: bool
    force_upcast: bool

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> VAEConfig:
        """Read a diffusers AutoencoderKL config.

        Raises:
            UnsupportedConfig: naming the key, its value and what is supported.
        """
        require(raw, _VAE_FIXED)
        blocks = _integers(raw, "block_out_channels", (64,))
        for key, kind in (
            ("down_block_types", "DownEncoderBlock2D"),
            ("up_block_types", "UpDecoderBlock2D"),
        ):
            found = raw.get(key, (kind,) * len(blocks))
            _known_blocks(key, found, (kind,))
            if len(found) != len(blocks):
                raise UnsupportedConfig(
                    f"{key} has {len(found)} entries, block_out_channels {len(blocks)}: "
                    "expected the same number"
                )
        return cls(
            in_channels=integer(raw, "in_channels", 3),
            out_channels=integer(raw, "out_channels", 3),
            latent_channels=integer(raw, "latent_channels", 4),
            block_out_channels=blocks,
            layers_per_block=integer(raw, "layers_per_block", 1),
            norm_num_groups=integer(raw, "norm_num_groups", 32),
            scaling_factor=raw.get("scaling_factor", 0.18215),
            mid_block_add_attention=raw.get("mid_block_add_attention", True),
            use_quant_conv=raw.get("use_quant_conv", True),
            use_post_quant_conv=raw.get("use_post_quant_conv", True),
            force_upcast=raw.get("force_upcast", False),
        )

    @property
    def downscale(self) -> int:
        """Pixels per latent cell along one side: 2 ** (blocks - 1)."""
        return 2 ** (len(self.block_out_channels) - 1)


# Keys that change the network and have one supported value; absent means that value.
_UNET_FIXED: Mapping[str, tuple[Any, ...]] = {
    "act_fn": ("silu", "swish"),
    "attention_type": ("default",),
    "center_input_sample": (False,),
    "class_embed_type": (None,),
    "class_embeddings_concat": (False,),
    "conv_in_kernel": (3,),
    "conv_out_kernel": (3,),
    "cross_attention_norm": (None,),
    "downsample_padding": (1,),
    "dual_cross_attention": (False,),
    "encoder_hid_dim": (None,),
    "encoder_hid_dim_type": (None,),
    "mid_block_only_cross_attention": (None, False),
    "mid_block_scale_factor": (1,),
    "mid_block_type": ("UNetMidBlock2DCrossAttn",),
    "num_class_embeds": (None,),
    "only_cross_attention": (False,),
    "resnet_out_scale_factor": (1.0,),
    "resnet_skip_time_act": (False,),
    "resnet_time_scale_shift": ("default",),
    "reverse_transformer_layers_per_block": (None,),
    "time_embedding_act_fn": (None,),
    "time_embedding_dim": (None,),
    "time_embedding_type": ("positional",),
    "timestep_post_act": (None,),
}
_VAE_FIXED: Mapping[str, tuple[Any, ...]] = {
    "act_fn": ("silu", "swish"),
    "latents_mean": (None,),
    "latents_std": (None,),
    "shift_factor": (None, 0, 0.0),
}


def text_architecture(raw: Mapping[str, Any]) -> str | None:
    """The class of a text encoder, from its config's `architectures` or `model_type`."""
    named = raw.get("architectures")
    if isinstance(named, list) and named:
        return str(named[0])
    return _TEXT_CLASSES.get(raw.get("model_type"))


ROBERTA_SERIES = "RobertaSeriesModelWithTransformation"
"""What diffusers calls the text encoder of AltDiffusion."""

_TEXT_CLASSES = {
    "clip_text_model": "CLIPTextModel",
    "bert": "BertModel",
    "xlm-roberta": ROBERTA_SERIES,
    "roberta_series": ROBERTA_SERIES,
}


def require(raw: Mapping[str, Any], fixed: Mapping[str, tuple[Any, ...]]) -> None:
    """Refuse values that are not implemented; `fixed` has those that are, first the default.

    Raises:
        UnsupportedConfig: naming the key, its value and what is supported.
    """
    for key, allowed in fixed.items():
        value = raw.get(key, allowed[0])
        if value not in allowed:
            raise UnsupportedConfig(f"{key}={value!r}: only {allowed[0]!r} is supported")


def _known_blocks(key: str, found: tuple[str, ...], allowed: tuple[str, ...]) -> None:
    for name in found:
        if name not in allowed:
            raise UnsupportedConfig(f"{key} has {name!r}: expected one of {', '.join(allowed)}")


def _per_block(raw: Mapping[str, Any], key: str, default: int, blocks: int) -> tuple[int, ...]:
    """One integer per block, from a scalar or a list of as many."""
    value = raw.get(key, default)
    if _is_integer(value):
        return (value,) * blocks
    if not isinstance(value, (list, tuple)) or len(value) != blocks:
        raise UnsupportedConfig(f"{key}={value!r}: expected an integer or {blocks} integers")
    return _integers(raw, key, ())


def _integers(raw: Mapping[str, Any], key: str, default: tuple[int, ...]) -> tuple[int, ...]:
    value = raw.get(key, default)
    if not isinstance(value, (list, tuple)) or not all(map(_is_integer, value)):
        raise UnsupportedConfig(f"{key}={value!r}: expected a list of positive integers")
    return tuple(value)


def integer(raw: Mapping[str, Any], key: str, default: int | None = None) -> int:
    """A positive integer of a config.

    Raises:
        UnsupportedConfig: missing without a default, or something else.
    """
    value = raw.get(key, default)
    if not _is_integer(value):
        raise UnsupportedConfig(f"{key}={value!r}: expected a positive integer")
    return value


def _is_integer(value: Any) -> bool:
    return type(value) is int and value > 0
