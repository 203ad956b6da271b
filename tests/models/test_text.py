"""Text encoders give the states and the pooled texts of transformers."""

import numpy as np
import paddle
import pytest

from sdbatch.models.config import text_architecture
from sdbatch.models.text import TextEncoder, text_network
from sdbatch.weights.load import build, fill
from sdbatch.weights.maps import paddle_form
from sdbatch.weights.source import open_checkpoint
from sdbatch.weights.tokenizer import open_tokenizer
from tests.conftest import ASSETS, relative_error
from tests.text.tiny import encoder, record

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def bundled():
    """`bundled(name)`: the text encoder of a bundled checkpoint."""

    def load(name: str) -> TextEncoder:
        checkpoint = open_checkpoint(ASSETS / name)
        (component,), (files,) = checkpoint.text_encoders, checkpoint.tokenizers
        kind = text_architecture(component.config)
        network = build(lambda: text_network(component.config), "float32")
        names = paddle_form.bert if kind == "BertModel" else paddle_form.clip_text
        fill(network, component.tensors(), component.layout, names, source=name)
        positions = component.config["max_position_embeddings"]
        return TextEncoder(open_tokenizer(files, kind, positions), network)

    return load


def read(encoder: TextEncoder, text: str, **kwargs) -> np.ndarray:
    tokenizer = encoder.tokenizer
    with paddle.no_grad():
        ids = tokenizer.framed(tokenizer.ids(text)[: tokenizer.room])
        return encoder.encode([ids], **kwargs)[0].numpy()


def test_bundled_encoders_give_the_ids_and_states_of_transformers(
    bundled, model_name, arrays, golden
):
    found = bundled(model_name)
    texts = golden["models"][model_name]["texts"]
    for text, ids, states in zip(texts, arrays["ids"], arrays["states"], strict=True):
        tokenizer = found.tokenizer
        assert tokenizer.framed(tokenizer.ids(text)[: tokenizer.room]) == ids.tolist(), text
        assert relative_error(read(found, text)[0], states) < TOLERANCE, text


def test_every_layer_of_bert(bundled):
    found = bundled("demo_zh")
    for skip in range(found.layers + 1):
        states = read(found, str(record()["bert/text"]), skip=skip)
        assert relative_error(states, record()[f"bert/{skip}"]) < TOLERANCE, skip


def test_layer_norms_of_bert_have_the_epsilon_of_the_config(bundled):
    """PaddleNLP would give them 1e-5; the checkpoint says 1e-12."""
    layers = bundled("demo_zh").network.sublayers()
    norms = [layer for layer in layers if isinstance(layer, paddle.nn.LayerNorm)]
    assert norms
    flat = paddle.to_tensor(np.linspace(0, 1e-3, 128, dtype=np.float32)[None])
    for norm in norms:
        centred = (norm(flat) - norm.bias) / norm.weight
        assert float(centred.std(unbiased=False)) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("eos_token_id", [2, 593])
def test_the_pooled_text_is_where_transformers_takes_it(eos_token_id):
    """At the first end, or with the old mistake at the largest id: among them is a new token."""
    found = encoder("sdxl_2", eos_token_id=eos_token_id)
    rows = record()["rows"]
    with paddle.no_grad():
        _, pooled = found.encode(rows.tolist())
    expected = record()[f"rows/pooled/{eos_token_id}"]
    for row, one, other in zip(rows, pooled.numpy(), expected, strict=True):
        assert relative_error(one, other) < TOLERANCE, row


def test_the_two_configs_differ_where_it_matters():
    old, new = record()["rows/pooled/2"], record()["rows/pooled/593"]
    same = [bool(np.allclose(a, b)) for a, b in zip(old, new, strict=True)]
    assert same == [True, True, False, True]


def test_an_encoder_without_projection_has_no_pooled_text():
    with paddle.no_grad():
        assert encoder("sd2").encode([[592, 593] + [0] * 10])[1] is None


def test_states_without_the_last_norm():
    found = encoder("sd1")
    with paddle.no_grad():
        bare, _ = found.encode([[592] + [593] * 11], normed=False)
        normed, _ = found.encode([[592] + [593] * 11])
        again = found.network.text_model.ln_final(bare)
    np.testing.assert_allclose(again.numpy(), normed.numpy(), rtol=1e-5, atol=1e-6)
    assert relative_error(bare.numpy(), normed.numpy()) > 0.01


def test_layers_are_counted():
    assert encoder("sd1").layers == 3
