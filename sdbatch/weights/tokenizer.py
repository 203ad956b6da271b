"""Tokenizers of a checkpoint's files, with the settings that lie beside them. Imports no Paddle."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

from sdbatch.errors import UserError
from sdbatch.text.bpe import ClipVocabulary, clip_words
from sdbatch.text.tokens import Tokenizer
from sdbatch.text.wordpiece import BertVocabulary, bert_words
from sdbatch.weights.checkpoint import TokenizerFiles, read_json
from sdbatch.weights.embeddings import Embedding, new_words
from sdbatch.weights.vocabulary import bert_vocabulary, clip_vocabulary

_END = "<|endoftext|>"
_CLIP_SPECIAL = {
    "bos_token": "<|startoftext|>",
    "eos_token": _END,
    "unk_token": _END,
    "pad_token": _END,
}
_BERT_SPECIAL = {
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}


def open_tokenizer(
    given: TokenizerFiles,
    kind: str,
    max_positions: int,
    embeddings: Sequence[Embedding] = (),
    vocab_size: int = 0,
) -> Tokenizer:
    """The tokenizer that belongs to a text encoder of `kind`.

    Its length is its `model_max_length`, at most `max_positions`, the rows of the encoder's
    position table.

    Args:
        given: its files.
        kind: the text encoder's architecture.
        max_positions: of the text encoder.
        embeddings: new tokens, which follow the vocabulary in this order.
        vocab_size: of the text encoder, for new tokens.

    Raises:
        UserError: a vocabulary file is missing or malformed, or a token cannot be added.
    """
    # Where the two differ transformers follows the second: SD 2.x pads with "!", which only
    # special_tokens_map.json says.
    raw = _settings(given.files.get("tokenizer_config.json"))
    raw |= _settings(given.files.get("special_tokens_map.json"))
    length = min(int(raw.get("model_max_length", max_positions)), max_positions)
    if length < 3:
        raise UserError(
            f"{given.folder}: model_max_length: expected at least 3 tokens, found {length}"
        )
    if kind == "BertModel":
        return _bert(given, raw, length)
    return _clip(given, raw, length, embeddings, vocab_size)


def _clip(
    given: TokenizerFiles,
    raw: Mapping[str, Any],
    length: int,
    embeddings: Sequence[Embedding],
    vocab_size: int,
) -> Tokenizer:
    ids, merges = clip_vocabulary(given)
    texts = _special_texts(given, raw, _CLIP_SPECIAL, ids)
    normalized = _special_tokens(raw)
    vocabulary = ClipVocabulary(
        ids,
        merges,
        unknown=ids[texts["unk_token"]],
        as_written={text: ids[text] for text, found in normalized.items() if not found},
        normalized={text: (ids[text],) for text, found in normalized.items() if found}
        | new_words(embeddings, ids, vocab_size),
    )
    bos, eos, pad = (ids[texts[key]] for key in ("bos_token", "eos_token", "pad_token"))
    return Tokenizer(clip_words(vocabulary), bos, eos, pad, length, comma=ids.get(",</w>"))


def _special_tokens(raw: Mapping[str, Any]) -> dict[str, bool]:
    """Each special token, and whether it is looked for in the text in small letters.

    Tokens that are named as plain text are looked for as written; of two that differ the later
    counts (`PreTrainedTokenizerFast`, transformers 5). A prompt's own "!" is such a token where
    that is the padding.
    """
    named = [raw.get(key) or default for key, default in _CLIP_SPECIAL.items()]
    found = dict(dict.fromkeys((_content(value), _normalized(value)) for value in named))
    table = raw.get("added_tokens_decoder")  # which transformers 4.34 and later write
    table = [e for e in table.values() if isinstance(e, dict)] if isinstance(table, dict) else []
    listed = {_content(value): _normalized(value) for value in table}
    return {text: listed.get(text, normalized) for text, normalized in found}


def _bert(given: TokenizerFiles, raw: Mapping[str, Any], length: int) -> Tokenizer:
    ids = bert_vocabulary(given)
    texts = _special_texts(given, raw, _BERT_SPECIAL, ids)
    lower = bool(raw.get("do_lower_case", True))
    marks = raw.get("strip_accents")
    vocabulary = BertVocabulary(
        ids,
        unknown=ids[texts["unk_token"]],
        special=tuple(texts.values()),
        lower=lower,
        strip_accents=lower if marks is None else bool(marks),
        split_chinese=bool(raw.get("tokenize_chinese_chars", True)),
    )
    cls, sep, pad = (ids[texts[key]] for key in ("cls_token", "sep_token", "pad_token"))
    return Tokenizer(bert_words(vocabulary), cls, sep, pad, length, chunked=False)


def _special_texts(
    given: TokenizerFiles, raw: Mapping[str, Any], defaults: Mapping[str, str], known: Container
) -> dict[str, str]:
    texts = {key: _content(raw.get(key) or default) for key, default in defaults.items()}
    for key, text in texts.items():
        if text not in known:
            raise UserError(f"{given.folder}: {key} {text!r}: not in the vocabulary")
    return texts


def _content(value: str | Mapping[str, Any]) -> str:
    """A special token's text: older configs store it as an object with its stripping rules."""
    return str(value["content"]) if isinstance(value, Mapping) else value


def _normalized(value: str | Mapping[str, Any]) -> bool:
    return isinstance(value, Mapping) and bool(value.get("normalized", False))


def _settings(path: Path | None) -> dict[str, Any]:
    return {} if path is None else read_json(path)
