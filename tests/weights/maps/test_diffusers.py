"""Folders of diffusers and transformers, old and new: names rename, nothing is touched."""

import pytest

from sdbatch.weights.maps import diffusers
from tests.weights.maps.renaming import renamed


def test_unet_keys_stay_as_they_are():
    key = "down_blocks.0.attentions.1.transformer_blocks.0.attn1.to_out.0.weight"
    assert renamed(diffusers.UNET, key) == key


class TestVAE:
    @pytest.mark.parametrize(
        ("old", "new"),
        [("query", "to_q"), ("key", "to_k"), ("value", "to_v"), ("proj_attn", "to_out.0")],
    )
    @pytest.mark.parametrize("leaf", ["weight", "bias"])
    def test_old_attention_names_become_the_new_ones(self, old, new, leaf):
        found = renamed(diffusers.VAE, f"encoder.mid_block.attentions.0.{old}.{leaf}")
        assert found == f"encoder.mid_block.attentions.0.{new}.{leaf}"

    @pytest.mark.parametrize(
        "key",
        [
            "decoder.mid_block.attentions.0.to_out.0.weight",
            "decoder.mid_block.attentions.0.group_norm.bias",
            "decoder.up_blocks.1.resnets.0.conv_shortcut.weight",
            "quant_conv.weight",
        ],
    )
    def test_new_names_stay(self, key):
        assert renamed(diffusers.VAE, key) == key


class TestText:
    def test_clip_names_get_the_prefix_that_transformers_5_leaves_out(self):
        key = "encoder.layers.3.mlp.fc1.weight"
        assert renamed(diffusers.CLIP_TEXT, key) == f"text_model.{key}"
        assert renamed(diffusers.CLIP_TEXT, f"text_model.{key}") == f"text_model.{key}"
        assert renamed(diffusers.CLIP_TEXT, "text_projection.weight") == "text_projection.weight"

    @pytest.mark.parametrize("prefix", ["text_model.", ""])
    def test_position_ids_are_dropped(self, prefix):
        assert "constant" in diffusers.CLIP_TEXT.why_dropped(f"{prefix}embeddings.position_ids")

    def test_bert_names_lose_the_prefix_of_a_pre_training_model(self):
        key = "encoder.layer.9.output.dense.weight"
        assert renamed(diffusers.BERT, f"bert.{key}") == key
        assert renamed(diffusers.BERT, key) == key

    @pytest.mark.parametrize(
        "key",
        ["bert.embeddings.position_ids", "cls.predictions.bias", "cls.seq_relationship.weight"],
    )
    def test_position_ids_and_the_heads_of_pre_training_are_dropped(self, key):
        assert diffusers.BERT.why_dropped(key)

    @pytest.mark.parametrize("layout", [diffusers.UNET, diffusers.VAE, diffusers.CLIP_TEXT])
    @pytest.mark.parametrize("key", ["conv_in.weight", "position_ids", "x.embeddings.position_ids"])
    def test_nothing_else_is(self, layout, key):
        assert layout.why_dropped(key) is None
