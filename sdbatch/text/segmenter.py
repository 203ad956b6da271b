"""Chinese words, found by jieba. Imports no Paddle."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

KEYWORD_METHODS = ("tfidf", "textrank")


class BadDictionary(ValueError):
    """A file of words that cannot be read; names the file and the line."""


class Segmenter:
    """jieba with its own dictionary, and the user's words on top.

    Args:
        user_dict: a text file, UTF-8; a line is a word, and after blanks, both optional, how often
            it occurs and its part of speech.

    Raises:
        BadDictionary: it cannot be read.
    """

    def __init__(self, user_dict: str | None = None) -> None:
        import jieba  # takes a while

        jieba.setLogLevel(logging.ERROR)
        self._jieba = jieba.Tokenizer()
        # Not `initialize`: it would trust a cache in /tmp, which anybody can put there.
        self._jieba.FREQ, self._jieba.total = self._jieba.gen_pfdict(self._jieba.get_dict_file())
        self._jieba.initialized = True
        if user_dict is not None:
            self._add(Path(user_dict))
        self._ways: dict[str, Any] = {}

    def words(self, text: str) -> list[str]:
        """The words of a text and what is between them; joined, they are the text."""
        return self._jieba.lcut(text)

    def keywords(self, text: str, count: int, by: str) -> tuple[str, ...]:
        """The most telling words, best first.

        Args:
            text: any.
            count: at most so many.
            by: `tfidf` (rare words count, by jieba's table of Chinese) or `textrank` (words count
                that stand near many others).
        """
        if by not in self._ways:
            self._ways[by] = self._way(by)
        return tuple(self._ways[by].extract_tags(text, topK=count))

    def _way(self, by: str) -> Any:
        from jieba import analyse, posseg

        if by == "textrank":
            way = analyse.TextRank()
            way.tokenizer = way.postokenizer = posseg.POSTokenizer(self._jieba)
        else:
            way = analyse.TFIDF()
            way.tokenizer, way.postokenizer = self._jieba, posseg.POSTokenizer(self._jieba)
        return way

    def _add(self, path: Path) -> None:
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, ValueError) as error:
            raise BadDictionary(f"{path}: cannot be read: {error}") from error
        for number, line in enumerate(lines, 1):
            word, frequency, tag = _entry(path, number, line)
            if word:
                self._jieba.add_word(word, frequency, tag)


def _entry(path: Path, number: int, line: str) -> tuple[str, int | None, str | None]:
    parts = line.split()
    word, rest = (parts[0], parts[1:]) if parts else ("", [])
    frequency = int(rest.pop(0)) if rest and rest[0].isdecimal() else None
    tag = rest.pop(0) if rest and rest[0].isascii() and rest[0].isalpha() else None
    if rest:
        raise BadDictionary(
            f"{path}: line {number}: expected WORD [FREQUENCY] [TAG], found {line.strip()[:60]!r}"
        )
    return word, frequency, tag
