"""Key maps as pure functions: `(key, array) -> [(key, array), ...]`.

An empty list drops the tensor; each dropped kind is named here. Transposition of linear weights is
not a map's business: `load` decides it by the type of the target layer, never by shape.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

KeyMap = Callable[[str, np.ndarray], list[tuple[str, np.ndarray]]]


def diffusers_unet(key: str, array: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """UNet keys of diffusers are the names of our sublayers."""
    return [(key, array)]


def diffusers_vae(key: str, array: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """VAE keys of diffusers; folders from before 0.17 name the attention differently.

    There the four projections are `query, key, value, proj_attn`, and in some files 1x1
    convolutions [out, in, 1, 1] (diffusers `Attention` renames them when it loads).
    """
    if ".attentions." in key:
        key = re.sub(r"\.(query|key|value|proj_attn)\.", lambda m: f".{_OLD_ATTENTION[m[1]]}.", key)
        if array.ndim == 4:
            array = array.reshape(array.shape[:2])
    return [(key, array)]


_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def clip_text(key: str, array: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Transformers `CLIPTextModel` to PaddleNLP's.

    transformers 5 writes no `text_model.` prefix; older files store `position_ids`, a constant.
    """
    key = key.removeprefix("text_model.")
    if key == "embeddings.position_ids":
        return []
    for old, new in _CLIP_NAMES:
        key = key.replace(old, new)
    return [(f"text_model.{key}", array)]


_CLIP_NAMES = (
    ("embeddings.token_embedding.", "token_embedding."),
    ("embeddings.position_embedding.", "positional_embedding."),
    ("final_layer_norm.", "ln_final."),
    ("encoder.layers.", "transformer.layers."),
    (".mlp.fc", ".linear"),
    (".layer_norm", ".norm"),
)


def bert(key: str, array: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Transformers `BertModel` to PaddleNLP's; the heads of pre-training are not used."""
    key = key.removeprefix("bert.")
    if key == "embeddings.position_ids" or key.startswith("cls."):
        return []
    for old, new in _BERT_NAMES:
        key = key.replace(old, new)
    return [(key, array)]


_BERT_NAMES = (
    ("embeddings.LayerNorm.", "embeddings.layer_norm."),
    ("encoder.layer.", "encoder.layers."),
    ("attention.self.query.", "self_attn.q_proj."),
    ("attention.self.key.", "self_attn.k_proj."),
    ("attention.self.value.", "self_attn.v_proj."),
    ("attention.output.dense.", "self_attn.out_proj."),
    ("attention.output.LayerNorm.", "norm1."),
    ("intermediate.dense.", "linear1."),
    ("output.dense.", "linear2."),
    ("output.LayerNorm.", "norm2."),
)
