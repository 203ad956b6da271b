"""Every network agrees with PyTorch within 1e-4 (relative L2), on flat inputs as on random ones."""

import json

import numpy as np
import paddle
import pytest

from sdbatch.models.config import UNetConfig, VAEConfig
from sdbatch.models.text import text_network
from sdbatch.models.unet import UNet
from sdbatch.models.vae import VAE
from sdbatch.weights.files.safetensors import open_safetensors
from sdbatch.weights.load import build, fill
from sdbatch.weights.maps import diffusers, paddle_form, same
from tests.conftest import GOLDEN, relative_error

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


def filled_from(record, part: str, factory, folder, layout, to_layer=same):
    """A network with the weights that are recorded, as a `.safetensors` file, under `part`."""
    path = folder / f"{part}.safetensors"
    path.write_bytes(record[part].tobytes())
    network = build(factory, "float32")
    fill(network, open_safetensors(path).items(), layout, to_layer, source=str(path))
    return network


@pytest.fixture(params=["tiny_sd2", "tiny_sdxl", "tiny_lcm"])
def tiny(request):
    """A record of a tiny network: SD 2.x has linear projections and a number of heads per block,
    SDXL has added embeddings and more than one transformer layer too, LCM is told the guidance. In
    the first the weights before each norm are so small that its epsilon counts."""
    with np.load(GOLDEN / f"{request.param}.npz") as file:
        return dict(file)


@pytest.mark.parametrize("inputs", ["random", "flat"])
def test_unets_built_as_sd2_sdxl_and_lcm_equal_pytorch(tiny, inputs, tmp_path):
    config = UNetConfig.from_dict(json.loads(str(tiny["unet_config"])))
    unet = filled_from(tiny, "unet", lambda: UNet(config), tmp_path, diffusers.UNET)
    names = ("timesteps", "context", "pooled", "time_ids", "guidance_scale")
    more = {name: paddle.to_tensor(tiny[name]) for name in names if name in tiny}
    with paddle.no_grad():
        found = unet(paddle.to_tensor(tiny[f"{inputs}_latents"]), **more)
    assert relative_error(found.numpy(), tiny[f"{inputs}_output"]) < TOLERANCE


def test_every_norm_of_a_vae_has_the_epsilon_of_pytorch(tmp_path):
    """The weights before each norm are so small that its epsilon counts."""
    with np.load(GOLDEN / "tiny_vae.npz") as file:
        record = dict(file)
    config = VAEConfig.from_dict(json.loads(str(record["vae_config"])))
    vae = filled_from(record, "vae", lambda: VAE(config), tmp_path, diffusers.VAE)
    with paddle.no_grad():
        mean, log_variance = vae.encode(paddle.to_tensor(record["pixels"]))
        decoded = vae.decode(paddle.to_tensor(record["latents"]))
    assert relative_error(mean.numpy(), record["mean"]) < TOLERANCE
    assert relative_error(log_variance.numpy(), record["log_variance"]) < TOLERANCE
    assert relative_error(decoded.numpy(), record["decoded"]) < TOLERANCE


def test_a_clip_encoder_with_erf_gelu_as_in_sd2_equals_transformers(tmp_path):
    with np.load(GOLDEN / "tiny_sd2.npz") as file:
        record = dict(file)
    config = json.loads(str(record["text_config"]))
    network = filled_from(
        record,
        "text",
        lambda: text_network(config),
        tmp_path,
        diffusers.CLIP_TEXT,
        paddle_form.clip_text,
    )
    with paddle.no_grad():
        found = network(paddle.to_tensor(record["ids"]))[0].numpy()
    assert relative_error(found, record["states"]) < TOLERANCE
