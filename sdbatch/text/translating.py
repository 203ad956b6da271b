"""Chinese texts translated before they are read, their weights kept. Imports no Paddle."""

from __future__ import annotations

import re
from collections.abc import Callable

from sdbatch.text.chinese import has_chinese
from sdbatch.text.syntax import Span, parse_weights

Translate = Callable[[str], str]
"""A text to its translation; the same each time, whatever was translated before."""

_SYNTAX = re.compile(r"[()\[\]\\]")


def translated(text: str, translate: Translate, *, weighting: bool) -> str:
    """A text with what is Chinese in it translated; others stay as they are.

    Args:
        text: any.
        translate: a translator.
        weighting: whether brackets are weights. Each stretch of one weight is then translated by
            itself, and gets its weight again.
    """
    if not has_chinese(text):
        return text
    if not weighting:
        return translate(text)
    spans = (_again(span, translate) for span in parse_weights(text))
    return " ".join(filter(None, spans))


def _again(span: Span, translate: Translate) -> str:
    if span.text is None:
        return "BREAK"
    words = span.text.strip()
    words = translate(words) if has_chinese(words) else words
    words = _SYNTAX.sub(r"\\\g<0>", words)
    return words if span.weight == 1 or not words else f"({words}:{span.weight:g})"
