"""Configs of judges, as they were published over the years, and what is refused in them."""

import pytest

from sdbatch.models.config import UnsupportedConfig
from sdbatch.scoring.config import judge_config

# What shapes the networks in the published configs; the rest of those is for other purposes.
BASE = {
    "architectures": ["CLIPModel"],
    "model_type": "clip",
    "projection_dim": 512,
    "text_config": {"bos_token_id": 0, "eos_token_id": 2, "model_type": "clip_text_model"},
    "text_config_dict": None,
    "vision_config": {"dropout": 0.0, "model_type": "clip_vision_model"},
    "vision_config_dict": None,
}
LARGE = {
    "architectures": ["CLIPModel"],
    "model_type": "clip",
    "projection_dim": 768,
    "text_config": {"eos_token_id": 2, "hidden_size": 768, "projection_dim": 768},
    "text_config_dict": {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_attention_heads": 12,
        "num_hidden_layers": 12,
        "projection_dim": 768,
    },
    "vision_config": {"hidden_size": 1024},
    "vision_config_dict": {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_attention_heads": 16,
        "num_hidden_layers": 24,
        "patch_size": 14,
        "projection_dim": 768,
    },
}
CHINESE = {
    "architectures": ["ChineseCLIPModel"],
    "model_type": "chinese_clip",
    "projection_dim": 512,
    "text_config": {"vocab_size": 21128, "model_type": "chinese_clip_text_model"},
    "vision_config": {"patch_size": 16, "hidden_act": "quick_gelu"},
}


def test_clip_base():
    found = judge_config(BASE, "clip")
    assert (found.vision.hidden_size, found.vision.patch_size, found.vision.patches) == (
        768,
        32,
        49,
    )
    assert (found.text["hidden_size"], found.text["num_attention_heads"]) == (512, 8)
    assert (found.text["eos_token_id"], found.projection) == (2, 512)
    assert found.text["projection_dim"] == 512
    assert found.vision.hidden_act == found.text["hidden_act"] == "quick_gelu"


def test_where_configs_are_given_twice_the_second_is_taken_with_its_defaults():
    found = judge_config(LARGE, "clip")
    assert (found.vision.num_hidden_layers, found.vision.patches) == (24, 256)
    assert (found.text["hidden_size"], found.projection) == (768, 768)
    assert found.text["eos_token_id"] == 49407


def test_chinese_clip():
    found = judge_config(CHINESE, "chinese_clip")
    assert found.text["layer_norm_eps"] == 1e-12
    assert (found.text["hidden_act"], found.text["vocab_size"]) == ("gelu", 21128)
    assert found.text["architectures"] == ["BertModel"]
    assert found.vision.layer_norm_eps == 1e-5
    assert found.vision.patches == 196


def test_the_safety_checker_has_no_text():
    raw = {**LARGE, "architectures": ["StableDiffusionSafetyChecker"]}
    found = judge_config(raw, "safety")
    assert found.text is None
    assert (found.vision.hidden_size, found.projection) == (1024, 768)


def test_a_config_without_architectures_is_told_by_its_type():
    assert judge_config({"model_type": "clip"}, "clip").projection == 512
    with pytest.raises(UnsupportedConfig, match="model_type='clip': expected 'chinese_clip'"):
        judge_config({"model_type": "clip"}, "chinese_clip")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"architectures": ["CLIPTextModel"]}, r"architectures=\['CLIPTextModel'\]: expected CLIP"),
        ({"projection_dim": 0}, "projection_dim=0: expected a positive integer"),
        ({"text_config": 7}, "text_config=7: expected an object"),
        ({"text_config": {"hidden_act": "relu"}}, "text_config.hidden_act='relu': expected quick"),
        ({"text_config": {"layer_norm_eps": "0"}}, "text_config.layer_norm_eps='0': expected a"),
        ({"text_config": {"eos_token_id": None}}, "text_config.eos_token_id=None: expected a"),
        ({"vision_config": {"num_channels": 4}}, "vision_config.num_channels=4: only 3 is"),
        (
            {"vision_config": {"num_attention_heads": 7}},
            "vision_config.hidden_size=768: expected a",
        ),
        ({"vision_config": {"image_size": 16}}, "vision_config.image_size=16: expected at least"),
    ],
)
def test_what_cannot_be_built_is_refused(change, says):
    with pytest.raises(UnsupportedConfig, match=says):
        judge_config({**BASE, **change}, "clip")


def test_other_kinds_of_positions_are_refused():
    text = {"position_embedding_type": "relative_key"}
    with pytest.raises(UnsupportedConfig, match="position_embedding_type='relative_key': only"):
        judge_config({**CHINESE, "text_config": text}, "chinese_clip")
