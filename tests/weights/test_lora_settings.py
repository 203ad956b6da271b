"""peft's settings of a LoRA, in diffusers' metadata or beside the file."""

import json
import math
from functools import partial

import numpy as np
import pytest

from sdbatch.errors import UserError
from sdbatch.weights.lora import open_lora
from tests.weights import loras
from tests.weights.loras import TO_Q, change, random


@pytest.fixture
def write(tmp_path):
    """`write(tensors, metadata, name)`: a LoRA file; returns its path."""
    return partial(loras.write, tmp_path)


def diffusers(**settings) -> dict:
    raw = {f"unet.{key}": value for key, value in settings.items()}
    return {"lora_adapter_metadata": json.dumps(raw)}


def tensors_of(prefix="unet.") -> dict:
    return {
        f"{prefix}{TO_Q}.lora_A.weight": random(2, 4, seed=1),
        f"{prefix}{TO_Q}.lora_B.weight": random(6, 2, seed=2),
    }


@pytest.mark.parametrize(
    ("settings", "scale"),
    [
        ({"r": 2, "lora_alpha": 6}, 3),
        ({"r": 2}, 4),  # peft's default alpha is 8
        ({"r": 2, "lora_alpha": 6, "use_rslora": True}, 6 / math.sqrt(2)),
        ({"r": 8, "lora_alpha": 6, "rank_pattern": {"to_q": 2}}, 3),
        ({"r": 2, "lora_alpha": 6, "alpha_pattern": {"attn1.to_q": 1}}, 0.5),
        ({"r": 2, "lora_alpha": 6, "alpha_pattern": {"n1.to_q": 1}}, 3),  # no whole name
        ({"r": 2, "lora_alpha": 6, "alpha_pattern": {"^to_q": 1, "to_[qk]": 2}}, 1),
        ({"r": 2, "lora_alpha": 6, "rank_pattern": None, "alpha_pattern": None}, 3),
    ],
)
def test_scale(write, settings, scale):
    plain = change(write(tensors_of()))
    found = change(write(tensors_of(), diffusers(**settings)))
    np.testing.assert_allclose(found, scale * plain, rtol=1e-6)


def test_settings_of_another_component_do_not_count(write):
    other = {"lora_adapter_metadata": json.dumps({"text_encoder.lora_alpha": 50})}
    assert np.array_equal(change(write(tensors_of(), other)), change(write(tensors_of())))


def test_a_tensors_own_alpha_wins(write):
    tensors = tensors_of() | {f"unet.{TO_Q}.alpha": np.asarray(2.0)}
    found = change(write(tensors, diffusers(r=2, lora_alpha=50)))
    assert np.array_equal(found, change(write(tensors_of())))


def test_of_peft_lie_beside_the_file(write, tmp_path):
    path = write(tensors_of("base_model.model."))
    plain = change(path)
    beside = tmp_path / "adapter_config.json"
    beside.write_text(json.dumps({"r": 2, "lora_alpha": 5, "init_lora_weights": "gaussian"}))
    np.testing.assert_allclose(change(path), 2.5 * plain, rtol=1e-6)
    assert np.array_equal(change(write(tensors_of(), name="not_peft")), plain)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"r": 3}, f"{TO_Q}: expected rank 3, found 2"),
        ({}, f"{TO_Q}: expected rank 8, found 2"),
        ({"r": "2"}, "r, lora_alpha and their patterns: expected numbers"),
        ({"r": 2, "lora_alpha": True}, "r, lora_alpha and their patterns: expected numbers"),
        (
            {"r": 2, "alpha_pattern": [1]},
            "alpha_pattern: expected numbers by patterns of names",
        ),
        (
            {"r": 2, "alpha_pattern": {"(": 1}},
            "alpha_pattern: expected numbers by patterns of names",
        ),
        (
            {"r": 2, "rank_pattern": {"(?i)x": 1}},
            "rank_pattern: expected numbers by patterns of names",
        ),
        (
            {"r": 2, "rank_pattern": {"x": None}},
            "r, lora_alpha and their patterns: expected numbers",
        ),
        (
            {"r": 2, "init_lora_weights": "pissa_niter_4"},
            "init_lora_weights='pissa_niter_4': not supported, because it changes the model's "
            "own weights too",
        ),
    ],
)
def test_what_does_not_fit_is_refused(write, settings, message):
    path = write(tensors_of(), diffusers(**{"lora_alpha": 1, **settings}))
    with pytest.raises(UserError) as caught:
        open_lora(path)
    assert str(caught.value) == f"{path}: lora_adapter_metadata: {message}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "expected a JSON object, found list"),
        (
            "{",
            "not valid JSON: Expecting property name enclosed in double quotes: "
            "line 1 column 2 (char 1)",
        ),
    ],
)
def test_malformed_json_is_refused(write, tmp_path, text, message):
    path = write(tensors_of(), {"lora_adapter_metadata": text})
    with pytest.raises(UserError) as caught:
        open_lora(path)
    assert str(caught.value) == f"{path}: lora_adapter_metadata: {message}"
    path = write(tensors_of("base_model.model."))
    beside = tmp_path / "adapter_config.json"
    beside.write_text(text)
    with pytest.raises(UserError) as caught:
        open_lora(path)
    assert str(caught.value) == f"{beside}: {message}"
