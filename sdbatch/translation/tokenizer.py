"""Text to ids and back, as transformers' `MarianTokenizer` does. Imports no Paddle.

Source: transformers 4.46 `models/marian/tokenization_marian.py` and `tokenization_utils.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from sentencepiece import SentencePieceProcessor

END, UNKNOWN, PADDING = "</s>", "<unk>", "<pad>"
_SPECIAL = re.compile(f"({END}|{UNKNOWN}|{PADDING})")
_CODE = re.compile(">>.+<<")
# In the order of transformers' `clean_up_tokenization`.
_JOINED = (" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're")


@dataclass(frozen=True)
class MarianTokenizer:
    """Two SentencePiece models and one vocabulary, which gives the ids of both.

    Attributes:
        source: cuts texts into pieces.
        target: joins pieces to texts.
        ids: of all pieces, of the special tokens and of the language codes.
        max_length: of a text's ids, with the end.
        clean_up: no space before punctuation in what is joined.
    """

    source: SentencePieceProcessor
    target: SentencePieceProcessor
    ids: Mapping[str, int]
    max_length: int
    clean_up: bool = False

    def encode(self, text: str) -> list[int]:
        """A text's ids, cut to `max_length`, with the end as the last of them in any case."""
        return [*self._uncut(text)[: self.max_length - 1], self.ids[END]]

    def fits(self, text: str) -> bool:
        """Whether `encode` cuts nothing off."""
        return len(self._uncut(text)) < self.max_length

    def decode(self, numbers: Sequence[int]) -> str:
        """The text of ids, without special tokens; an id that the vocabulary lacks is unknown."""
        pieces = [self._pieces.get(number, UNKNOWN) for number in numbers]
        pieces = [piece for piece in pieces if not _SPECIAL.fullmatch(piece)]
        text = self.target.decode_pieces(pieces).replace("▁", " ").strip() if pieces else ""
        for mark in _JOINED if self.clean_up else ():
            text = text.replace(mark, mark.strip())
        return text

    @cached_property
    def _pieces(self) -> dict[int, str]:
        return {number: piece for piece, number in self.ids.items()}

    def _uncut(self, text: str) -> list[int]:
        unknown = self.ids[UNKNOWN]
        return [self.ids.get(piece, unknown) for piece in self._cut(text)]

    def _cut(self, text: str) -> list[str]:
        """Pieces; special tokens that are written in the text are taken for what they are."""
        found = []
        for part in filter(None, _SPECIAL.split(text)):
            if _SPECIAL.fullmatch(part):
                found.append(part)
                continue
            code, rest = without_code(part)
            found += [code] if code else []
            found += self.source.encode(rest, out_type=str)
        return found


def without_code(text: str) -> tuple[str, str]:
    """The language code that a text begins with, e.g. `>>eng<<`, and the text without codes.

    As in transformers a code elsewhere in the text is dropped too.
    """
    match = _CODE.match(text)
    return match[0] if match else "", _CODE.sub("", text)
