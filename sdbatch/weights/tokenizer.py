"""Tokenizers of a checkpoint folder, from PaddleNLP, as a plain function from texts to ids."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from paddlenlp.transformers import BertTokenizer, CLIPTokenizer

from sdbatch.errors import UserError
from sdbatch.models.text import Tokenize
from sdbatch.weights.checkpoint import read_json

_FILES = {"CLIPTextModel": ("vocab.json", "merges.txt"), "BertModel": ("vocab.txt",)}


def open_tokenizer(folder: Path, kind: str, max_positions: int) -> Tokenize:
    """The tokenizer that belongs to a text encoder of `kind`.

    Texts are padded and cut to the tokenizer's `model_max_length` (at most `max_positions`, the
    rows of the encoder's position table).

    Raises:
        UserError: a vocabulary file is missing.
    """
    files = [folder / name for name in _FILES[kind]]
    for path in files:
        if not path.is_file():
            raise UserError(f"{path}: missing; expected the vocabulary of a {kind}")
    # Where the two differ transformers follows the second: SD 2.x pads with "!", which only
    # special_tokens_map.json says.
    raw = _settings(folder / "tokenizer_config.json")
    raw |= _settings(folder / "special_tokens_map.json")
    length = min(int(raw.get("model_max_length", max_positions)), max_positions)
    if kind == "CLIPTextModel":
        tokenizer = CLIPTokenizer(
            *map(str, files), **{k: _token(raw[k]) for k in _SPECIAL if k in raw}
        )
        # A prompt's own "!" is the padding token too where that is "!", as in transformers.
        tokenizer.add_special_tokens({"pad_token": tokenizer.pad_token})
        # Left alone, PaddleNLP puts spaces around Chinese characters unless ftfy is installed.
        # transformers only composes them (NFC), and its ids are the ones that models know.
        tokenizer.fix_text = partial(unicodedata.normalize, "NFC")
    else:
        names = ("do_lower_case", "tokenize_chinese_chars", "strip_accents")
        tokenizer = BertTokenizer(str(files[0]), **{k: raw[k] for k in names if k in raw})

    def tokenize(texts: Sequence[str]) -> list[list[int]]:
        encoded = tokenizer(list(texts), padding="max_length", truncation=True, max_length=length)
        return encoded["input_ids"]

    return tokenize


def _settings(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


_SPECIAL = ("bos_token", "eos_token", "unk_token", "pad_token")


def _token(value: str | dict) -> str:
    """A special token's text: older configs store it as an object with its stripping rules."""
    return value["content"] if isinstance(value, dict) else value
