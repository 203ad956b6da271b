"""CLIP's tokenizer: small letters, words, byte pairs. Imports no Paddle.

Ids are those of transformers 5 (`models/clip/tokenization_clip.py`, which builds on the library
`tokenizers`); source of the method: Sennrich et al. 2016, arXiv 1508.07909. Two differences of
Python are minded: it alone would end Greek words in another s, and some separators are space to it.
Letters are those of the newest Unicode, which differs for scripts that were added after 2023.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import regex

from sdbatch.text.tokens import Word

_END = "</w>"
_WORDS = regex.compile(
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
)
_SPACES = regex.compile(r"\s+")


@dataclass(frozen=True)
class ClipVocabulary:
    """What a CLIP tokenizer knows.

    Attributes:
        ids: of all tokens.
        merges: pairs of tokens that become one, best first.
        unknown: id of bytes that have none.
        as_written: special tokens that are found in a text as it was written, with their ids.
        normalized: tokens that are found in the text after `normal`, with the ids that each
            stands for: special ones, and those of textual inversion.
    """

    ids: Mapping[str, int]
    merges: Sequence[tuple[str, str]]
    unknown: int
    as_written: Mapping[str, int]
    normalized: Mapping[str, tuple[int, ...]]


def normal(text: str) -> str:
    """The text as CLIP reads it: composed (NFC), in small letters, each space a blank."""
    composed = _SPACES.sub(" ", unicodedata.normalize("NFC", text))
    return "".join(map(str.lower, composed))


def clip_words(vocabulary: ClipVocabulary) -> Callable[[str], list[Word]]:
    """A function from a text to its words, in the form of `normal`.

    Where tokens of `as_written` or `normalized` overlap, the first is found, and the longest of
    those that begin together; those as written come before all others.
    """
    ranks = {pair: rank for rank, pair in enumerate(vocabulary.merges)}
    as_written = _alternatives(vocabulary.as_written)
    tokens = {normal(token): ids for token, ids in vocabulary.normalized.items()}
    normalized = _alternatives(tokens)

    @lru_cache(maxsize=1 << 16)
    def encoded(piece: str) -> tuple[int, ...]:
        symbols = _merged([_SYMBOLS[byte] for byte in piece.encode()], ranks)
        return tuple(vocabulary.ids.get(symbol, vocabulary.unknown) for symbol in symbols)

    def pieces(text: str) -> list[tuple[int, int, tuple[int, ...]]]:
        """(start, end, ids) of what has tokens in a text without special ones."""
        spans = (span for match in _WORDS.finditer(text) for span in _parts(match))
        return [(start, end, encoded(text[start:end])) for start, end in spans]

    def words(text: str) -> list[Word]:
        found: list[Word] = []
        for part in _split(as_written, text):
            if part in vocabulary.as_written:
                found.append(Word(part, (vocabulary.as_written[part],)))
                continue
            for between in _split(normalized, normal(part)):
                if between in tokens:
                    ids = tokens[between]
                    found.append(Word(between, ids, whole=len(ids) > 1))
                else:
                    found += _words(between, pieces(between))
        return found

    return words


def _parts(match: regex.Match) -> list[tuple[int, int]]:
    """A match of `_WORDS` as transformers cuts it once more: special tokens that are none."""
    start, end = match.span()
    if end - start > 4 and match[0].startswith("<|") and match[0].endswith("t|>"):
        return [(start, start + 2), (start + 2, end - 2), (end - 2, end)]
    return [(start, end)]


def _words(text: str, pieces: Sequence[tuple[int, int, tuple[int, ...]]]) -> list[Word]:
    """Words of all the text: each has the spaces after it, the first those before it too."""
    if not pieces:
        return [Word(text, ())] if text else []
    starts = [0, *(start for start, _, _ in pieces[1:]), len(text)]
    spans = zip(starts, starts[1:], pieces, strict=False)
    return [Word(text[start:end], ids) for start, end, (_, _, ids) in spans]


def _alternatives(tokens: Mapping[str, object]) -> regex.Pattern | None:
    longest_first = sorted(tokens, key=len, reverse=True)
    return regex.compile(f"({'|'.join(map(regex.escape, longest_first))})") if tokens else None


def _split(pattern: regex.Pattern | None, text: str) -> list[str]:
    """The text in parts: what matches, and what lies between."""
    return [part for part in pattern.split(text) if part] if pattern else [text]


def _merged(symbols: list[str], ranks: Mapping[tuple[str, str], int]) -> list[str]:
    """Byte pairs merged, the best pair first, until none is left."""
    symbols = [*symbols[:-1], symbols[-1] + _END]
    while len(symbols) > 1:
        pairs = set(pairwise(symbols))
        best = min(pairs, key=lambda pair: ranks.get(pair, len(ranks)))
        if best not in ranks:
            break
        symbols = _joined(symbols, best)
    return symbols


def _joined(symbols: Sequence[str], pair: tuple[str, str]) -> list[str]:
    joined, i = [], 0
    while i < len(symbols):
        both = i + 1 < len(symbols) and (symbols[i], symbols[i + 1]) == pair
        joined.append(symbols[i] + symbols[i + 1] if both else symbols[i])
        i += 1 + both
    return joined


def _byte_symbols() -> list[str]:
    """A printable character for each byte: itself where it is one, else the next from U+0100."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = (byte for byte in range(256) if byte not in printable)
    shifted = {byte: 256 + i for i, byte in enumerate(others)}
    return [chr(shifted.get(byte, byte)) for byte in range(256)]


_SYMBOLS = _byte_symbols()
_BYTES = {symbol: byte for byte, symbol in enumerate(_SYMBOLS)}


def written(token: str) -> str:
    """The text of a vocabulary's token; bytes that are no whole character are left out."""
    symbols = token.removesuffix(_END)
    return bytes(_BYTES[s] for s in symbols if s in _BYTES).decode(errors="ignore")
