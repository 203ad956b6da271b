"""The golden tables are whole, the helper undoes what they say, and the configs fit them."""

import json
import math
from collections import Counter

import numpy as np
import pytest

from sdbatch.models.config import UNetConfig, VAEConfig
from sdbatch.models.unet import UNet
from sdbatch.models.vae import VAE
from sdbatch.samplers import Sampler, SamplerOptions
from sdbatch.weights.load import build
from tests.conftest import ASSETS
from tests.weights.original import (
    FAMILIES,
    golden_keys,
    original_tensors,
    random_networks,
    random_tensors,
)

# How many keys the published files have, by what becomes of them.
COUNTS = {
    "sd1": {"same": 1122, "reshaped": 8, "dropped": 701},
    "sd2": {"same": 1160, "reshaped": 8, "split": 46, "dropped": 28},
    "sdxl": {"same": 2440, "reshaped": 8, "split": 64, "transposed": 1, "dropped": 2},
    "demo": {"same": 542, "reshaped": 8, "dropped": 341},
}


def config(family: str, name: str) -> dict:
    folder = ASSETS / "demo" if family == "demo" else ASSETS / "families" / family
    file = "scheduler_config.json" if name == "scheduler" else "config.json"
    return json.loads((folder / name / file).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def tiny() -> dict:
    """Every network of every family, 32 times narrower."""
    return {family: random_networks(family, shrink=32) for family in FAMILIES}


class TestTables:
    @pytest.mark.parametrize("family", FAMILIES)
    def test_every_key_and_every_weight_is_there_once(self, family):
        rows = golden_keys(family)
        assert Counter(row["how"] for row in rows) == COUNTS[family]
        assert len({row["key"] for row in rows}) == len(rows)
        names = [(row["component"], key) for row in rows for key, _ in row["diffusers"]]
        assert len(set(names)) == len(names)

    @pytest.mark.parametrize("family", FAMILIES)
    def test_no_number_is_lost(self, family):
        for row in golden_keys(family):
            if row["how"] != "dropped":
                parts = sum(math.prod(shape) for _, shape in row["diffusers"])
                assert parts == math.prod(row["shape"]), row["key"]

    @pytest.mark.parametrize("family", ["sd1", "demo"])
    def test_every_weight_of_the_unet_has_its_running_average(self, family):
        rows = golden_keys(family)
        averaged = {row["ema_of"] for row in rows if "ema_of" in row}
        assert averaged == {row["key"] for row in rows if row["component"] == "unet"}

    @pytest.mark.parametrize("family", FAMILIES)
    @pytest.mark.parametrize(
        ("name", "network", "read"),
        [("unet", UNet, UNetConfig.from_dict), ("vae", VAE, VAEConfig.from_dict)],
    )
    def test_published_configs_give_networks_with_just_these_weights(
        self, family, name, network, read
    ):
        layer = build(lambda: network(read(config(family, name))), "float32")
        found = {key: math.prod(value.shape) for key, value in layer.state_dict().items()}
        assert found == {
            key: math.prod(shape)
            for row in golden_keys(family)
            if row["component"] == name
            for key, shape in row["diffusers"]
        }

    @pytest.mark.parametrize(
        ("family", "prediction"),
        [("sd1", "epsilon"), ("sd2", "v_prediction"), ("sdxl", "epsilon")],
    )
    def test_published_schedulers_are_understood(self, family, prediction):
        settings = Sampler.from_config(config(family, "scheduler")).settings
        assert (settings["prediction_type"], settings["timestep_spacing"]) == (
            prediction,
            "leading",
        )
        assert settings["steps_offset"] == 1
        ddim = Sampler.from_config(config(family, "scheduler"), SamplerOptions("ddim"))
        assert not ddim.settings["set_alpha_to_one"]


class TestHelper:
    @pytest.mark.parametrize("family", FAMILIES)
    def test_all_keys_with_the_published_shapes_where_widths_are(self, family, tiny):
        tensors = original_tensors(family, tiny[family])
        expected = random_tensors(family, shrink=32)
        assert {key: value.shape for key, value in tensors.items()} == {
            key: value.shape for key, value in expected.items()
        }
        assert list(tensors) == [row["key"] for row in golden_keys(family)]

    def test_q_k_and_v_are_joined_in_this_order(self, tiny):
        key = "transformer.resblocks.7.attn.in_proj_weight"
        found = original_tensors("sd2", tiny["sd2"])[f"cond_stage_model.model.{key}"]
        attention = "text_model.encoder.layers.7.self_attn"
        for i, part in enumerate("qkv"):
            weight = tiny["sd2"]["text_encoder"][f"{attention}.{part}_proj.weight"]
            assert np.array_equal(found[32 * i : 32 * (i + 1)], weight)

    def test_the_text_projection_is_turned(self, tiny):
        found = original_tensors("sdxl", tiny["sdxl"])
        weight = tiny["sdxl"]["text_encoder_2"]["text_projection.weight"]
        assert np.array_equal(found["conditioner.embedders.1.model.text_projection"], weight.T)

    def test_the_attention_of_the_autoencoder_becomes_1x1_convolutions(self, tiny):
        found = original_tensors("sd1", tiny["sd1"])[
            "first_stage_model.encoder.mid.attn_1.q.weight"
        ]
        weight = tiny["sd1"]["vae"]["encoder.mid_block.attentions.0.to_q.weight"]
        assert found.shape == (16, 16, 1, 1)
        assert np.array_equal(found[:, :, 0, 0], weight)

    def test_running_averages(self, tiny):
        unet = tiny["sd1"]["unet"]
        halves = {key: weight / 2 for key, weight in unet.items()}
        name, weight = "model_ema.diffusion_modelout2weight", unet["conv_out.weight"]
        assert np.array_equal(original_tensors("sd1", tiny["sd1"])[name], weight)
        given = original_tensors("sd1", tiny["sd1"], averages=halves)
        assert np.array_equal(given[name], weight / 2)
        assert np.array_equal(given["model.diffusion_model.out.2.weight"], weight)
        assert len(original_tensors("sd1", tiny["sd1"], averages=False)) == 1145

    def test_what_no_network_uses_is_plausible_or_left_out(self, tiny):
        found = original_tensors("sd1", tiny["sd1"])
        schedule = Sampler.from_config(config("sd1", "scheduler")).schedule
        assert np.allclose(found["alphas_cumprod"], schedule.alphas_cumprod, rtol=1e-5)
        assert all(np.isfinite(value).all() for value in found.values())
        ids = found["cond_stage_model.transformer.text_model.embeddings.position_ids"]
        assert (ids.dtype, ids.tolist()) == (np.int64, [list(range(77))])
        bare = original_tensors("sd1", tiny["sd1"], averages=False, extras=False)
        assert len(bare) == 686 + 248 + 196

    def test_networks_that_are_not_there_are_left_out(self, tiny):
        found = original_tensors("sdxl", {"vae": tiny["sdxl"]["vae"]})
        assert len(found) == 248
        assert all(key.startswith("first_stage_model.") for key in found)

    def test_names_of_transformers_5_will_do(self, tiny):
        networks = tiny["demo"]
        short = {k.removeprefix("text_model."): w for k, w in networks["text_encoder"].items()}
        found = original_tensors("demo", networks | {"text_encoder": short})
        assert found.keys() == original_tensors("demo", networks).keys()

    @pytest.mark.parametrize("change", ["a weight too much", "a weight too few"])
    def test_other_weights_are_refused(self, tiny, change):
        unet = dict(tiny["demo"]["unet"])
        if change == "a weight too much":
            unet["extra.weight"] = np.zeros(1)
        else:
            del unet["conv_in.bias"]
        with pytest.raises(AssertionError, match=r"unet: extra\.weight|no weight conv_in\.bias"):
            original_tensors("demo", {"unet": unet})

    def test_random_tensors_have_the_published_dtypes_and_the_scale(self):
        found = random_tensors("sdxl", 0.5, shrink=32)
        assert {str(value.dtype) for value in found.values()} == {"float16", "int64"}
        weight = found["conditioner.embedders.1.model.token_embedding.weight"]
        assert weight.shape == (1544, 40)
        assert float(weight.astype(np.float32).std()) == pytest.approx(0.5, rel=0.05)
