"""A tokenizer's vocabulary files, made from `tokenizer.json` where it is all there is.

transformers 5 saves nothing else; other tokenizers read `vocab.json` and `merges.txt` (CLIP) or
`vocab.txt` (BERT). Imports no Paddle.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path

from sdbatch.errors import UserError, one_line
from sdbatch.weights.checkpoint import TokenizerFiles, read_json

_CLIP_FILES = ("vocab.json", "merges.txt")
_BERT_FILES = ("vocab.txt",)


def write_vocabulary(given: TokenizerFiles, kind: str, folder: Path) -> list[Path]:
    """Write the vocabulary files of a tokenizer into `folder`.

    Args:
        given: the tokenizer's files.
        kind: the architecture of the text encoder.
        folder: must exist.

    Raises:
        UserError: a file is missing or malformed, or there are words outside the vocabulary.
    """
    texts = vocabulary_texts(given, kind)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in texts]


def vocabulary_texts(given: TokenizerFiles, kind: str) -> dict[str, str]:
    """Name -> text: as the files are, else from `tokenizer.json`; errors as `write_vocabulary`."""
    _refuse_added(given)
    names = _BERT_FILES if kind == "BertModel" else _CLIP_FILES
    missing = [name for name in names if name not in given.files]
    if not missing:
        return {name: _text(given.files[name]) for name in names}
    path = given.files.get("tokenizer.json")
    if path is None:
        where = given.folder / missing[0]
        raise UserError(f"{where}: missing; expected the vocabulary of a {kind}")
    whole = read_json(path)
    model = whole.get("model")
    model = model if isinstance(model, dict) else {}
    ids = model.get("vocab")
    if not isinstance(ids, dict) or not _numbered(ids.values()):
        raise UserError(f"{path}: model.vocab: expected words numbered from 0")
    added = whole.get("added_tokens")
    added = added if isinstance(added, list) else []
    _refuse_unknown(
        path, {str(t.get("content")): t.get("id") for t in added if isinstance(t, dict)}, ids
    )
    if names == _BERT_FILES:
        _require(path, model, "WordPiece")
        return {"vocab.txt": "".join(f"{word}\n" for word in sorted(ids, key=ids.__getitem__))}
    _require(path, model, "BPE")
    merges = model.get("merges", [])
    if not isinstance(merges, list):
        raise UserError(f"{path}: model.merges: expected pairs, found {one_line(merges)[:100]}")
    merges = [_merge(path, pair) for pair in merges]
    return {
        "vocab.json": json.dumps(ids, ensure_ascii=False),
        "merges.txt": "".join(f"{line}\n" for line in ("#version: 0.2", *merges)),
    }


def clip_vocabulary(given: TokenizerFiles) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """The ids of all tokens of a CLIP tokenizer, and its merges, best first.

    Raises:
        UserError: as `write_vocabulary`; a file that is no vocabulary or no list of merges.
    """
    words, merges = vocabulary_texts(given, "CLIPTextModel").values()
    try:
        ids = json.loads(words)
    except ValueError:
        ids = None
    if not isinstance(ids, dict) or not all(type(number) is int for number in ids.values()):
        raise UserError(f"{given.files['vocab.json']}: expected words with their numbers")
    _refuse_listed(given, ids)
    lines = merges.split("\n")
    lines = lines[lines[0].startswith("#version") :]
    pairs = [tuple(line.split()) for line in lines if line.strip()]
    for pair in pairs:
        if len(pair) != 2:
            found = one_line(" ".join(pair))[:100]
            raise UserError(f"{given.files['merges.txt']}: expected pairs, found {found}")
    return ids, pairs


def bert_vocabulary(given: TokenizerFiles) -> dict[str, int]:
    """The ids of all tokens of a BERT tokenizer; errors as `write_vocabulary`."""
    (lines,) = vocabulary_texts(given, "BertModel").values()
    ids = {word: i for i, word in enumerate(lines.removesuffix("\n").split("\n"))}
    _refuse_listed(given, ids)
    return ids


def _refuse_added(given: TokenizerFiles) -> None:
    path, words = given.files.get("added_tokens.json"), given.files.get("vocab.json")
    if path:
        _refuse_unknown(path, read_json(path), read_json(words) if words else {})


def _refuse_listed(given: TokenizerFiles, known: Collection[str]) -> None:
    """transformers 4.34 and later list added words among the settings too."""
    path = given.files.get("tokenizer_config.json")
    table = read_json(path).get("added_tokens_decoder") if path else None
    entries = table.items() if isinstance(table, dict) else ()
    listed = {str(e.get("content")): number for number, e in entries if isinstance(e, dict)}
    _refuse_unknown(path, listed, known)


def _refuse_unknown(path: Path | None, added: Mapping[str, object], known: Collection[str]) -> None:
    """Words that were added later would silently be cut into pieces."""
    for word, number in added.items():
        if word not in known:
            raise UserError(
                f"{path}: {one_line(word)} ({number}): words outside the vocabulary are not "
                "supported; give them as model.embeddings"
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


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
