"""What a Marian folder's configs say: the network's sizes, and how a translation is looked for.

Key names and defaults: transformers 4.46 `models/marian/configuration_marian.py` and
`generation/configuration_utils.py`. A key that changes the outcome and is not implemented here is
refused by name. Imports no Paddle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdbatch.errors import UserError, one_line
from sdbatch.models.config import text_architecture

ACTIVATIONS = ("swish", "silu", "gelu", "relu")


@dataclass(frozen=True)
class MarianConfig:
    """Sizes of the network, as `config.json` names them."""

    vocab_size: int
    d_model: int
    encoder_layers: int
    decoder_layers: int
    encoder_attention_heads: int
    decoder_attention_heads: int
    encoder_ffn_dim: int
    decoder_ffn_dim: int
    max_position_embeddings: int
    activation_function: str
    scale_embedding: bool


@dataclass(frozen=True)
class SearchConfig:
    """How a translation is looked for.

    Attributes:
        start, eos, pad: ids that begin, end and fill a translation.
        forced_eos: the id that a translation of `max_length` ends with, or None.
        barred: ids that are never taken.
        num_beams: how many beginnings are followed; 1 takes the likeliest token each time.
        max_length: of a translation with its start.
        length_penalty: a translation's score is divided by its length to this power.
        early_stopping: stop as soon as `num_beams` translations have ended (True), when no other
            is likely to be better (False), or can be ("never").
        renormalize: scores are probabilities again after ids were barred.
    """

    start: int
    eos: int
    pad: int
    forced_eos: int | None
    barred: tuple[int, ...]
    num_beams: int
    max_length: int
    length_penalty: float
    early_stopping: bool | str
    renormalize: bool


@dataclass(frozen=True)
class Settings:
    """The keys of a JSON file; what is wrong with one is said with the file's name."""

    path: Path
    raw: Mapping[str, Any]

    def get(self, key: str, default: Any = None) -> Any:
        """A value; `null` is as if the key were not there."""
        value = self.raw.get(key)
        return default if value is None else value

    def refuse(self, key: str, expected: str, found: object) -> UserError:
        """The error to raise."""
        return UserError(f"{self.path}: {key}: expected {expected}, found {one_line(found)[:100]}")

    def integer(self, key: str, default: Any, least: int = 1, below: int = 1 << 31) -> int:
        """An integer in a range.

        Raises:
            UserError: another value.
        """
        value = self.get(key, default)
        if type(value) is not int or not least <= value < below:
            raise self.refuse(key, f"an integer from {least} to {below - 1}", value)
        return value

    def flag(self, key: str, default: bool) -> bool:
        """True or false; errors as `integer`."""
        value = self.get(key, default)
        if type(value) is not bool:
            raise self.refuse(key, "true or false", value)
        return value

    def require(self, fixed: Mapping[str, tuple[Any, ...]]) -> None:
        """Refuse keys whose value is none of those that are implemented; the first is the default.

        Raises:
            UserError: naming the key.
        """
        for key, allowed in fixed.items():
            value = self.get(key, allowed[0])
            if value not in allowed:
                raise self.refuse(key, " or ".join(map(repr, allowed)), repr(value))


def network_config(settings: Settings) -> MarianConfig:
    """The network's sizes.

    Args:
        settings: of `config.json`.

    Raises:
        UserError: another architecture, a size out of its range, or a variant of the network that
            is not implemented.
    """
    kind = text_architecture(settings.raw) or settings.get("model_type")
    if kind not in ("MarianMTModel", "marian"):
        raise settings.refuse("architectures", "MarianMTModel", kind)
    settings.require(_FIXED)
    vocab_size = settings.integer("vocab_size", 58101)
    settings.require({"decoder_vocab_size": (vocab_size,)})
    d_model = settings.integer("d_model", 1024)
    sizes = {key: settings.integer(key, default) for key, default in _SIZES.items()}
    for key in ("encoder_attention_heads", "decoder_attention_heads"):
        if d_model % sizes[key]:
            raise settings.refuse(key, f"a divisor of d_model={d_model}", sizes[key])
    activation = settings.get("activation_function", "gelu")
    if activation not in ACTIVATIONS:
        raise settings.refuse("activation_function", f"one of {', '.join(ACTIVATIONS)}", activation)
    return MarianConfig(
        vocab_size,
        d_model,
        **sizes,
        activation_function=activation,
        scale_embedding=settings.flag("scale_embedding", False),
    )


