"""Chinese texts translated before they are read, their weights kept. Imports no Paddle."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence

from sdbatch.text.chinese import has_chinese
from sdbatch.text.syntax import Span, parse_weights

Translate = Callable[[Sequence[str]], Sequence[str]]
"""Texts to their translations, each the same whatever is translated beside it."""

_KEPT = 1 << 16
_SYNTAX = re.compile(r"[()\[\]\\]")


class InEnglish:
    """A function from texts to English ones; those that have no Chinese stay as they are.

    Each distinct piece of text is translated once. Threads may call it at once.

    Args:
        translate: called by one thread at a time; many texts at once cost it less.
        weighting: whether brackets are weights. Each stretch of one weight is then a piece of its
            own, and gets its weight again.
    """

    def __init__(self, translate: Translate, *, weighting: bool) -> None:
        self._translate, self._weighting = translate, weighting
        self._known: OrderedDict[str, str] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, text: str) -> str:
        """One text in English."""
        if not has_chinese(text):
            return text
        known = self._translations([text])
        if not self._weighting:
            return known[text]
        spans = (_again(span, known) for span in parse_weights(text))
        return " ".join(filter(None, spans))

    def expect(self, texts: Iterable[str]) -> None:
        """Translate all that is new in these texts, since they will be asked for."""
        self._translations(texts)

    def _translations(self, texts: Iterable[str]) -> dict[str, str]:
        """The translation of each piece of these texts."""
        pieces = dict.fromkeys(piece for text in texts for piece in self._pieces(text))
        with self._lock:
            new = [piece for piece in pieces if piece not in self._known]
            if new:
                self._known.update(zip(new, self._translate(new), strict=True))
            found = {piece: self._known[piece] for piece in pieces}
            for piece in pieces:
                self._known.move_to_end(piece)
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return found

    def _pieces(self, text: str) -> list[str]:
        if not self._weighting:
            return [text] if has_chinese(text) else []
        words = [(span.text or "").strip() for span in parse_weights(text)]
        return [piece for piece in words if has_chinese(piece)]


def _again(span: Span, known: Mapping[str, str]) -> str:
    if span.text is None:
        return "BREAK"
    words = span.text.strip()
    words = _SYNTAX.sub(r"\\\g<0>", known.get(words, words))
    return words if span.weight == 1 or not words else f"({words}:{span.weight:g})"
