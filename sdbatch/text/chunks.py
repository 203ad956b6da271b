"""Long texts in chunks of as many tokens as an encoder reads at once. Imports no Paddle.

Source: AUTOMATIC1111's web UI, `modules/sd_hijack_clip.py`, `tokenize_line`. Otherwise than there,
nothing is moved out of the last chunk that is allowed, because it would be lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sdbatch.text import TextOptions
from sdbatch.text.chinese import Preparation, spaced
from sdbatch.text.syntax import Span, parse_weights
from sdbatch.text.tokens import Tokenizer, Word, together


@dataclass(frozen=True)
class Chunk:
    """What an encoder reads at once: ids and weights [length], with start, end and padding."""

    ids: tuple[int, ...]
    weights: tuple[float, ...]


@dataclass(frozen=True)
class Reading:
    """A text as one tokenizer reads it; see `ReadPrompt`."""

    chunks: tuple[Chunk, ...]
    tokens: int
    truncated: str | None
    read_as: str

    @property
    def weighted(self) -> bool:
        """Whether any weight is not 1."""
        return any(weight != 1 for chunk in self.chunks for weight in chunk.weights)


@dataclass(frozen=True)
class _Token:
    """One token of a text; `rest` counts those of its word from here on."""

    id: int
    weight: float
    word: Word
    rest: int


def read_text(text: str, tokenizer: Tokenizer, options: TextOptions) -> Reading:
    """A text in one or more chunks.

    Args:
        text: any.
        tokenizer: of one encoder; one that is not `chunked` reads one chunk, and no BREAK.
        options: of all.
    """
    preparation = options.preparation
    read_as = preparation.prepared(text, weighting=options.weighting)
    spans = parse_weights(read_as) if options.weighting else [Span(read_as)]
    if preparation.spaced:
        spans = [replace(span, text=_spaced(span.text, preparation)) for span in spans]
        read_as = " ".join(span.text or "BREAK" for span in spans)
    stream = _stream(spans, tokenizer, preparation)
    most = options.max_chunks
    if not tokenizer.chunked:
        stream, most = [token for token in stream if token], 1
    chunks, cut = _filled(
        stream, tokenizer, most, options.comma_backtrack, at_words=preparation.words
    )
    return Reading(
        tuple(_chunk(chunk, tokenizer) for chunk in chunks),
        tokens=sum(token is not None for token in stream),
        truncated=_text(cut) if any(cut) else None,
        read_as=read_as,
    )


def plain_text(text: str, options: TextOptions) -> str:
    """What a text says to people and to other networks: prepared, without weights and BREAK."""
    text = options.preparation.prepared(text, weighting=options.weighting)
    if not options.weighting:
        return text
    return "".join(span.text if span.text is not None else " " for span in parse_weights(text))


def _spaced(text: str | None, preparation: Preparation) -> str | None:
    return text and spaced(preparation.pieces(text) or ())


def _stream(
    spans: Sequence[Span], tokenizer: Tokenizer, preparation: Preparation
) -> list[_Token | None]:
    """All tokens in order; None where a chunk shall begin."""
    stream: list[_Token | None] = []
    blank = ""
    for span in spans:
        if span.text is None:
            stream.append(None)
            continue
        words = tokenizer.words(span.text)
        if preparation.words:
            words = together(words, preparation.pieces(span.text) or ())
        for word in words:
            count = len(word.ids)
            word = Word(blank + word.text, word.ids, word.whole)
            blank = "" if count else word.text
            stream += [_Token(n, span.weight, word, count - i) for i, n in enumerate(word.ids)]
    return stream


def _filled(
    stream: Sequence[_Token | None],
    tokenizer: Tokenizer,
    most: int,
    backtrack: int,
    *,
    at_words: bool,
) -> tuple[list[list[_Token]], Sequence[_Token | None]]:
    """The tokens of each chunk, at least one chunk, and those that are left over.

    With `at_words` the last chunk, too, ends before a word that would be cut in two.
    """
    chunks: list[list[_Token]] = [[]]
    for position, token in enumerate(stream):
        chunk, last = chunks[-1], len(chunks) == most
        if token is None or len(chunk) == tokenizer.room:
            if last:
                return chunks, stream[position:]
            start = len(chunk) if token is None else _next_start(chunk, token, tokenizer, backtrack)
            chunks.append(chunk[start:])
            del chunk[start:]
        elif token.word.whole and _splits(token, len(chunk), tokenizer.room):
            if not last:
                chunks.append([])
            elif at_words:
                return chunks, stream[position:]
        if token is not None:
            chunks[-1].append(token)
    if len(chunks) > 1 and not chunks[-1]:
        chunks.pop()
    return chunks, ()


def _next_start(chunk: list[_Token], token: _Token, tokenizer: Tokenizer, backtrack: int) -> int:
    """Where in a full chunk the next one begins: behind it, or behind a comma near its end."""
    if token.id != tokenizer.comma:
        for i in range(len(chunk) - 1, max(len(chunk) - backtrack, 0) - 1, -1):
            if chunk[i].id == tokenizer.comma:
                return i + 1
    return len(chunk)


def _splits(token: _Token, used: int, room: int) -> bool:
    """Whether a word begins here that a chunk could hold, but not what is left of this one."""
    first = token.rest == len(token.word.ids)
    return first and room - used < token.rest <= room


def _chunk(tokens: Sequence[_Token], tokenizer: Tokenizer) -> Chunk:
    weights = [token.weight for token in tokens]
    padding = [1.0] * (tokenizer.length - 1 - len(tokens))
    ids = tokenizer.framed([token.id for token in tokens])
    return Chunk(tuple(ids), (1.0, *weights, *padding))


def _text(cut: Sequence[_Token | None]) -> str:
    """The words of tokens: each once, at its last token, which is always among them."""
    return "".join(
        " " if token is None else token.word.text for token in cut if not token or token.rest == 1
    ).strip()
