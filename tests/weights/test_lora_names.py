"""LoRAs by every naming change the weights that diffusers and peft change, and as they do."""

import json

import numpy as np
import pytest

from sdbatch.weights.lora import lora_patch, open_lora
from sdbatch.weights.lora_names import Factor, parse
from tests.conftest import GOLDEN
from tests.weights.loras import kohya, random, write

NAMINGS = GOLDEN.parent / "lora" / "namings"
FORMS = {  # form: file
    "kohya": "kohya.safetensors",
    "kohya_pickle": "kohya.pt",
    "kohya_sdxl": "kohya_sdxl.safetensors",
    "diffusers": "diffusers.safetensors",
    "diffusers_layers": "diffusers_layers.safetensors",
    "diffusers_processors": "diffusers_processors.safetensors",
    "diffusers_no_prefix": "diffusers_no_prefix.safetensors",
    "settings": "settings.safetensors",
    "settings_root": "settings_root.safetensors",
    "peft_unet": "peft_unet/adapter_model.safetensors",
    "peft_text": "peft_text/adapter_model.safetensors",
}


@pytest.fixture(scope="module")
def changes() -> dict[str, np.ndarray]:
    """What diffusers and peft add, by `form|component|weight` (tools/golden_lora_names.py)."""
    with np.load(NAMINGS / "changes.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def networks() -> dict:
    """Names of the weights of the tiny networks that the golden files belong to."""
    return json.loads((NAMINGS / "weights.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("form", FORMS)
def test_every_weight_changes_as_with_diffusers_and_peft(changes, networks, form):
    lora = open_lora(NAMINGS / FORMS[form])
    network = networks["sdxl" if "sdxl" in form else "sd"]
    expected = {
        tuple(key.split("|")[1:]): value
        for key, value in changes.items()
        if key.split("|")[0] == form
    }
    changed = set()
    for component, names in network["weights"].items():
        patch = lora_patch([(lora, 1.0)], component, names, network["layers_per_block"])
        for name in names:
            zeros = np.zeros_like(expected.get((component, name), np.zeros(1, np.float32)))
            found = patch(name, zeros)
            if found is not zeros:
                changed.add((component, name))
                np.testing.assert_allclose(found, expected[component, name], atol=1e-6)
    assert changed == expected.keys()
    assert lora.components == tuple(sorted({component for component, _ in changed}))
    assert sum(map(len, lora.modules.values())) == len(changed)


def test_all_forms_are_tested(changes):
    assert {key.split("|")[0] for key in changes} == FORMS.keys()


@pytest.mark.parametrize(
    ("key", "component", "module", "role"),
    [
        ("lora_unet_a_b_c.lora_down.weight", "unet", "a_b_c", "down"),
        ("lora_unet_a_b_c.lora_up.weight", "unet", "a_b_c", "up"),
        ("lora_unet_a_b_c.lora_mid.weight", "unet", "a_b_c", "mid"),
        ("lora_unet_a_b_c.alpha", "unet", "a_b_c", "alpha"),
        ("lora_te_text_model_x.alpha", "text_encoder", "text_model_x", "alpha"),
        ("lora_te1_text_model_x.alpha", "text_encoder", "text_model_x", "alpha"),
        ("lora_te2_text_model_x.alpha", "text_encoder_2", "text_model_x", "alpha"),
        ("unet.a.b.lora_A.weight", "unet", "a.b", "down"),
        ("unet.a.b.lora_B.weight", "unet", "a.b", "up"),
        ("unet.a.b.lora_A.default.weight", "unet", "a.b", "down"),
        ("unet.a.b.lora_B.my_style.weight", "unet", "a.b", "up"),
        ("text_encoder.a.b.lora_A.weight", "text_encoder", "a.b", "down"),
        ("text_encoder_2.a.b.lora_A.weight", "text_encoder_2", "a.b", "down"),
        ("base_model.model.down_blocks.0.a.lora_A.weight", "unet", "down_blocks.0.a", "down"),
        ("unet.base_model.model.a.lora_A.weight", "unet", "a", "down"),
        ("base_model.model.unet.a.lora_A.weight", "unet", "a", "down"),
        (
            "base_model.model.text_model.encoder.layers.0.mlp.fc1.lora_B.weight",
            "text_encoder",
            "text_model.encoder.layers.0.mlp.fc1",
            "up",
        ),
        (
            "base_model.model.encoder.layers.0.mlp.fc1.lora_B.weight",
            "text_encoder",
            "encoder.layers.0.mlp.fc1",
            "up",
        ),
        ("unet.a.attn1.processor.to_q_lora.down.weight", "unet", "a.attn1.to_q", "down"),
        ("unet.a.attn1.processor.to_out_lora.up.weight", "unet", "a.attn1.to_out", "up"),
        (
            "down_blocks.0.attn1.processor.to_k_lora.up.weight",
            "unet",
            "down_blocks.0.attn1.to_k",
            "up",
        ),
        ("unet.a.to_out.0.lora.up.weight", "unet", "a.to_out.0", "up"),
        (
            "text_encoder.a.q_proj.lora_linear_layer.down.weight",
            "text_encoder",
            "a.q_proj",
            "down",
        ),
    ],
)
def test_what_a_key_stands_for(key, component, module, role):
    assert parse(key) == Factor(component, module, role)


@pytest.mark.parametrize("prefix", ["text_model_", ""])
def test_text_modules_with_and_without_their_prefix(tmp_path, prefix):
    module = f"lora_te_{prefix}encoder_layers_0_mlp_fc1"
    name = "text_model.encoder.layers.0.mlp.fc1.weight"
    lora = open_lora(write(tmp_path, kohya(module)))
    found = lora_patch([(lora, 1.0)], "text_encoder", [name], 1)(name, np.zeros((6, 4)))
    assert found.any()


def test_a_file_without_components_of_a_network_leaves_it_alone(tmp_path):
    lora = open_lora(write(tmp_path, kohya()))
    array = random(3, 3)
    patch = lora_patch([(lora, 1.0)], "text_encoder", ["text_model.x.weight"], 1)
    assert patch("text_model.x.weight", array) is array
