"""What a tokenizer is to the rest: words with ids, special ids, a length. Imports no Paddle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate


@dataclass(frozen=True)
class Word:
    """A piece of a text.

    Attributes:
        text: with the spaces around it: the words of a text, joined, are the text.
        ids: of its tokens; blank pieces have none.
        whole: whether its tokens mean something only together: a textual inversion, a word of
            several Chinese characters.
    """

    text: str
    ids: tuple[int, ...]
    whole: bool = False


@dataclass(frozen=True)
class Tokenizer:
    """The tokenizer of one text encoder.

    Attributes:
        words: of a text, in order.
        bos, eos, pad: ids of start, end and padding.
        length: tokens of a chunk, with start and end.
        comma: id of a comma that ends a word, if there is one.
        chunked: whether long texts can be read in several chunks.
    """

    words: Callable[[str], Sequence[Word]]
    bos: int
    eos: int
    pad: int
    length: int
    comma: int | None = None
    chunked: bool = True

    @property
    def room(self) -> int:
        """Tokens of a text that a chunk can hold."""
        return self.length - 2

    def ids(self, text: str) -> list[int]:
        """All ids of a text, without start, end and padding."""
        return [number for word in self.words(text) for number in word.ids]

    def framed(self, ids: Sequence[int]) -> list[int]:
        """Ids with start, end and padding, `length` in all; at most `room` are given."""
        return [self.bos, *ids, self.eos, *[self.pad] * (self.room - len(ids))]


def together(words: Sequence[Word], pieces: Sequence[str]) -> list[Word]:
    """A tokenizer's words put together where a piece of the text spans several of them.

    Args:
        words: of a text.
        pieces: other, mostly longer ones of the same text.
    """
    ends = set(accumulate(map(len, pieces)))
    found: list[Word] = []
    group: list[Word] = []
    end = 0
    for word in words:
        group.append(word)
        # Blanks behind a word belong to it, but are a piece of their own.
        end += len(word.text)
        if {end, end - len(word.text) + len(word.text.rstrip())} & ends:
            found.append(_one(group))
            group = []
    return [*found, *group]


def _one(group: Sequence[Word]) -> Word:
    if len(group) == 1:
        return group[0]
    text = "".join(word.text for word in group)
    return Word(text, tuple(n for word in group for n in word.ids), whole=True)
