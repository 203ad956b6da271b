"""Prompts to the states that the UNet's cross-attention reads, for every family.

SD 1.x and 2.x: states of the last layer, normed. SDXL: states before the last layer of both
encoders, not normed, side by side, and the projected text of the second (Podell et al. 2023, arXiv
2307.01952, section 2.1). Source: diffusers' `encode_prompt` of `pipeline_stable_diffusion.py` and
`pipeline_stable_diffusion_xl.py`; weights as in the web UI's `modules/sd_emphasis.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import paddle
from paddle import Tensor

from sdbatch.models.text import TextEncoder
from sdbatch.text import ReadPrompt, TextOptions, TextOptionsError
from sdbatch.text.cache import ByteCache
from sdbatch.text.chunks import Reading, read_text
from sdbatch.text.translating import InEnglish, Translate

_READINGS = 4096


@dataclass(frozen=True)
class TextStates:
    """What the UNet reads of texts, in the encoders' dtype.

    Attributes:
        states: [n, tokens, width].
        pooled: [n, projection], for SDXL.
    """

    states: Tensor
    pooled: Tensor | None

    @property
    def nbytes(self) -> int:
        """Memory that they take."""
        tensors = [self.states] if self.pooled is None else [self.states, self.pooled]
        return sum(int(t.numel()) * t.element_size() for t in tensors)


class PromptEncoder:
    """The text encoders of one checkpoint; each distinct text is encoded once.

    What becomes of a text depends on nothing but the text: it passes through the networks alone,
    and what it is padded with was encoded by itself.

    Args:
        encoders: one, or two for SDXL.
        options: how texts are read.
        sdxl: see above.
        zero_empty_negative: SDXL's `force_zeros_for_empty_prompt`.
        translate: for encoders that read English, a translator of Chinese texts.

    Raises:
        TextOptionsError: more layers shall be skipped than there are; for SDXL also encoders
            that cannot be read side by side.
    """

    def __init__(
        self,
        encoders: Sequence[TextEncoder],
        options: TextOptions,
        *,
        sdxl: bool,
        zero_empty_negative: bool = False,
        translate: Translate | None = None,
    ) -> None:
        for encoder in encoders:
            options.check_layers(encoder.layers, sdxl=sdxl)
        lengths = [encoder.tokenizer.length for encoder in encoders]
        if len(encoders) != 1 + sdxl or len(set(lengths)) != 1:
            raise TextOptionsError(
                f"expected {1 + sdxl} text encoders that read as many tokens, found {lengths}"
            )
        self._encoders, self._options, self._sdxl = tuple(encoders), options, sdxl
        self._zero_empty_negative = zero_empty_negative
        weighting = options.weighting
        self._in_english = translate and InEnglish(translate, weighting=weighting)
        self._cache = ByteCache(options.cache_mb << 20, lambda found: found.nbytes)
        self._readings = lru_cache(maxsize=_READINGS)(self._read)
        self._prompts = lru_cache(maxsize=_READINGS)(self._read_prompt)

    def read(self, text: str) -> ReadPrompt:
        """How a text is read. Of two encoders, the one with more tokens counts."""
        return self._prompts(text)

    def expect(self, texts: Iterable[str]) -> None:
        """Translate texts that will be asked for; a translator is faster with many."""
        if self._in_english:
            self._in_english.expect(texts)

    @paddle.no_grad()
    def encode(self, texts: Sequence[str], chunks: int, *, negative: bool = False) -> TextStates:
        """States of texts, all of one length.

        Args:
            texts: at least one.
            chunks: of each; texts that have fewer are followed by chunks of the empty text.
            negative: whether these are negative prompts, which are read with all layers (so does
                diffusers), and of which empty ones can be zeros.

        Returns:
            states [len(texts), chunks * length, width]; for SDXL, pooled [len(texts), projection]
            of each text's first chunk.

        Raises:
            ValueError: a text has more chunks.
        """
        distinct = {text: self._padded(text, chunks, negative) for text in dict.fromkeys(texts)}
        rows = [distinct[text] for text in texts]
        states = paddle.concat([row.states for row in rows])
        return TextStates(states, paddle.concat([r.pooled for r in rows]) if self._sdxl else None)

    def _read_prompt(self, text: str) -> ReadPrompt:
        english = self._english(text)
        readings = self._readings(text)
        longest = max(readings, key=lambda reading: reading.tokens)
        return ReadPrompt(
            chunks=max(len(reading.chunks) for reading in readings),
            tokens=longest.tokens,
            truncated=longest.truncated,
            read_as=None if longest.read_as == english else longest.read_as,
            translated=None if english == text else english,
        )

    def _english(self, text: str) -> str:
        return self._in_english(text) if self._in_english else text

    def _read(self, text: str) -> tuple[Reading, ...]:
        english = self._english(text)
        return tuple(read_text(english, e.tokenizer, self._options) for e in self._encoders)

    def _padded(self, text: str, chunks: int, negative: bool) -> TextStates:
        """One text with as many chunks as asked for."""
        missing = chunks - self.read(text).chunks
        if missing < 0:
            raise ValueError(f"expected texts of at most {chunks} chunks, found {chunks - missing}")
        skip = 0 if negative else self._options.clip_skip
        found = self._encoded(text, skip)
        states, pooled = found.states, found.pooled
        if missing:
            empty = self._encoded("", skip).states
            states = paddle.concat([states, *[empty] * missing], axis=1)
        if negative and self._zero_empty_negative and not text:
            states = paddle.zeros_like(states)
            pooled = None if pooled is None else paddle.zeros_like(pooled)
        return TextStates(states, pooled)

    def _encoded(self, text: str, skip: int) -> TextStates:
        """One text with its own chunks: states [1, chunks * length, width]."""
        return self._cache.get((text, skip), lambda: self._encode(text, skip))

    def _encode(self, text: str, skip: int) -> TextStates:
        chunks = self.read(text).chunks
        side_by_side, pooled = [], None
        for encoder, reading, empty in zip(
            self._encoders, self._readings(text), self._readings(""), strict=True
        ):
            # Where "!" is the padding, "!!" is two tokens and not one: SDXL's second encoder can
            # need a chunk more than its first.
            rows = [*reading.chunks, *empty.chunks * (chunks - len(reading.chunks))]
            layer = skip + self._sdxl
            states, pooled = encoder.encode([c.ids for c in rows], layer, normed=not self._sdxl)
            if reading.weighted:
                weights = paddle.to_tensor([c.weights for c in rows], dtype="float32")
                states = _weighted(states, weights, restore_mean=self._options.restore_mean)
            side_by_side.append(states.reshape([1, -1, states.shape[-1]]))
        joined = paddle.concat(side_by_side, axis=-1) if self._sdxl else side_by_side[0]
        return TextStates(joined, pooled[:1] if self._sdxl else None)


def _weighted(states: Tensor, weights: Tensor, *, restore_mean: bool) -> Tensor:
    """States [chunks, tokens, width] of one text, each token's times its weight."""
    before = states.astype("float32")
    after = before * weights.unsqueeze(-1)
    if restore_mean:
        means = [x.mean(axis=[1, 2], keepdim=True) for x in (before, after)]
        after = after * (means[0] / means[1])
    return after.astype(states.dtype)
