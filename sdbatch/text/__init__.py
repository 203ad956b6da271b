"""Prompts made into what the UNet reads: words, weights, chunks, states.

`encoder` runs the networks; the rest of the room is pure and imports no Paddle.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sdbatch.text.chinese import Preparation


class TextOptionsError(ValueError):
    """An option that cannot be followed, or that the networks cannot follow."""


@dataclass(frozen=True)
class TextOptions:
    """How prompts are read.

    Attributes:
        weighting: read `(word:1.3)`, `[word]` and `BREAK`, see `syntax`; else brackets are text.
        restore_mean: after weighting, scale the states of each chunk to their mean before it.
        max_chunks: at most so many chunks of a text are read; 1 is what diffusers does.
        comma_backtrack: where a chunk is full and its last comma is among its last so many tokens,
            the words after the comma go into the next chunk; 0 is off.
        clip_skip: so many last layers are left out, as diffusers counts: 1 is what web UIs call
            "Clip skip 2". As in diffusers, negative prompts are read with all layers.
        cache_mb: memory for encoded texts, in MiB.
        preparation: what is done to each text before.

    Raises:
        TextOptionsError: a number out of its range.
    """

    weighting: bool = False
    restore_mean: bool = False
    max_chunks: int = 4
    comma_backtrack: int = 0
    clip_skip: int = 0
    cache_mb: int = 256
    preparation: Preparation = field(default_factory=Preparation)

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            found = getattr(self, name)
            if found < least:
                raise TextOptionsError(f"{name}={found}: expected at least {least}")

    def check_layers(self, layers: int, *, sdxl: bool) -> None:
        """Refuse to skip more layers than a text encoder has.

        Args:
            layers: of the text encoder, its `num_hidden_layers`.
            sdxl: whether the last layer is not read anyway.

        Raises:
            TextOptionsError: naming the most that can be skipped.
        """
        most = layers - sdxl
        if self.clip_skip > most:
            raise TextOptionsError(
                f"clip_skip={self.clip_skip}: expected at most {most}; the text encoder has "
                f"{layers} layers"
            )


_LEAST = {"max_chunks": 1, "comma_backtrack": 0, "clip_skip": 0, "cache_mb": 0}


@dataclass(frozen=True)
class ReadPrompt:
    """What became of one text.

    Attributes:
        chunks: how many chunks of states it has, at least 1.
        tokens: of the whole text, also of what was cut; without start, end and padding.
        truncated: the words that were cut, as the tokenizer reads them (CLIP: in small letters); a
            word that was cut in two is among them. None where nothing was cut.
        read_as: the text as the tokenizer got it, where that is another one.
        translated: what a translator made of it, where it did anything.
    """

    chunks: int
    tokens: int
    truncated: str | None
    read_as: str | None = None
    translated: str | None = None
