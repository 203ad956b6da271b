"""Key maps rename, drop what is named, and never touch a value they need not reshape."""

import numpy as np
import pytest

from sdbatch.weights import maps


def renamed(key_map, key: str) -> str:
    """The one name a key gets; its array must be passed through as it is."""
    array = np.zeros((2, 2))
    ((name, value),) = key_map(key, array)
    assert value is array
    return name


def test_unet_keys_stay_as_they_are():
    key = "down_blocks.0.attentions.1.transformer_blocks.0.attn1.to_out.0.weight"
    assert renamed(maps.diffusers_unet, key) == key


class TestVAE:
    @pytest.mark.parametrize(
        ("old", "new"),
        [("query", "to_q"), ("key", "to_k"), ("value", "to_v"), ("proj_attn", "to_out.0")],
    )
    @pytest.mark.parametrize("leaf", ["weight", "bias"])
    def test_old_attention_names_become_the_new_ones(self, old, new, leaf):
        found = renamed(maps.diffusers_vae, f"encoder.mid_block.attentions.0.{old}.{leaf}")
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
        assert renamed(maps.diffusers_vae, key) == key

    def test_attention_stored_as_1x1_convolution_becomes_linear(self):
        kernel = np.arange(6.0).reshape(2, 3, 1, 1)
        key = "decoder.mid_block.attentions.0.query.weight"
        ((name, value),) = maps.diffusers_vae(key, kernel)
        assert name == "decoder.mid_block.attentions.0.to_q.weight"
        assert value.tolist() == [[0, 1, 2], [3, 4, 5]]

    def test_other_1x1_convolutions_stay_convolutions(self):
        kernel = np.zeros((4, 4, 1, 1))
        ((_, value),) = maps.diffusers_vae("post_quant_conv.weight", kernel)
        assert value.shape == (4, 4, 1, 1)


class TestCLIP:
    @pytest.mark.parametrize("prefix", ["text_model.", ""])
    @pytest.mark.parametrize(
        ("key", "expected"),
        [
            ("embeddings.token_embedding.weight", "token_embedding.weight"),
            ("embeddings.position_embedding.weight", "positional_embedding.weight"),
            ("final_layer_norm.weight", "ln_final.weight"),
            ("encoder.layers.3.self_attn.q_proj.bias", "LAYERS.3.self_attn.q_proj.bias"),
            ("encoder.layers.3.mlp.fc1.weight", "LAYERS.3.linear1.weight"),
            ("encoder.layers.3.mlp.fc2.weight", "LAYERS.3.linear2.weight"),
            ("encoder.layers.11.layer_norm1.bias", "LAYERS.11.norm1.bias"),
            ("encoder.layers.11.layer_norm2.bias", "LAYERS.11.norm2.bias"),
        ],
    )
    def test_names_with_and_without_prefix(self, prefix, key, expected):
        expected = expected.replace("LAYERS", "transformer.layers")
        assert renamed(maps.clip_text, prefix + key) == f"text_model.{expected}"

    @pytest.mark.parametrize("prefix", ["text_model.", ""])
    def test_position_ids_are_dropped(self, prefix):
        assert maps.clip_text(f"{prefix}embeddings.position_ids", np.arange(77)[None]) == []


class TestBERT:
    @pytest.mark.parametrize("prefix", ["bert.", ""])
    @pytest.mark.parametrize(
        ("key", "expected"),
        [
            ("embeddings.word_embeddings.weight", "embeddings.word_embeddings.weight"),
            ("embeddings.LayerNorm.weight", "embeddings.layer_norm.weight"),
            ("LAYER.0.attention.self.query.weight", "LAYERS.0.self_attn.q_proj.weight"),
            ("LAYER.0.attention.self.key.weight", "LAYERS.0.self_attn.k_proj.weight"),
            ("LAYER.0.attention.self.value.bias", "LAYERS.0.self_attn.v_proj.bias"),
            ("LAYER.0.attention.output.dense.bias", "LAYERS.0.self_attn.out_proj.bias"),
            ("LAYER.0.attention.output.LayerNorm.bias", "LAYERS.0.norm1.bias"),
            ("LAYER.9.intermediate.dense.weight", "LAYERS.9.linear1.weight"),
            ("LAYER.9.output.dense.weight", "LAYERS.9.linear2.weight"),
            ("LAYER.9.output.LayerNorm.weight", "LAYERS.9.norm2.weight"),
            ("pooler.dense.weight", "pooler.dense.weight"),
        ],
    )
    def test_names_with_and_without_prefix(self, prefix, key, expected):
        key = key.replace("LAYER.", "encoder.layer.")
        expected = expected.replace("LAYERS.", "encoder.layers.")
        assert renamed(maps.bert, prefix + key) == expected

    @pytest.mark.parametrize(
        "key",
        ["bert.embeddings.position_ids", "cls.predictions.bias", "cls.seq_relationship.weight"],
    )
    def test_position_ids_and_the_heads_of_pre_training_are_dropped(self, key):
        assert maps.bert(key, np.zeros(2)) == []
