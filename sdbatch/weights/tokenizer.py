"""Tokenizers of a checkpoint folder, from PaddleNLP, as a plain function from texts to ids."""

from __future__ import annotations

import tempfile
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from paddlenlp.transformers import BertTokenizer, CLIPTokenizer

from sdbatch.models.text import Tokenize
from sdbatch.weights.checkpoint import TokenizerFiles, read_json
from sdbatch.weights.embeddings import Embedding, extend_tokenizer
from sdbatch.weights.vocabulary import write_vocabulary


def open_tokenizer(
    given: TokenizerFiles,
    kind: str,
    max_positions: int,
    embeddings: Sequence[Embedding] = (),
    vocab_size: int = 0,
) -> Tokenize:
    """The tokenizer that belongs to a text encoder of `kind`.

    Texts are padded and cut to the tokenizer's `model_max_length` (at most `max_positions`, the
    rows of the encoder's position table).

    Args:
        given: its files.
        kind: the text encoder's architecture.
        max_positions: of the text encoder.
        embeddings: new tokens, which follow the vocabulary in this order.
        vocab_size: of the text encoder, for new tokens.

    Raises:
        UserError: a vocabulary file is missing, or a token cannot be added.
    """
    # Where the two differ transformers follows the second: SD 2.x pads with "!", which only
    # special_tokens_map.json says.
    raw = _settings(given.files.get("tokenizer_config.json"))
    raw |= _settings(given.files.get("special_tokens_map.json"))
    length = min(int(raw.get("model_max_length", max_positions)), max_positions)
    with tempfile.TemporaryDirectory() as folder:  # PaddleNLP reads files, and only now
        files = [str(path) for path in write_vocabulary(given, kind, Path(folder))]
        if kind == "BertModel":
            names = ("do_lower_case", "tokenize_chinese_chars", "strip_accents")
            tokenizer = BertTokenizer(*files, **{k: raw[k] for k in names if k in raw})
        else:
            tokenizer = CLIPTokenizer(*files, **{k: _token(raw[k]) for k in _SPECIAL if k in raw})
    if kind != "BertModel":
        # A prompt's own "!" is the padding token too where that is "!", as in transformers.
        tokens = ("bos_token", "eos_token", "pad_token")
        tokenizer.add_special_tokens({name: getattr(tokenizer, name) for name in tokens})
        # Left alone, PaddleNLP puts spaces around Chinese characters unless ftfy is installed.
        # transformers only composes them (NFC), and its ids are the ones that models know.
        tokenizer.fix_text = _composed
        extend_tokenizer(tokenizer, embeddings, vocab_size)

    def tokenize(texts: Sequence[str]) -> list[list[int]]:
        encoded = tokenizer(list(texts), padding="max_length", truncation=True, max_length=length)
        return encoded["input_ids"]

    return tokenize


def _composed(text: str) -> str:
    """In NFC and small letters, each by itself: Python alone would end Greek words in another s."""
    return "".join(map(str.lower, unicodedata.normalize("NFC", text)))


def _settings(path: Path | None) -> dict[str, Any]:
    return {} if path is None else read_json(path)


_SPECIAL = ("bos_token", "eos_token", "unk_token", "pad_token")


def _token(value: str | dict) -> str:
    """A special token's text: older configs store it as an object with its stripping rules."""
    return value["content"] if isinstance(value, dict) else value
