"""Every network agrees with PyTorch within 1e-4 (relative L2), on flat inputs as on random ones."""

import numpy as np
import paddle
import pytest

from tests.conftest import relative_error

TOLERANCE = 1e-4


@pytest.mark.parametrize("inputs", ["random", "flat", "odd"])
def test_unet_output_equals_pytorch(pipelines, model_name, arrays, inputs):
    unet = pipelines(model_name).unet
    with paddle.no_grad():
        found = unet(
            paddle.to_tensor(arrays[f"unet_{inputs}_latents"]),
            paddle.to_tensor(arrays["timesteps"]),
            paddle.to_tensor(arrays[f"unet_{inputs}_context"]),
        )
    assert relative_error(found.numpy(), arrays[f"unet_{inputs}_output"]) < TOLERANCE


@pytest.mark.parametrize("inputs", ["random", "flat"])
def test_vae_decodes_as_pytorch_does(pipelines, model_name, arrays, inputs):
    vae = pipelines(model_name).vae
    with paddle.no_grad():
        found = vae.decode(paddle.to_tensor(arrays[f"decode_{inputs}_latents"]))
    assert relative_error(found.numpy(), arrays[f"decode_{inputs}_output"]) < TOLERANCE


@pytest.mark.parametrize("inputs", ["random", "flat"])
def test_vae_encodes_as_pytorch_does(pipelines, model_name, arrays, inputs):
    vae = pipelines(model_name).vae
    with paddle.no_grad():
        mean, log_variance = vae.encode(paddle.to_tensor(arrays[f"encode_{inputs}_pixels"]))
    assert relative_error(mean.numpy(), arrays[f"encode_{inputs}_mean"]) < TOLERANCE
    expected = arrays[f"encode_{inputs}_log_variance"]
    assert relative_error(log_variance.numpy(), expected) < TOLERANCE


def test_tokenizer_gives_the_ids_of_transformers(pipelines, model_name, arrays, golden):
    texts = golden["models"][model_name]["texts"]
    found = pipelines(model_name).text_encoder.tokenize(texts)
    for text, ids, expected in zip(texts, found, arrays["ids"].tolist(), strict=True):
        assert ids == expected, text


def test_text_states_equal_transformers(pipelines, model_name, arrays, golden):
    texts = golden["models"][model_name]["texts"]
    with paddle.no_grad():
        found = pipelines(model_name).text_encoder.encode(texts).numpy()
    for row, expected in zip(found, arrays["states"], strict=True):
        assert relative_error(row, expected) < TOLERANCE


def test_layer_norms_of_bert_have_the_epsilon_of_the_config(pipelines):
    """PaddleNLP would give them 1e-5; the checkpoint says 1e-12."""
    norms = [
        layer
        for layer in pipelines("demo_zh").text_encoder.network.sublayers()
        if isinstance(layer, paddle.nn.LayerNorm)
    ]
    assert norms
    flat = paddle.to_tensor(np.linspace(0, 1e-3, 128, dtype=np.float32)[None])
    for norm in norms:
        centred = (norm(flat) - norm.bias) / norm.weight
        assert float(centred.std(unbiased=False)) == pytest.approx(1.0, abs=1e-3)
