"""PaddleNLP's names of the text encoders, there and back."""

import numpy as np
import pytest

from sdbatch.weights.maps import paddle_form
from tests.weights.maps.renaming import renamed

CLIP = [
    ("embeddings.token_embedding.weight", "token_embedding.weight"),
    ("embeddings.position_embedding.weight", "positional_embedding.weight"),
    ("final_layer_norm.weight", "ln_final.weight"),
    ("encoder.layers.3.self_attn.q_proj.bias", "transformer.layers.3.self_attn.q_proj.bias"),
    ("encoder.layers.3.mlp.fc1.weight", "transformer.layers.3.linear1.weight"),
    ("encoder.layers.3.mlp.fc2.weight", "transformer.layers.3.linear2.weight"),
    ("encoder.layers.11.layer_norm1.bias", "transformer.layers.11.norm1.bias"),
    ("encoder.layers.11.layer_norm2.bias", "transformer.layers.11.norm2.bias"),
]
LAYER, PADDLE_LAYER = "encoder.layer.9", "encoder.layers.9"
BERT = [
    ("embeddings.word_embeddings.weight", "embeddings.word_embeddings.weight"),
    ("embeddings.LayerNorm.weight", "embeddings.layer_norm.weight"),
    (f"{LAYER}.attention.self.query.weight", f"{PADDLE_LAYER}.self_attn.q_proj.weight"),
    (f"{LAYER}.attention.self.key.weight", f"{PADDLE_LAYER}.self_attn.k_proj.weight"),
    (f"{LAYER}.attention.self.value.bias", f"{PADDLE_LAYER}.self_attn.v_proj.bias"),
    (f"{LAYER}.attention.output.dense.bias", f"{PADDLE_LAYER}.self_attn.out_proj.bias"),
    (f"{LAYER}.attention.output.LayerNorm.bias", f"{PADDLE_LAYER}.norm1.bias"),
    (f"{LAYER}.intermediate.dense.weight", f"{PADDLE_LAYER}.linear1.weight"),
    (f"{LAYER}.output.dense.weight", f"{PADDLE_LAYER}.linear2.weight"),
    (f"{LAYER}.output.LayerNorm.weight", f"{PADDLE_LAYER}.norm2.weight"),
    ("pooler.dense.weight", "pooler.dense.weight"),
]


@pytest.mark.parametrize(("name", "paddle"), CLIP)
def test_clip_there_and_back(name, paddle):
    name, paddle = f"text_model.{name}", f"text_model.{paddle}"
    assert renamed(paddle_form.clip_text, name) == paddle
    assert renamed(paddle_form.CLIP_TEXT, paddle) == name


@pytest.mark.parametrize(("name", "paddle"), BERT)
def test_bert_there_and_back(name, paddle):
    assert renamed(paddle_form.bert, name) == paddle
    assert renamed(paddle_form.BERT, paddle) == name


def test_the_bare_text_projection_is_transposed_there_and_back():
    """It belongs to no layer whose type would tell."""
    array = np.arange(6).reshape(2, 3)
    ((name, there),) = paddle_form.clip_text("text_projection.weight", array)
    ((back, again),) = paddle_form.from_clip_text(name, there)
    assert (name, there.tolist()) == ("text_projection", array.T.tolist())
    assert (back, again.tolist()) == ("text_projection.weight", array.tolist())


@pytest.mark.parametrize(
    "layout", [paddle_form.UNET, paddle_form.VAE, paddle_form.CLIP_TEXT, paddle_form.BERT]
)
def test_linear_weights_are_the_other_way_round(layout):
    assert layout.linear_in_out
