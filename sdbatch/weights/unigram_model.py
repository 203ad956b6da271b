"""A sentencepiece model, as its file holds it or made of `tokenizer.json`. Imports no Paddle.

transformers 5 saves XLM-R's tokenizer as `tokenizer.json` alone: pieces with their scores, and the
table by which text is normalised. Both are what sentencepiece's own file holds: a protocol buffer,
its `sentencepiece_model.proto`, of which a few fields are written here by hand.
"""

from __future__ import annotations

import base64
import binascii
import struct
from pathlib import Path
from typing import Any

from sentencepiece import SentencePieceProcessor

from sdbatch.errors import UserError, one_line
from sdbatch.text.unigram import FAIRSEQ
from sdbatch.weights.checkpoint import read_json

_NORMAL, _UNKNOWN, _CONTROL = 1, 2, 3
# sentencepiece's own pieces; all others follow in fairseq's order.
_FIRST = {"<unk>": _UNKNOWN, "<s>": _CONTROL, "</s>": _CONTROL}


def open_model(content: bytes, path: Path) -> SentencePieceProcessor:
    """A model that can be used.

    Raises:
        UserError: it is none.
    """
    model = SentencePieceProcessor()
    try:
        model.LoadFromSerializedProto(content)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{path}: not a model of sentencepiece: {one_line(error)[:200]}") from error
    return model


def model_of_json(path: Path) -> bytes:
    """The file of sentencepiece that a `tokenizer.json` was made of.

    Raises:
        UserError: its model is no such one.
    """
    whole = read_json(path)
    found = whole.get("model")
    pieces = found.get("vocab") if isinstance(found, dict) else None
    if not isinstance(pieces, list) or not all(map(_is_scored, pieces)):
        raise UserError(f"{path}: model.vocab: expected pieces with their scores")
    texts = [text for text, _ in pieces]
    if texts[: len(FAIRSEQ)] != list(FAIRSEQ) or texts[-1] != "<mask>":
        raise UserError(f"{path}: model.vocab: expected {', '.join(FAIRSEQ)} first, <mask> last")
    table = _table(path, whole.get("normalizer"))
    kept = [(text, 0.0, kind) for text, kind in _FIRST.items()]
    kept += [(text, score, _NORMAL) for text, score in pieces[len(FAIRSEQ) : -1]]
    return b"".join(_field(1, _piece(*piece)) for piece in kept) + _field(3, _field(2, table))


def _piece(text: str, score: float, kind: int) -> bytes:
    """piece = 1, a float score = 2, an enum type = 3."""
    return _field(1, text.encode()) + b"\x15" + struct.pack("<f", score) + bytes((0x18, kind))


def _field(number: int, content: bytes) -> bytes:
    """A field of counted bytes: the count in groups of seven bits, the lowest first."""
    left, count = len(content), bytearray()
    while left > 0x7F:
        count.append(left & 0x7F | 0x80)
        left >>= 7
    return bytes((number << 3 | 2, *count, left)) + content


def _is_scored(piece: object) -> bool:
    return (
        isinstance(piece, list)
        and len(piece) == 2
        and isinstance(piece[0], str)
        and type(piece[1]) in (int, float)
    )


def _table(path: Path, normalizer: Any) -> bytes:
    """By which text is normalised, whether among other rules or alone."""
    rules = normalizer if isinstance(normalizer, dict) else {}
    for rule in rules.get("normalizers", [rules]):
        if isinstance(rule, dict) and rule.get("type") == "Precompiled":
            try:
                return base64.b64decode(rule.get("precompiled_charsmap", ""), validate=True)
            except (TypeError, binascii.Error) as error:
                raise UserError(f"{path}: precompiled_charsmap: {error}") from error
    raise UserError(f"{path}: normalizer: expected a Precompiled one")
