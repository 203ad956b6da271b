"""Chinese prompts made ready for a tokenizer: characters, words, keywords. Imports no Paddle.

Each step is an option of its own. What each is worth is measured in docs/chinese.md.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise

from sdbatch.text.segmenter import Segmenter

_HAN = r"\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Chinese characters, and those that Japanese and Korean share with Chinese."""

_CHINESE = re.compile(f"[{_HAN}]")
_WIDE_WEIGHT = re.compile(r"（([^（）]*)[：:]\s*([+-]?[\d０-９.．]+)\s*）")


def has_chinese(text: str) -> bool:
    """Whether any character is Chinese."""
    return _CHINESE.search(text) is not None


@dataclass(frozen=True)
class Preparation:
    """What is done to each text before a tokenizer reads it.

    Attributes:
        unicode: compatibility forms are made one (NFKC): full-width letters, digits and
            punctuation become ASCII. Of full-width brackets only `（词：1.3）` becomes a weight.
        simplify: traditional characters become simplified ones (OpenCC, t2s).
        words: words (jieba) are not cut in two where a chunk ends.
        user_dict: a file of words for jieba.
        spaced: words stand apart by spaces, as SentencePiece has seen other languages.
        keywords: so many keywords of each prompt are recorded; they shape no picture.
        keywords_by: `tfidf` or `textrank`.
    """

    unicode: bool = False
    simplify: bool = False
    words: bool = False
    user_dict: str | None = None
    spaced: bool = False
    keywords: int = 0
    keywords_by: str = "tfidf"

    @cached_property
    def segmenter(self) -> Segmenter:
        """Reads the dictionaries, which takes a second.

        Raises:
            BadDictionary: the user's cannot be read.
        """
        return Segmenter(self.user_dict)

    def prepared(self, text: str, *, weighting: bool) -> str:
        """The text with its characters made ready.

        Args:
            text: any.
            weighting: whether round brackets are weights afterwards.
        """
        if self.unicode:
            text = _WIDE_WEIGHT.sub(r"(\1:\2)", text)
            if weighting:  # other full-width brackets are text, and stay so
                text = text.replace("（", "\\(").replace("）", "\\)")
            text = unicodedata.normalize("NFKC", text)
        return _simplified(text) if self.simplify else text

    def pieces(self, text: str) -> list[str] | None:
        """The words of a text; joined, they are the text. None where words are not asked for."""
        return self.segmenter.words(text) if self.words or self.spaced else None

    def keywords_of(self, text: str) -> tuple[str, ...]:
        """The text's most telling words, best first."""
        if not self.keywords:
            return ()
        return self.segmenter.keywords(text, self.keywords, self.keywords_by)


def spaced(pieces: Sequence[str]) -> str:
    """Words joined by spaces where one of the neighbours is Chinese and neither is a blank."""
    text = "".join(pieces[:1])
    for left, right in pairwise(pieces):
        chinese = has_chinese(left) or has_chinese(right)
        blank = left[-1:].isspace() or right[:1].isspace()
        text += f" {right}" if chinese and not blank else right
    return text


def _simplified(text: str) -> str:
    return _to_simplified()(text) if has_chinese(text) else text


@lru_cache(1)
def _to_simplified() -> Callable[[str], str]:
    from opencc import OpenCC  # reads its dictionaries

    return OpenCC("t2s").convert
