"""A translator ready to run: a Marian folder's network, filled, and its tokenizer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import paddle

from sdbatch.errors import UserError
from sdbatch.translation.config import MarianConfig
from sdbatch.translation.files import TranslatorFiles
from sdbatch.translation.network import Marian, sinusoids
from sdbatch.translation.search import translated
from sdbatch.translation.sentences import parts
from sdbatch.weights.assign import Targets, assigned
from sdbatch.weights.checkpoint import Component
from sdbatch.weights.load import build, fill

_PREFIX = "model."
_SHARED = "model.shared.weight"
# The one table of embeddings, under all the names that it is stored by.
_COPIES = (
    _SHARED,
    "model.encoder.embed_tokens.weight",
    "model.decoder.embed_tokens.weight",
    "lm_head.weight",
)
_POSITIONS = ("model.encoder.embed_positions.weight", "model.decoder.embed_positions.weight")


@dataclass(frozen=True)
class Translator:
    """A model that reads Chinese and writes English, or whatever it was trained for."""

    files: TranslatorFiles
    network: Marian

    @paddle.no_grad()
    def translate(self, texts: Sequence[str]) -> list[str]:
        """Each text's translation, which depends on that text and the model alone.

        Texts are translated as given: brackets and weights are text. A text of more tokens than
        the model has positions for is translated in parts, which are then joined by spaces: by
        sentences, where one is too long by clauses (`sentences.parts`). A text of nothing but
        blanks stays as it is: a model would make something up.

        Runs on Paddle's current device and leaves nothing changed.

        Args:
            texts: any.

        Returns:
            As many, in the same order.
        """
        tokenizer = self.files.tokenizer
        split = [parts(text, tokenizer.fits) for text in texts]
        pieces = list(dict.fromkeys(part for found in split for part in found))
        rows = [tokenizer.encode(piece) for piece in pieces]
        positions = self.files.network.max_position_embeddings
        results = translated(self.network, rows, self.files.search, positions)
        said = dict(zip(pieces, map(tokenizer.decode, results), strict=True))
        return [
            " ".join(filter(None, map(said.__getitem__, found))) if found else text
            for text, found in zip(texts, split, strict=True)
        ]


def load_translator(files: TranslatorFiles) -> Translator:
    """Build the network in float32 on Paddle's current device and fill it.

    Every key is accounted for before a tensor is read.

    Raises:
        UserError: a key that nobody uses, a weight that is missing or of another shape, or copies
            of the embeddings that differ.
    """
    weights, config = files.weights, files.network
    network = build(lambda: Marian(config), "float32")
    layout = replace(weights.layout, rename=_renamed)
    source = str(files.path)
    stand_ins = _untied(weights, config, weights.stand_ins())
    for _ in assigned(Targets.of(network), stand_ins, layout, source=source):
        pass
    fill(network, _untied(weights, config, weights.tensors(), check=True), layout, source=source)
    return Translator(files, network)


def _renamed(key: str, array: np.ndarray) -> list[tuple[str, np.ndarray]]:
    return [(key.removeprefix(_PREFIX), array)]


def _untied(
    weights: Component,
    config: MarianConfig,
    tensors: Iterable[tuple[str, np.ndarray]],
    check: bool = False,
) -> Iterator[tuple[str, np.ndarray]]:
    """The tensors with the embeddings once, and with positions where none are stored.

    transformers stores the table of embeddings under up to four names, of which safetensors keep
    one. Copies are dropped, after a look whether they are copies (`check`).
    """
    names = [name for name in _COPIES if name in weights.places]
    for key, array in tensors:
        if key not in names:
            yield key, array
        elif key == names[0]:
            yield _SHARED, array
        elif check:
            first = weights.places[names[0]]
            if not np.array_equal(array, first.file.read(first.key)):
                raise UserError(
                    f"{weights.source}: {key}: expected a copy of {names[0]}, found other values"
                )
    for key in _POSITIONS:
        if key not in weights.places:
            yield key, sinusoids(config.max_position_embeddings, config.d_model)
