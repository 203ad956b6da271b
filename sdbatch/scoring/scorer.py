"""How well pictures fit their texts, by CLIP or Chinese-CLIP: Hessel et al. 2021, arXiv 2104.08718.

The cosine as it is, without that paper's factor of 2.5 and cut at 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sdbatch.scoring.files import JudgeFiles
from sdbatch.scoring.preparation import Preparation
from sdbatch.scoring.reading import BATCH, directions, in_batches, read_pictures
from sdbatch.scoring.towers import ChineseClipTowers, ClipTowers, load_towers
from sdbatch.text.tokens import Tokenizer


@dataclass(frozen=True)
class Scorer:
    """A judge of how well pictures fit texts. Any thread may call it, several at once too.

    Attributes:
        name: of the judge's folder.
        preparation: of pictures.
        tokenizer: of texts.
        towers: the networks.
        batch: how many pictures or texts are read at once.
    """

    name: str
    preparation: Preparation
    tokenizer: Tokenizer
    towers: ClipTowers | ChineseClipTowers
    batch: int = BATCH

    def score(self, pixels: Sequence[np.ndarray], texts: Sequence[str]) -> np.ndarray:
        """How well each picture fits the text of the same position.

        Args:
            pixels: uint8 [height, width, 3] each, of any sizes.
            texts: as many; cut to what the network can read, with the end token kept.

        Returns:
            float32 [n], cosines in -1..1.

        Raises:
            ValueError: there are more of one than of the other, or something is no picture.
        """
        if len(pixels) != len(texts):
            raise ValueError(f"{len(pixels)} pictures and {len(texts)} texts")
        if not texts:
            return np.zeros(0, np.float32)
        places = {text: i for i, text in enumerate(dict.fromkeys(texts))}  # samples share theirs
        words = directions(self.text_features(list(places)))[[places[text] for text in texts]]
        cosines = (directions(self.image_features(pixels)) * words).sum(axis=-1)
        return np.clip(cosines, -1, 1)

    def image_features(self, pixels: Sequence[np.ndarray]) -> np.ndarray:
        """float32 [n, projection] of at least one picture; errors as `read_pictures`."""
        return read_pictures(self.towers, self.preparation, pixels, self.batch)

    def text_features(self, texts: Sequence[str]) -> np.ndarray:
        """float32 [n, projection] of at least one text."""
        tokenizer = self.tokenizer
        ids = [tokenizer.ids(text)[: tokenizer.room] for text in texts]
        return in_batches(lambda rows: self.towers.read_texts(tokenizer, rows), ids, self.batch)


def load_scorer(files: JudgeFiles, *, batch: int = BATCH) -> Scorer:
    """Build the networks on the current device and fill them, strictly.

    While other threads build layers too this must not be called: Paddle knows one default dtype.

    Args:
        files: of a `clip` or `chinese_clip`.
        batch: how many pictures or texts are read at once.

    Raises:
        UserError: a weight is missing, unexpected or of a wrong shape.
        ValueError: the files are of another kind of judge.
    """
    if files.config.text is None:
        raise ValueError(f"kind {files.kind!r} reads no texts")
    return Scorer(files.name, files.preparation, files.tokenizer(), load_towers(files), batch)
