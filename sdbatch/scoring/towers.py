"""Judges as Paddle layers: a vision tower, what stands beside it, and how both are filled.

References: transformers `CLIPModel` and `ChineseCLIPModel`, diffusers
`StableDiffusionSafetyChecker`. Text towers are PaddleNLP's, as those of the pipelines are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import paddle
from paddle import Tensor, nn

from sdbatch.engine.tracing import RECORDING
from sdbatch.models.layers import Linear
from sdbatch.models.text import TextEncoder, text_network
from sdbatch.scoring.config import JudgeConfig
from sdbatch.scoring.files import JudgeFiles
from sdbatch.scoring.vision import VisionTower
from sdbatch.text.tokens import Tokenizer
from sdbatch.weights.load import build, fill
from sdbatch.weights.maps import judges, same

_MASKED = -1e9
"""Added to a score that must not count; float32 has no use for more."""


class PictureReader(nn.Layer):
    """A vision tower and its projection."""

    def __init__(self, config: JudgeConfig):
        super().__init__()
        self.vision_model = VisionTower(config.vision)
        self.visual_projection = Linear(config.vision.hidden_size, config.projection, bias=False)

    def read_pictures(self, pictures: Tensor) -> Tensor:
        """float32 [n, 3, image_size, image_size] -> [n, projection]."""
        return self.visual_projection(self.vision_model(pictures))


class ClipTowers(PictureReader):
    """CLIP: its text tower attends backwards, and is read at a text's end."""

    def __init__(self, config: JudgeConfig):
        super().__init__(config)
        self.text = text_network(config.text)

    def read_texts(self, tokenizer: Tokenizer, ids: Sequence[Sequence[int]]) -> Tensor:
        """Ids without frame, at most `tokenizer.room` each -> [n, projection]."""
        longest = max(map(len, ids)) + 2
        rows = [tokenizer.framed(row)[:longest] for row in ids]
        return TextEncoder(tokenizer, self.text).encode(rows)[1]


class ChineseClipTowers(PictureReader):
    """Chinese-CLIP: its text tower is a BERT, read at the first token, as it is."""

    def __init__(self, config: JudgeConfig):
        super().__init__(config)
        self.text = text_network(config.text)
        self.text.pooler = nn.Identity()  # Chinese-CLIP has no weights for one
        self.text_projection = Linear(config.text["hidden_size"], config.projection, bias=False)

    def read_texts(self, tokenizer: Tokenizer, ids: Sequence[Sequence[int]]) -> Tensor:
        """Ids without frame, at most `tokenizer.room` each -> [n, projection]."""
        lengths = np.array([len(row) + 2 for row in ids])
        longest = lengths.max()
        rows = paddle.to_tensor(np.array([tokenizer.framed(row)[:longest] for row in ids]))
        # By length, not by id: a text may say "[PAD]".
        padding = np.arange(longest) >= lengths[:, None]
        mask = paddle.to_tensor(np.where(padding, _MASKED, 0).astype(np.float32))
        found = self.text(rows, attention_mask=mask[:, None, None, :], return_dict=True)
        return self.text_projection(found.last_hidden_state[:, 0])


class SafetyTowers(PictureReader):
    """The safety checker: directions of concepts beside the vision tower, and their thresholds.

    Args:
        config: its towers'.
        concepts: how many concepts there are.
        special: how many special ones, which only bring the others nearer to their thresholds.
    """

    def __init__(self, config: JudgeConfig, concepts: int, special: int):
        super().__init__(config)
        self.concept_embeds = self.create_parameter([concepts, config.projection])
        self.concept_embeds_weights = self.create_parameter([concepts])
        self.special_care_embeds = self.create_parameter([special, config.projection])
        self.special_care_embeds_weights = self.create_parameter([special])

    def concepts(self) -> dict[str, np.ndarray]:
        """Directions [n, projection] and thresholds [n] by the names of the weights."""
        with RECORDING:
            return {name: weight.numpy() for name, weight in self._parameters.items()}


def load_towers(files: JudgeFiles) -> PictureReader:
    """The judge's layer, filled strictly, in float32 on the current device.

    Raises:
        UserError: a weight is missing, unexpected or of a wrong shape.
    """
    component, config = files.component, files.config

    def make() -> PictureReader:
        if files.kind == "safety":
            return SafetyTowers(config, *files.concepts)
        return (ChineseClipTowers if files.kind == "chinese_clip" else ClipTowers)(config)

    names = {"clip": judges.clip, "chinese_clip": judges.chinese_clip}.get(files.kind, same)
    with RECORDING:
        layer = build(make, "float32")
        fill(layer, component.tensors(), component.layout, names, source=str(component.source))
    return layer
