"""English lines into Chinese ones, by a catalogue of templates.

An entry of `zh/*.json` is an English template, with `{}` for each value, and its Chinese, with
`{0}`, `{1}` ... for the same values. Values are copied as they are, but for `{0*}`: what stands
there is again a text of the catalogue (`a multiple of 8`), and is copied only where it is not.
Braces that are meant are doubled.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "zh"

_PARTS = re.compile(r"(\{\{|\}\}|\{\d*\*?\})")
_DEPTH = 6
"""Texts within texts are followed so far."""
_SPLITS = 8
"""So many of `FILE: KEY: ...` may stand before what the catalogue knows."""
_WEAK = 16
"""What explains fewer letters is no line by itself, unless it names something first."""


@dataclass(frozen=True)
class Slot:
    """A value's place in the Chinese; `is_text`: it may be of the catalogue itself."""

    number: int
    is_text: bool


@dataclass(frozen=True)
class Template:
    """One entry: the literal pieces of the English, and the parts of the Chinese."""

    pieces: tuple[str, ...]
    chinese: tuple[str | Slot, ...]

    @classmethod
    def parse(cls, english: str, chinese: str) -> Template:
        """Read an entry."""
        pieces, parts = [""], []
        for part in _PARTS.split(english):
            if part == "{}":
                pieces.append("")
            else:
                pieces[-1] += _plain(part)
        for part in filter(None, _PARTS.split(chinese)):
            number = re.fullmatch(r"\{(\d+)(\*?)\}", part)
            parts.append(Slot(int(number[1]), bool(number[2])) if number else _plain(part))
        return cls(tuple(pieces), tuple(parts))

    @property
    def weight(self) -> int:
        """How much of a line it explains by itself."""
        return sum(map(len, self.pieces))

    @property
    def names_something(self) -> bool:
        """Whether it can be a line however little it says: all of it is text, or it has a colon."""
        return len(self.pieces) == 1 or any(": " in piece for piece in self.pieces)

    def values(self, text: str) -> list[str] | None:
        """What stands where the values are, if the rest is this template; each as short as can be.

        Pieces are looked for from left to right, which never takes long, whatever the text. Of an
        empty value at the end, a line has lost the blank before it.
        """
        found = self._values(text)
        if found is None and self.pieces[-1] == "" and self.pieces[-2].endswith(" "):
            return self._values(f"{text} ")
        return found

    def _values(self, text: str) -> list[str] | None:
        first, last = self.pieces[0], self.pieces[-1]
        if len(self.pieces) == 1:
            return [] if text == first else None
        start, end = len(first), len(text) - len(last)
        if start > end or not (text.startswith(first) and text.endswith(last)):
            return None
        found = []
        for piece in self.pieces[1:-1]:
            place = text.find(piece, start, end)
            if place < 0:
                return None
            found.append(text[start:place])
            start = place + len(piece)
        return [*found, text[start:end]]


class Catalogue:
    """All entries of a language; `translated` never raises and never loses a value."""

    def __init__(self, entries: Mapping[str, str]):
        templates = [Template.parse(english, chinese) for english, chinese in entries.items()]
        self._templates = sorted(templates, key=lambda one: -one.weight)
        self._known: dict[tuple[str, bool], tuple[int, str]] = {}

    def translated(self, line: str) -> str:
        """The line in Chinese; in English still if no template is its."""
        self._known.clear()
        return self._best(line, _DEPTH, line=True)[1]

    def _best(self, text: str, depth: int, *, line: bool = False) -> tuple[int, str]:
        """The translation that explains most letters of a text, and how many; 0 if there is none.

        That a piece is in the text only by chance is the less likely the longer it is.
        """
        if depth == 0 or not text:
            return 0, text
        if (text, line) not in self._known:
            self._known[text, line] = 0, text  # for texts that would contain themselves
            self._known[text, line] = self._search(text, depth - 1, line)
        return self._known[text, line]

    def _search(self, text: str, depth: int, line: bool) -> tuple[int, str]:
        best = 0, text
        for template in self._templates:
            values = template.values(text)
            if values is None:
                continue
            weight, found = self._filled(template.chinese, values, depth)
            weight += template.weight
            if line and weight < _WEAK and not template.names_something:
                continue
            if weight > best[0]:
                best = weight, found.rstrip() if text[-1] != " " else found
        # What is before a colon may be the name of a file or a key, put there by whoever knew it.
        place = -2
        for _ in range(_SPLITS):
            place = text.find(": ", place + 2)
            if place < 0:
                break
            weight, found = self._best(text[place + 2 :], depth)
            if weight and weight + 2 > best[0]:
                best = weight + 2, f"{text[:place]}: {found}"
        return best

    def _filled(
        self, chinese: Sequence[str | Slot], values: Sequence[str], depth: int
    ) -> tuple[int, str]:
        """The Chinese with its values, and what of these was explained."""
        total, result, behind_text = 0, "", False
        for part in chinese:
            if isinstance(part, Slot):
                text = values[part.number]
                weight, found = self._text(text, depth) if part.is_text else (0, text)
                total += weight
                if weight:
                    result = _joined(result, found.rstrip())
                else:
                    result += found
                behind_text = weight > 0
            else:
                result = _joined(result, part) if behind_text else result + part
                behind_text = False
        return total, result

    def _text(self, text: str, depth: int) -> tuple[int, str]:
        """A text of the catalogue, or several of them, or names joined by `and`."""
        found = self._best(text, depth)
        several = [self._best(part, depth) for part in text.split("; ")]
        weight = sum(weight for weight, _ in several)
        if weight > found[0]:
            return weight, "; ".join(part for _, part in several)
        if found[0]:
            return found
        names = text.split(" and ")
        if len(names) > 1 and all(re.fullmatch(r"[\w.]+", name) for name in names):
            return 1, " 和 ".join(names)
        return 0, text


@functools.cache
def catalogue() -> Catalogue:
    """The one for Chinese."""
    return Catalogue(entries())


def entries() -> dict[str, str]:
    """English templates and their Chinese, from all files."""
    found: dict[str, str] = {}
    for path in sorted(FOLDER.glob("*.json")):
        found |= json.loads(path.read_text(encoding="utf-8"))
    return found


def _plain(part: str) -> str:
    return part[0] if part in ("{{", "}}") else part


def _joined(before: str, after: str) -> str:
    """Chinese has blanks beside Latin letters only."""
    if before.endswith(" ") and not before[-2:-1].isascii() and not after[:1].isascii():
        before = before[:-1]
    if after.startswith(" ") and not before[-1:].isascii() and not after[1:2].isascii():
        after = after[1:]
    return before + after
