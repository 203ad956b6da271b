"""What a text encoder's `config.json` says of it beside its class. Imports no Paddle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sdbatch.models.config import ROBERTA_SERIES, integer, require, text_architecture

_SHORT = {
    "CLIPTextModel": "clip",
    "CLIPTextModelWithProjection": "clip",
    "BertModel": "bert",
    ROBERTA_SERIES: "xlm-roberta",
}
# Keys of XLM-R that change the network and have one supported value; absent means that value.
_ROBERTA_FIXED: Mapping[str, tuple[Any, ...]] = {
    "hidden_act": ("gelu",),
    "position_embedding_type": ("absolute",),
    "is_decoder": (False,),
    "pad_token_id": (1,),
}


@dataclass(frozen=True)
class TextShape:
    """Sizes that the rest of the pipeline must agree with.

    Attributes:
        width: of the states that the UNet reads.
        width_key: the key of the config that says it.
        layers: how many transformer layers can be left out.
        positions: the most tokens that can be read at once.
        words: rows of the table of tokens.
    """

    width: int
    width_key: str
    layers: int
    positions: int
    words: int

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> TextShape:
        """Read a text encoder's config.

        Raises:
            UnsupportedConfig: a size is missing, or a key asks for what is not implemented.
        """
        positions = integer(raw, "max_position_embeddings")
        width_key, layers = "hidden_size", integer(raw, "num_hidden_layers")
        if text_architecture(raw) == ROBERTA_SERIES:
            require(raw, _ROBERTA_FIXED)
            width_key, layers = "project_dim", layers - has_pre_transformation(raw)
            positions -= 2  # counted from behind the padding's id
        return cls(
            width=integer(raw, width_key),
            width_key=width_key,
            layers=layers,
            positions=positions,
            words=integer(raw, "vocab_size"),
        )


def has_pre_transformation(raw: Mapping[str, Any]) -> bool:
    """Whether the states are those before the last layer, as in AltDiffusion-m18."""
    return text_architecture(raw) == ROBERTA_SERIES and bool(raw.get("has_pre_transformation"))


def text_encoder_name(raw: Mapping[str, Any]) -> str:
    """A text encoder's name for records: `clip`, `bert` or `xlm-roberta`, else its class."""
    kind = text_architecture(raw)
    return _SHORT.get(kind, str(kind))