def search_config(network: Settings, generation: Settings | None) -> SearchConfig:
    """How translations are looked for.

    Args:
        network: of `config.json`, which older folders keep these keys in too.
        generation: of `generation_config.json`, which then counts alone, as in transformers; what
            it lacks has the defaults of a `GenerationConfig`, but for the special ids.

    Raises:
        UserError: a value out of its range, or a way of looking that is not implemented.
    """
    used = generation or network
    used.require(_SEARCH_FIXED)
    size = network.integer("vocab_size", 58101)

    def special(key: str, default: int) -> int:
        where = used if used.get(key) is not None else network
        return where.integer(key, default, least=0, below=size)

    eos, pad = special("eos_token_id", 0), special("pad_token_id", size - 1)
    # Only a MarianConfig has an end that is forced by default, and `null` there takes it away.
    forced = used.raw.get("forced_eos_token_id", None if generation else 0)
    if forced is not None:
        forced = used.integer("forced_eos_token_id", 0, least=0, below=size)
    positions = network.integer("max_position_embeddings", 1024)
    longest = used.integer("max_length", 20, least=2)
    if used.get("max_new_tokens") is not None:
        longest = used.integer("max_new_tokens", 0) + 1
    stopping = used.get("early_stopping", False)
    return SearchConfig(
        start=special("decoder_start_token_id", pad),
        eos=eos,
        pad=pad,
        forced_eos=forced,
        barred=tuple(number for number in _barred(used, size) if number != eos),
        num_beams=used.integer("num_beams", 1, below=size // 2),
        max_length=min(longest, positions + 1),  # the last token is never read
        length_penalty=_number(used, "length_penalty", 1.0),
        early_stopping=stopping if stopping == "never" else bool(stopping),
        renormalize=used.flag("renormalize_logits", False),
    )


def _barred(settings: Settings, size: int) -> list[int]:
    """The ids in `bad_words_ids`, each a word of one token."""
    words = settings.get("bad_words_ids", [])
    for word in words if isinstance(words, list) else [words]:
        one = isinstance(word, list) and len(word) == 1 and type(word[0]) is int
        if not one or not 0 <= word[0] < size:
            raise settings.refuse("bad_words_ids", f"lists of one id below {size}", word)
    return [word[0] for word in words]


def _number(settings: Settings, key: str, default: float) -> float:
    value = settings.get(key, default)
    if type(value) not in (int, float) or not -100 < value < 100:
        raise settings.refuse(key, "a number", value)
    return float(value)


_SIZES = {
    "encoder_layers": 12,
    "decoder_layers": 12,
    "encoder_attention_heads": 16,
    "decoder_attention_heads": 16,
    "encoder_ffn_dim": 4096,
    "decoder_ffn_dim": 4096,
    "max_position_embeddings": 1024,
}
# What transformers' Marian does not implement either, but old converters wrote down, and tables
# that are not shared, which come with two vocabularies.
_FIXED = {
    "normalize_before": (False,),
    "normalize_embedding": (False,),
    "add_final_layer_norm": (False,),
    "static_position_embeddings": (True,),
    "tie_word_embeddings": (True,),
    "share_encoder_decoder_embeddings": (True,),
    "is_encoder_decoder": (True,),
}
_SEARCH_FIXED = {
    "early_stopping": (False, True, "never"),
    "do_sample": (False,),
    "num_beam_groups": (1,),
    "diversity_penalty": (0.0,),
    "repetition_penalty": (1.0,),
    "encoder_repetition_penalty": (1.0,),
    "no_repeat_ngram_size": (0,),
    "encoder_no_repeat_ngram_size": (0,),
    "min_length": (0, 1),
    "min_new_tokens": (None, 0),
    "forced_bos_token_id": (None,),
    "forced_decoder_ids": (None,),
    "suppress_tokens": (None, []),
    "begin_suppress_tokens": (None, []),
    "exponential_decay_length_penalty": (None,),
    "sequence_bias": (None,),
    "force_words_ids": (None,),
    "constraints": (None,),
    "penalty_alpha": (None, 0.0),
    "guidance_scale": (None, 1.0),
    "stop_strings": (None,),
    "watermarking_config": (None,),
}
