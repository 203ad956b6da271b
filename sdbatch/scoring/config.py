"""A judge's `config.json`, read strictly. Imports no Paddle.

Keys that a tower's config lacks have transformers' defaults, which are not written to files by
every version. Reference: transformers `models/clip/configuration_clip.py` and
`models/chinese_clip/configuration_chinese_clip.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sdbatch.models.config import UnsupportedConfig, integer

ARCHITECTURES = {
    "clip": "CLIPModel",
    "chinese_clip": "ChineseCLIPModel",
    "safety": "StableDiffusionSafetyChecker",
}
"""Kind of judge -> class that its config names."""

_ACTIVATIONS = ("quick_gelu", "gelu")
_VISION = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "image_size": 224,
    "patch_size": 32,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
}
_CLIP_TEXT = {
    "vocab_size": 49408,
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "max_position_embeddings": 77,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
    "eos_token_id": 49407,
}
_BERT = {
    "vocab_size": 30522,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
}


@dataclass(frozen=True)
class VisionConfig:
    """Shape of a vision transformer that sees pictures of `image_size`, in square patches."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    image_size: int
    patch_size: int
    hidden_act: str
    layer_norm_eps: float

    @property
    def patches(self) -> int:
        """How many a picture has; what is left at the right and the bottom is not seen."""
        return (self.image_size // self.patch_size) ** 2


@dataclass(frozen=True)
class JudgeConfig:
    """A judge's towers.

    Attributes:
        vision: of the tower that reads pictures.
        text: config for `sdbatch.models.text.text_network`; the safety checker has none.
        projection: size of the space in which pictures and texts are compared.
    """

    vision: VisionConfig
    text: Mapping[str, Any] | None
    projection: int


def judge_config(raw: Mapping[str, Any], kind: str) -> JudgeConfig:
    """Read the config of a judge, whose `kind` is a key of `ARCHITECTURES`.

    Raises:
        UnsupportedConfig: naming the key, its value and what is supported.
    """
    _require_architecture(raw, kind)
    vision = _tower(raw, "vision_config", _VISION, {"num_channels": 3})
    projection = integer(raw, "projection_dim", 512)
    text = None
    if kind == "clip":
        text = _tower(raw, "text_config", _CLIP_TEXT, {})
        text |= {
            "architectures": ["CLIPTextModelWithProjection"],
            "projection_dim": projection,
        }
    elif kind == "chinese_clip":
        text = _tower(raw, "text_config", _BERT, {"position_embedding_type": "absolute"})
        text["architectures"] = ["BertModel"]
    if vision["image_size"] < vision["patch_size"]:
        raise UnsupportedConfig(
            f"vision_config.image_size={vision['image_size']}: expected at least one patch, "
            f"patch_size={vision['patch_size']}"
        )
    return JudgeConfig(VisionConfig(**vision), text, projection)


def _require_architecture(raw: Mapping[str, Any], kind: str) -> None:
    expected, named = ARCHITECTURES[kind], raw.get("architectures")
    if isinstance(named, list) and named:
        if named[0] != expected:
            raise UnsupportedConfig(f"architectures={named!r}: expected {expected}")
        return
    model_type = "chinese_clip" if kind == "chinese_clip" else "clip"
    if raw.get("model_type") != model_type:
        raise UnsupportedConfig(f"model_type={raw.get('model_type')!r}: expected {model_type!r}")


def _tower(
    raw: Mapping[str, Any], name: str, defaults: Mapping[str, Any], fixed: Mapping[str, Any]
) -> dict[str, Any]:
    """One tower's values, for the keys of `defaults`; `fixed` are the only ones supported."""
    # Where there are both, transformers takes the second one whole, with its defaults.
    given = raw.get(f"{name}_dict")
    given = raw.get(name) if given is None else given
    given = {} if given is None else given
    if not isinstance(given, Mapping):
        raise UnsupportedConfig(f"{name}={given!r}: expected an object")
    for key, value in fixed.items():
        if given.get(key, value) != value:
            raise UnsupportedConfig(f"{name}.{key}={given[key]!r}: only {value!r} is supported")
    try:
        found = {key: _value(given, key, default) for key, default in defaults.items()}
        if found["hidden_size"] % found["num_attention_heads"]:
            raise UnsupportedConfig(
                f"hidden_size={found['hidden_size']}: expected a multiple of "
                f"num_attention_heads={found['num_attention_heads']}"
            )
    except UnsupportedConfig as error:
        raise UnsupportedConfig(f"{name}.{error}") from error
    return found


def _value(given: Mapping[str, Any], key: str, default: Any) -> Any:
    if isinstance(default, int):
        return integer(given, key, default)
    value = given.get(key, default)
    if isinstance(default, str):
        if value not in _ACTIVATIONS:
            expected = " or ".join(_ACTIVATIONS)
            raise UnsupportedConfig(f"{key}={value!r}: expected {expected}")
    elif type(value) not in (int, float) or not 0 < value < 1:
        raise UnsupportedConfig(f"{key}={value!r}: expected a number between 0 and 1")
    return value
