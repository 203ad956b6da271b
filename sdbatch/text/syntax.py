r"""Weights in prompts, as AUTOMATIC1111's web UI writes them. Imports no Paddle.

    (word)      1.1 times            [word]      1 / 1.1 times
    (word:1.3)  1.3 times            \( \) \[ \] \\  the character itself
    BREAK       what follows begins a new chunk

Brackets can be nested; those that are never closed reach to the end, closing ones alone are text.
Source: `modules/prompt_parser.py`, `parse_prompt_attention`. Two things that go wrong there do not
here: BREAK inside brackets is one, and `(word:1.2.3)` holds text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

ROUND, SQUARE = 1.1, 1 / 1.1

_PARTS = re.compile(
    r"""
    \\(?P<escaped>[()\[\]\\]?)
    | (?P<open>[(\[])
    | :\s*(?P<weight>[+-]?(?:\d+\.?\d*|\.\d+))\s*\)
    | (?P<close>[)\]])
    | [^\\()\[\]:]+
    | :
    """,
    re.VERBOSE,
)
_BREAK = re.compile(r"\s*\bBREAK\b\s*")
_CLOSES = {")": "(", "]": "["}
_FACTOR = {"(": ROUND, "[": SQUARE}


@dataclass(frozen=True)
class Span:
    """A piece of a prompt and its weight; `text` None: a new chunk begins."""

    text: str | None
    weight: float = 1.0


def parse_weights(text: str) -> list[Span]:
    """The spans of a prompt, at least one; neighbours of one weight are one span.

    Any text is read: what is no syntax is text.
    """
    texts: list[str | None] = []
    weights: list[float] = []
    opened: dict[str, list[int]] = {"(": [], "[": []}

    def add(*parts: str | None) -> None:
        texts.extend(parts)
        weights.extend([1.0] * len(parts))

    def scale(start: int, factor: float) -> None:
        weights[start:] = [weight * factor for weight in weights[start:]]

    for part in _PARTS.finditer(text):
        if part["escaped"] is not None:
            add(part["escaped"])
        elif part["open"]:
            opened[part["open"]].append(len(texts))
        elif part["weight"] and opened["("]:
            scale(opened["("].pop(), float(part["weight"]))
        elif part["close"] and opened[_CLOSES[part["close"]]]:
            bracket = _CLOSES[part["close"]]
            scale(opened[bracket].pop(), _FACTOR[bracket])
        else:
            first, *others = _BREAK.split(part[0])
            add(first)
            for other in others:
                add(None, other)
    for bracket, starts in opened.items():
        for start in starts:
            scale(start, _FACTOR[bracket])
    return _joined([Span(*pair) for pair in zip(texts, weights, strict=True)])


def _joined(spans: list[Span]) -> list[Span]:
    joined: list[Span] = []
    for span in spans:
        last = joined[-1] if joined else None
        if span.text is None:
            joined.append(Span(None))
        elif last and last.text is not None and last.weight == span.weight:
            joined[-1] = Span(last.text + span.text, span.weight)
        else:
            joined.append(span)
    return joined or [Span("")]
