"""Names of PaddleNLP's text encoders, there and back; folders in Paddle's own form.

Weights of `nn.Linear` are [in, out] in Paddle. Where they are transposed is not a map's business:
`load` decides it by the type of the layer, never by shape. A bare parameter, which has no type, is
the exception: PaddleNLP's `text_projection`.
"""

from __future__ import annotations

import numpy as np

from sdbatch.weights.maps import Layout, diffusers, replaced

# transformers' name, PaddleNLP's name; each part occurs once in a key.
_CLIP_NAMES = (
    ("text_model.embeddings.token_embedding.", "text_model.token_embedding."),
    ("text_model.embeddings.position_embedding.", "text_model.positional_embedding."),
    ("text_model.final_layer_norm.", "text_model.ln_final."),
    ("text_model.encoder.layers.", "text_model.transformer.layers."),
    (".mlp.fc", ".linear"),
    (".layer_norm", ".norm"),
)
_BERT_NAMES = (
    ("embeddings.LayerNorm.", "embeddings.layer_norm."),
    ("encoder.layer.", "encoder.layers."),
    (".attention.self.query.", ".self_attn.q_proj."),
    (".attention.self.key.", ".self_attn.k_proj."),
    (".attention.self.value.", ".self_attn.v_proj."),
    (".attention.output.dense.", ".self_attn.out_proj."),
    (".attention.output.LayerNorm.", ".norm1."),
    (".intermediate.dense.", ".linear1."),
    (".output.dense.", ".linear2."),
    (".output.LayerNorm.", ".norm2."),
)


def clip_text(name: str, array: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """transformers' `CLIPTextModel` (with or without projection) to PaddleNLP's."""
    if name == "text_projection.weight":
        return [("text_projection", array.T)]
    return [(replaced(name, _CLIP_NAMES), array)]


def bert(name: str, array: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """transformers' `BertModel` to PaddleNLP's."""
    return [(replaced(name, _BERT_NAMES), array)]


def from_clip_text(key: str, array: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """PaddleNLP's `CLIPTextModel` to transformers', whose names ppdiffusers uses by itself."""
    if key in ("text_projection", "text_projection.weight"):
        return [("text_projection.weight", array.T)]
    return [(replaced(key, _reversed(_CLIP_NAMES)), array)]


def from_bert(key: str, array: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """PaddleNLP's `BertModel` to transformers'."""
    return [(replaced(key.removeprefix("bert."), _reversed(_BERT_NAMES)), array)]


def from_roberta_series(key: str, array: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Our `RobertaSeries` to diffusers', whose names ppdiffusers uses by itself."""
    return [(replaced(key, _reversed(_BERT_NAMES)), array)]


def roberta_series(*, pre_transformation: bool) -> Layout:
    """What `sdbatch.convert` or ppdiffusers wrote of `diffusers.roberta_series`."""
    dropped = diffusers.roberta_series_dropped(pre_transformation=pre_transformation)
    return Layout(from_roberta_series, dropped, linear_in_out=True)


def _reversed(names: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    return tuple((new, old) for old, new in names)


UNET = Layout(linear_in_out=True)
VAE = Layout(diffusers.vae, linear_in_out=True)
CLIP_TEXT = Layout(
    from_clip_text,
    ((r"text_model\.position_ids", "a constant: 0, 1, 2 ..."),),
    linear_in_out=True,
)
BERT = Layout(from_bert, ((r"cls\..+", "a head of BERT's pre-training"),), linear_in_out=True)
