"""Folders that PyTorch diffusers and transformers wrote, now or years ago."""

from __future__ import annotations

import re

import numpy as np

from sdbatch.weights.maps import Layout

_CONSTANT = "a constant: 0, 1, 2 ..."


def vae(key: str, array: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Folders from before diffusers 0.17 name the projections of the VAE's attention differently.

    `query, key, value, proj_attn`; diffusers `Attention` renames them when it loads.
    """
    if ".attentions." in key:
        key = re.sub(r"\.(query|key|value|proj_attn)\.", lambda m: f".{_OLD_ATTENTION[m[1]]}.", key)
    return [(key, array)]


_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def clip_text(key: str, array: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """`CLIPTextModel`: transformers 5 leaves the prefix `text_model.` out, which others write."""
    if key.startswith(("text_model.", "text_projection.")):
        return [(key, array)]
    return [(f"text_model.{key}", array)]


def bert(key: str, array: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """`BertModel`, by itself or inside a pre-training model."""
    return [(key.removeprefix("bert."), array)]


def roberta_series(*, pre_transformation: bool) -> Layout:
    """`RobertaSeriesModelWithTransformation`, whose names are the common ones.

    Args:
        pre_transformation: the states before the last layer are read, by a projection of their own.
    """
    return Layout(droppable=roberta_series_dropped(pre_transformation=pre_transformation))


def roberta_series_dropped(*, pre_transformation: bool) -> tuple[tuple[str, str], ...]:
    """What diffusers builds or stores there and no picture needs."""
    dropped = (
        (r"roberta\.embeddings\.(position_ids|token_type_ids)", _CONSTANT),
        (r"(roberta\.)?pooler\..+", "no part of this pipeline reads the pooled text"),
        (r"logit_scale", "belongs to the text encoder's training"),
    )
    if pre_transformation:
        reason = "projects the last layer: the UNet reads the one before it"
        dropped += ((r"transformation\..+", reason),)
    return dropped


UNET = Layout()
VAE = Layout(vae)
CLIP_TEXT = Layout(clip_text, ((r"(text_model\.)?embeddings\.position_ids", _CONSTANT),))
BERT = Layout(
    bert,
    (
        (r"(bert\.)?embeddings\.position_ids", _CONSTANT),
        (r"cls\..+", "a head of BERT's pre-training, which no picture needs"),
    ),
)
