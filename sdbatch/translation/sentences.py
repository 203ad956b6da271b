"""Where a text that is too long for a model is cut. Pure, imports no Paddle."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from sdbatch.translation.tokenizer import without_code

_AFTER_SENTENCES = re.compile(
    r"(?<=[。！？；])(?![。！？；”’」』）])|(?<=[。！？；][”’」』）])|(?<=[.!?;])(?=\s)|\n+"
)
_AFTER_CLAUSES = re.compile(r"(?<=[，、])|(?<=,)(?!\d)")

Fits = Callable[[str], bool]


def parts(text: str, fits: Fits) -> list[str]:
    """What is translated by itself: the text, or, where it does not fit, its parts.

    Those are its sentences, which end with 。！？； or a new line, or with . ! ? ; before a space.
    One that does not fit is cut behind commas (，、,), and what has none wherever it must be; each
    of these parts is as long as fits. A language code at the start is put before every part.

    Args:
        text: any.
        fits: whether a model can read a text whole.

    Returns:
        None where there is nothing but blanks.
    """
    if fits(text):
        return [text] if text.strip() else []
    code, rest = without_code(text)
    found = []
    for sentence in _cut(_AFTER_SENTENCES, rest):
        found += _fitting(sentence, lambda part: fits(code + part))
    return [code + part for part in found]


def _fitting(sentence: str, fits: Fits) -> list[str]:
    if fits(sentence):
        return [sentence]
    found = []
    for clause in map(str.strip, _packed(_AFTER_CLAUSES.split(sentence), fits)):
        found += [clause] if fits(clause) else _packed(clause, fits)
    return [part for part in map(str.strip, found) if part]


def _packed(pieces: Sequence[str], fits: Fits) -> list[str]:
    """Pieces joined again, as many each time as fit; a piece that does not fit stays alone."""
    found = [""]
    for piece in pieces:
        if found[-1] and not fits(found[-1] + piece):
            found.append(piece)
        else:
            found[-1] += piece
    return found


def _cut(where: re.Pattern[str], text: str) -> list[str]:
    return [part for part in map(str.strip, where.split(text)) if part]
