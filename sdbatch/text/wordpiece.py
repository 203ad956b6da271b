"""BERT's tokenizer: words, and the longest pieces of each that are known. Imports no Paddle.

Ids are those of transformers 5 (`models/bert/tokenization_bert.py`, which builds on the library
`tokenizers`); source of the method: Schuster and Nakajima 2012; Devlin et al. 2018, arXiv
1810.04805. That library knows marks and punctuation as of Unicode 8; later ones can differ.
"""

from __future__ import annotations

import string
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import regex

from sdbatch.text.tokens import Word

_LONGEST = 100
"""Characters of a word; longer ones are unknown."""
_CHINESE = (
    r"\u3400-\u4DBF\u4E00-\u9FFF\uF900-\uFAFF"
    r"\U00020000-\U0002A6DF\U0002A700-\U0002B81F\U0002B920-\U0002CEAF\U0002F800-\U0002FA1F"
)
_BLANKS = r" \t\n\r\u2028\u2029\p{Zs}"
_DROPPED = ("Cc", "Cf", "Co")


@dataclass(frozen=True)
class BertVocabulary:
    """What a BERT tokenizer knows.

    Attributes:
        ids: of all tokens; those that go on a word begin with `##`.
        unknown: id of words that cannot be put together.
        special: tokens that are found in a text as they are written.
        lower: whether words are read in small letters.
        strip_accents: whether letters are read without their marks.
        split_chinese: whether each Chinese character is a word.
    """

    ids: Mapping[str, int]
    unknown: int
    special: Sequence[str]
    lower: bool = True
    strip_accents: bool = True
    split_chinese: bool = True


def bert_words(vocabulary: BertVocabulary) -> Callable[[str], list[Word]]:
    """A function from a text to its words, as they are written there."""
    alone = _CHINESE if vocabulary.split_chinese else ""
    piece = f"[^{alone}{_BLANKS}]+" + (f"|[{alone}]" if alone else "")
    special = "|".join(map(regex.escape, sorted(vocabulary.special, key=len, reverse=True)))
    by_special = regex.compile(f"({special})")
    by_blanks = regex.compile(f"(?:{piece})[{_BLANKS}]*|[{_BLANKS}]+")

    @lru_cache(maxsize=1 << 16)
    def encoded(written: str) -> tuple[int, ...]:
        words = _words(_normal(written, vocabulary))
        return tuple(number for word in words for number in _pieces(word, vocabulary))

    def words(text: str) -> list[Word]:
        found: list[Word] = []
        for part in by_special.split(text):
            if part in vocabulary.special:
                found.append(Word(part, (vocabulary.ids[part],)))
            else:
                found += [Word(written, encoded(written)) for written in by_blanks.findall(part)]
        return found

    return words


def _normal(text: str, vocabulary: BertVocabulary) -> str:
    """Without control characters; without marks and in small letters where that is asked for."""
    blanks = "\t\n\r"
    kept = "".join(
        " " if character in blanks else character
        for character in text
        if character in blanks
        or (unicodedata.category(character) not in _DROPPED and character not in "\0\ufffd")
    )
    if vocabulary.strip_accents:
        apart = unicodedata.normalize("NFD", kept)
        kept = "".join(c for c in apart if unicodedata.category(c) != "Mn")
    return "".join(map(str.lower, kept)) if vocabulary.lower else kept


def _words(text: str) -> list[str]:
    """Words between blanks; each punctuation mark is one."""
    spaced = "".join(f" {c} " if _is_punctuation(c) else c for c in text)
    return spaced.split()


def _is_punctuation(character: str) -> bool:
    return character in string.punctuation or unicodedata.category(character).startswith("P")


def _pieces(word: str, vocabulary: BertVocabulary) -> list[int]:
    """Ids of the longest known beginnings, one after another."""
    found, start = [], 0
    if len(word) > _LONGEST:
        return [vocabulary.unknown]
    while start < len(word):
        prefix = "##" if start else ""
        ends = range(len(word), start, -1)
        end = next((end for end in ends if prefix + word[start:end] in vocabulary.ids), None)
        if end is None:
            return [vocabulary.unknown]
        found.append(vocabulary.ids[prefix + word[start:end]])
        start = end
    return found
