"""A tokenizer's vocabulary files, made from `tokenizer.json` where it is all there is.

transformers 5 saves nothing else; other tokenizers read `vocab.json` and `merges.txt` (CLIP),
`vocab.txt` (BERT) or `sentencepiece.bpe.model` (XLM-R). Imports no Paddle.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path

from sentencepiece import SentencePieceProcessor

from sdbatch.errors import UserError, one_line
from sdbatch.weights.added_tokens import added_tokens
from sdbatch.weights.checkpoint import TokenizerFiles, read_json
from sdbatch.weights.tokenizer_kind import (
    CLIP_BPE,
    FILES,
    SENTENCEPIECE,
    SENTENCEPIECE_MODEL,
    WORDPIECE,
)
from sdbatch.weights.unigram_model import model_of_json, open_model


def write_vocabulary(given: TokenizerFiles, kind: str, folder: Path) -> list[Path]:
    """Write the vocabulary files of a tokenizer into `folder`.

    Args:
        given: the tokenizer's files.
        kind: of the tokenizer, see `tokenizer_kind`.
        folder: must exist.

    Raises:
        UserError: a file is missing or malformed, or there are words that are not supported.
    """
    contents = vocabulary_contents(given, kind)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in contents]


def vocabulary_contents(given: TokenizerFiles, kind: str) -> dict[str, bytes]:
    """Name -> content: as the files are, else from `tokenizer.json`; errors as above."""
    names = FILES[kind]
    missing = [name for name in names if name not in given.files]
    if not missing:
        return {name: _content(given.files[name]) for name in names}
    path = given.files.get("tokenizer.json")
    if path is None:
        where = given.folder / missing[0]
        raise UserError(f"{where}: missing; expected the vocabulary of a {kind} tokenizer")
    if kind == SENTENCEPIECE:
        return {SENTENCEPIECE_MODEL: model_of_json(path)}
    model = read_json(path).get("model")
    model = model if isinstance(model, dict) else {}
    ids = model.get("vocab")
    if not isinstance(ids, dict) or not _numbered(ids.values()):
        raise UserError(f"{path}: model.vocab: expected words numbered from 0")
    if kind == WORDPIECE:
        _require(path, model, "WordPiece")
        lines = "".join(f"{word}\n" for word in sorted(ids, key=ids.__getitem__))
        return {"vocab.txt": lines.encode()}
    _require(path, model, "BPE")
    merges = model.get("merges", [])
    if not isinstance(merges, list):
        raise UserError(f"{path}: model.merges: expected pairs, found {one_line(merges)[:100]}")
    merges = [_merge(path, pair) for pair in merges]
    lines = "".join(f"{line}\n" for line in ("#version: 0.2", *merges))
    return {
        "vocab.json": json.dumps(ids, ensure_ascii=False).encode(),
        "merges.txt": lines.encode(),
    }


def clip_vocabulary(given: TokenizerFiles) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """The ids of all tokens of a CLIP tokenizer, and its merges, best first.

    Raises:
        UserError: as `write_vocabulary`; a file that is no vocabulary or no list of merges.
    """
    words, merges = vocabulary_contents(given, CLIP_BPE).values()
    try:
        ids = json.loads(words)
    except ValueError:
        ids = None
    if not isinstance(ids, dict) or not all(type(number) is int for number in ids.values()):
        raise UserError(f"{given.files['vocab.json']}: expected words with their numbers")
    lines = _text(given, "merges.txt", merges).split("\n")
    lines = lines[lines[0].startswith("#version") :]
    pairs = [tuple(line.split()) for line in lines if line.strip()]
    for pair in pairs:
        if len(pair) != 2:
            found = one_line(" ".join(pair))[:100]
            raise UserError(f"{given.files['merges.txt']}: expected pairs, found {found}")
    return ids, pairs


def bert_vocabulary(given: TokenizerFiles) -> dict[str, int]:
    """The ids of all tokens of a BERT tokenizer; errors as `write_vocabulary`."""
    (content,) = vocabulary_contents(given, WORDPIECE).values()
    lines = _text(given, "vocab.txt", content).removesuffix("\n").split("\n")
    ids = {word: i for i, word in enumerate(lines)}
    _refuse_added(given, ids)
    return ids


def sentencepiece_model(given: TokenizerFiles) -> SentencePieceProcessor:
    """The model of an XLM-R tokenizer; errors as `write_vocabulary`."""
    (content,) = vocabulary_contents(given, SENTENCEPIECE).values()
    return open_model(content, given.files.get(SENTENCEPIECE_MODEL, given.folder))


def _refuse_added(given: TokenizerFiles, known: Collection[str]) -> None:
    """Words that were added later would silently be cut into pieces."""
    for word, token in added_tokens(given).items():
        if word not in known:
            raise UserError(
                f"{token.path}: {one_line(word)} ({token.id}): words outside the vocabulary of a "
                "wordpiece tokenizer are not supported"
            )


def _merge(path: Path, pair: object) -> str:
    """A pair of parts, written with a space between or as a list."""
    text = " ".join(pair) if isinstance(pair, list) and all(map(_is_text, pair)) else pair
    if not _is_text(text) or len(text.split(" ")) != 2:
        raise UserError(f"{path}: model.merges: expected pairs, found {one_line(pair)[:100]}")
    return text


def _numbered(ids: Collection[object]) -> bool:
    return all(type(i) is int for i in ids) and set(ids) == set(range(len(ids)))


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _require(path: Path, model: Mapping[str, object], kind: str) -> None:
    if model.get("type", kind) != kind:
        raise UserError(f"{path}: model.type: expected {kind}, found {one_line(model['type'])}")


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error}") from error


def _text(given: TokenizerFiles, name: str, content: bytes) -> str:
    """As text, with the ends of lines that other systems write."""
    try:
        return content.decode().replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{given.files[name]}: cannot be read: {error}") from error
