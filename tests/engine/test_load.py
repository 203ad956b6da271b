"""Networks that are sound each but cannot be connected are refused before any weight is read."""

import json
import shutil

import pytest

from sdbatch.engine.device import Device
from sdbatch.engine.load import PLAIN_TEXT, load_pipeline
from sdbatch.errors import UserError
from sdbatch.samplers import Sampler
from sdbatch.weights.source import open_checkpoint
from tests.conftest import ASSETS

SDXL = {
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 64,
}


@pytest.fixture
def refusal(tmp_path):
    """`refusal(part, key=value)`: what a demo checkpoint with another config is refused with."""

    def call(part: str, text=PLAIN_TEXT, **changes) -> str:
        folder = shutil.copytree(ASSETS / "demo", tmp_path / "checkpoint")
        path = folder / part / "config.json"
        config = {**json.loads(path.read_text()), **changes}
        path.write_text(json.dumps({k: v for k, v in config.items() if v is not ...}))
        checkpoint = open_checkpoint(folder)
        sampler = Sampler.from_config(checkpoint.scheduler)
        with pytest.raises(UserError) as caught:
            load_pipeline(checkpoint, sampler, Device("cpu", "fp32"), text=text)
        line = str(caught.value)
        assert len(line.splitlines()) == 1
        return line.removeprefix(f"{folder}/")

    return call


@pytest.mark.parametrize(
    ("part", "changes", "expected"),
    [
        ("unet", SDXL, "unet/config.json: projection_class_embeddings_input_dim=64: expected 176,"),
        ("unet", {"in_channels": 8}, "unet/config.json: in_channels=8, out_channels=4: expected 4"),
        ("unet", {"out_channels": 8}, "unet/config.json: in_channels=4, out_channels=8: expected"),
        ("vae", {"latent_channels": 16}, "unet/config.json: in_channels=4, out_channels=4: expect"),
        ("unet", {"cross_attention_dim": 768}, "unet/config.json: cross_attention_dim=768: expect"),
        ("unet", {"act_fn": "gelu"}, "unet/config.json: act_fn='gelu': only 'silu' is supported"),
        ("vae", {"act_fn": "gelu"}, "vae/config.json: act_fn='gelu': only 'silu' is supported"),
        ("text_encoder", {"hidden_size": ...}, "text_encoder/config.json: hidden_size=None: "),
        (
            "text_encoder",
            {"max_position_embeddings": ...},
            "text_encoder/config.json: max_position_embeddings=None: expected a positive integer",
        ),
        (
            "text_encoder",
            {"architectures": ["T5EncoderModel"]},
            "text_encoder/config.json: text encoder 'T5EncoderModel': expected one of ",
        ),
    ],
)
def test_a_config_that_does_not_fit(refusal, part, changes, expected):
    assert refusal(part, **changes).startswith(expected)


def test_a_network_that_is_not_the_one_of_its_config(refusal):
    line = refusal("unet", block_out_channels=[48, 96, 192])
    assert line.startswith("unet: ")
    assert "expected shape" in line
