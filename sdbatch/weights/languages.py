"""Whether a checkpoint's text encoders were made for Chinese. Imports no Paddle."""

from __future__ import annotations

from collections.abc import Iterable

from sdbatch.models.config import text_architecture
from sdbatch.text.bpe import written
from sdbatch.text.chinese import has_chinese
from sdbatch.weights.checkpoint import Checkpoint, TokenizerFiles
from sdbatch.weights.tokenizer_kind import SENTENCEPIECE, WORDPIECE, tokenizer_kind
from sdbatch.weights.vocabulary import bert_vocabulary, clip_vocabulary, sentencepiece_model

_ENOUGH = 256
"""Words with Chinese characters; OpenAI's CLIP knows 13 among its 49,408."""


def reads_chinese(checkpoint: Checkpoint) -> bool:
    """Whether the vocabulary of any of its tokenizers has Chinese words.

    Every CLIP tokenizer takes any text, since it falls back to bytes, but what it makes of those
    the encoder never learned.

    Raises:
        UserError: a vocabulary file is missing or malformed.
    """
    pairs = zip(checkpoint.tokenizers, checkpoint.text_encoders, strict=True)
    return any(knows_chinese(files, text_architecture(encoder.config)) for files, encoder in pairs)


def knows_chinese(files: TokenizerFiles, kind: str | None) -> bool:
    """Whether a tokenizer's vocabulary has Chinese words; `kind` is its encoder's architecture."""
    method = tokenizer_kind(files, kind)
    if method == WORDPIECE:
        return _has_enough(bert_vocabulary(files))
    if method == SENTENCEPIECE:
        model = sentencepiece_model(files)
        return _has_enough(model.id_to_piece(i) for i in range(model.get_piece_size()))
    return _has_enough(written(word) for word in clip_vocabulary(files)[0])


def _has_enough(words: Iterable[str]) -> bool:
    words = list(words)
    return sum(map(has_chinese, words)) >= min(_ENOUGH, len(words) // 10)
