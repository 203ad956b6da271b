"""Networks that judge pictures, as transformers and diffusers name their weights.

References: transformers `models/clip/modeling_clip.py`, `models/chinese_clip/` and diffusers
`pipelines/stable_diffusion/safety_checker.py`. The layers of `sdbatch.scoring` keep those names,
but for the text tower, which is PaddleNLP's and called `text` there.
"""

from __future__ import annotations

import numpy as np

from sdbatch.weights.maps import Layout, paddle_form

_POSITIONS = (r"(text|vision)_model\.(vision_model\.)?embeddings\.position_ids", "0, 1, 2 ...")
_SCALE = (r"logit_scale", "stretches similarities in training; a cosine is what is asked for")


def clip(name: str, array: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """transformers' `CLIPModel` to `ClipTowers` with PaddleNLP's `CLIPTextModelWithProjection`."""
    if not name.startswith(("text_model.", "text_projection.")):
        return [(name, array)]
    return [(f"text.{key}", moved) for key, moved in paddle_form.clip_text(name, array)]


def chinese_clip(name: str, array: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """transformers' `ChineseCLIPModel` to `ChineseClipTowers` with PaddleNLP's `BertModel`."""
    if not name.startswith("text_model."):
        return [(name, array)]
    moved = paddle_form.bert(name.removeprefix("text_model."), array)
    return [(f"text.{key}", array) for key, array in moved]


def safety(key: str, array: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """diffusers' safety checker, whose tower is a model of its own: `vision_model` twice."""
    return [(key.replace("vision_model.vision_model.", "vision_model.", 1), array)]


CLIP = Layout(droppable=(_POSITIONS, _SCALE))
CHINESE_CLIP = Layout(
    droppable=(
        _POSITIONS,
        _SCALE,
        (r"text_model\.pooler\..+", "Chinese-CLIP takes the first token's state as it is"),
    )
)
SAFETY = Layout(safety, droppable=(_POSITIONS,))
