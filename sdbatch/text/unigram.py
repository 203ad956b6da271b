"""XLM-R's tokenizer: the likeliest pieces of a text, by sentencepiece. Imports no Paddle.

Ids are those of transformers' `XLMRobertaTokenizer` (4.46, `models/xlm_roberta/
tokenization_xlm_roberta.py`), which keeps fairseq's numbers: those of sentencepiece and one.
Source of the method: Kudo 2018, arXiv 1804.10959; Conneau et al. 2019, arXiv 1911.02116.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import regex
from sentencepiece import SentencePieceProcessor

from sdbatch.text.tokens import Word

OFFSET = 1
"""What fairseq adds to sentencepiece's ids; the first four are special tokens in both."""
FAIRSEQ = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}

# Scripts that put no blanks between words: there each piece is one.
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}"
_LETTER = regex.compile(rf"[[\p{{L}}\p{{M}}\p{{N}}]--[{_UNSPACED}]]", regex.V1)
_CLINGS = regex.compile(r"[\p{M}\p{Emoji_Modifier}\u200d]")


@dataclass(frozen=True)
class SpecialToken:
    """A token that is found in a text as it is written; `lstrip`: with the blanks before it."""

    id: int
    lstrip: bool = False
    rstrip: bool = False


@dataclass(frozen=True)
class UnigramVocabulary:
    """What an XLM-R tokenizer knows.

    Attributes:
        model: sentencepiece's, with its rules for normalising text.
        special: tokens that are taken out of a text before the model reads what lies between.
    """

    model: SentencePieceProcessor
    special: Mapping[str, SpecialToken]

    @property
    def mask(self) -> int:
        """The last id, of `<mask>`, which sentencepiece does not know."""
        return len(self.model) + OFFSET

    def id_of(self, token: str) -> int | None:
        """The id of a token, None of one that is not known."""
        if token in self.special:
            return self.special[token].id
        known = FAIRSEQ | {"<mask>": self.mask}
        number = self.model.PieceToId(token)
        return known.get(token, number + OFFSET if number else None)


def unigram_words(vocabulary: UnigramVocabulary) -> Callable[[str], list[Word]]:
    """A function from a text to its words, as they are written there."""
    special = vocabulary.special
    longest_first = sorted(special, key=len, reverse=True)
    by_special = regex.compile(f"({'|'.join(map(regex.escape, longest_first))})")

    def words(text: str) -> list[Word]:
        found: list[Word] = []
        parts = by_special.split(text)  # texts, and between each two a special token
        for i, part in enumerate(parts):
            if i % 2:
                found.append(Word(part, (special[part].id,)))
                continue
            start, end = 0, len(part)
            if i and special[parts[i - 1]].rstrip:
                start = end - len(part.lstrip())
            if i + 1 < len(parts) and special[parts[i + 1]].lstrip:
                end = len(part.rstrip())
            read = vocabulary.model.encode(part[start:end], return_type="offset_mapping")
            ends = [start + stop for _, stop in read["offsets"]]
            ids = [n + OFFSET if n else FAIRSEQ["<unk>"] for n in read["ids"]]
            found += _words(part, ids, ends)
        return found

    return words


def _words(text: str, ids: Sequence[int], ends: Sequence[int]) -> list[Word]:
    """Pieces as words, each with the blanks before it; the last has those after it too.

    Args:
        text: all of it becomes words.
        ids: of the pieces.
        ends: where in the text each ends; of what is one character in the text and several after
            normalising, all pieces but the last are nothing there.
    """
    words, start, own = [], 0, []
    for i, (number, end) in enumerate(zip(ids, ends, strict=True)):
        own.append(number)
        last = i == len(ids) - 1
        if last or _separate(text[start:end], text[end : ends[i + 1]]):
            end = len(text) if last else end
            words.append(Word(text[start:end], tuple(own)))
            start, own = end, []
    return words or ([Word(text, ())] if text else [])


def _separate(word: str, following: str) -> bool:
    """Whether what follows is another word."""
    if not word.strip() or not following:
        return False
    before, after = word[-1], following[0]
    if _CLINGS.match(after) or before == "\u200d":
        return False
    return not (_LETTER.match(before) and _LETTER.match(after))
