"""Tokenizers of a checkpoint's files, with the settings that lie beside them. Imports no Paddle."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sdbatch.errors import UserError, one_line
from sdbatch.text.bpe import ClipVocabulary, clip_words
from sdbatch.text.tokens import Tokenizer
from sdbatch.text.unigram import SpecialToken, UnigramVocabulary, unigram_words
from sdbatch.text.wordpiece import BertVocabulary, bert_words
from sdbatch.weights.added_tokens import AddedToken, added_tokens
from sdbatch.weights.checkpoint import TokenizerFiles, read_json
from sdbatch.weights.embeddings import Embedding, new_words
from sdbatch.weights.tokenizer_kind import CLIP_BPE, SENTENCEPIECE, WORDPIECE, tokenizer_kind
from sdbatch.weights.vocabulary import bert_vocabulary, clip_vocabulary, sentencepiece_model

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
_XLM_SPECIAL = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "sep_token": "</s>",
    "pad_token": "<pad>",
    "cls_token": "<s>",
    "mask_token": "<mask>",
}


def open_tokenizer(
    given: TokenizerFiles,
    kind: str,
    max_positions: int,
    embeddings: Sequence[Embedding] = (),
    vocab_size: int = 0,
) -> Tokenizer:
    """The tokenizer that belongs to a text encoder.

    What kind it is its own files say, see `tokenizer_kind`. Its length is its `model_max_length`,
    at most `max_positions`, the rows of the encoder's position table.

    Args:
        given: its files.
        kind: the text encoder's architecture.
        max_positions: of the text encoder.
        embeddings: new tokens, which follow the vocabulary in this order; CLIP's alone has any.
        vocab_size: of the text encoder, for new and added tokens; 0: as many as it takes.

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
    method = tokenizer_kind(given, kind)
    if embeddings and method != CLIP_BPE:
        raise UserError(
            f"{embeddings[0].path}: textual inversions are for tokenizers of CLIP; {given.folder} "
            f"is a {method} one"
        )
    if method == WORDPIECE:
        found = _bert(given, raw, length)
    elif method == SENTENCEPIECE:
        found = _xlm_roberta(given, raw, length, vocab_size)
    else:
        found = _clip(given, raw, length, embeddings, vocab_size)
    return replace(found, chunked=kind != "BertModel")


def _clip(
    given: TokenizerFiles,
    raw: Mapping[str, Any],
    length: int,
    embeddings: Sequence[Embedding],
    vocab_size: int,
) -> Tokenizer:
    ids, merges = clip_vocabulary(given)
    added = _added(given, vocab_size, ids)
    ids |= {text: token.id for text, token in added.items()}
    texts = _special_texts(given, raw, _CLIP_SPECIAL, ids)
    normalized = {text: token.normalized for text, token in added.items()} | _special_tokens(raw)
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
    return Tokenizer(bert_words(vocabulary), cls, sep, pad, length)


def _xlm_roberta(
    given: TokenizerFiles, raw: Mapping[str, Any], length: int, vocab_size: int
) -> Tokenizer:
    model = sentencepiece_model(given)
    known = UnigramVocabulary(model, {})
    special = {}
    for key, default in _XLM_SPECIAL.items():
        value = raw.get(key) or default
        text = _content(value)
        number = known.id_of(text)
        if number is not None:
            rules = value if isinstance(value, Mapping) else {"lstrip": key == "mask_token"}
            special[text] = _found_as(number, rules)
    for text, token in _added(given, vocab_size).items():
        special[text] = SpecialToken(token.id, token.lstrip, token.rstrip)
    texts = _special_texts(given, raw, _XLM_SPECIAL, special)
    if 0 < vocab_size <= known.mask:
        raise UserError(
            f"{given.folder}: the tokenizer has {known.mask + 1} words, the text encoder "
            f"{vocab_size}"
        )
    words = unigram_words(UnigramVocabulary(model, special))
    cls, sep, pad = (special[texts[key]].id for key in ("cls_token", "sep_token", "pad_token"))
    return Tokenizer(words, cls, sep, pad, length, comma=known.id_of(","))


def _found_as(number: int, rules: Mapping[str, Any]) -> SpecialToken:
    return SpecialToken(number, bool(rules.get("lstrip")), bool(rules.get("rstrip")))


def _added(
    given: TokenizerFiles, vocab_size: int, known: Mapping[str, int] | None = None
) -> dict[str, AddedToken]:
    """Words beyond the vocabulary `known`, or in it and found as they are.

    Raises:
        UserError: a word that the vocabulary numbers otherwise, or the text encoder has no row for.
    """
    found = added_tokens(given)
    for text, token in found.items():
        where = f"{token.path}: {one_line(text)} ({token.id})"
        if known and known.get(text, token.id) != token.id:
            raise UserError(f"{where}: the vocabulary says {known[text]}")
        if 0 < vocab_size <= token.id:
            raise UserError(f"{where}: the text encoder has only {vocab_size} words")
    return found


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
