"""Original-layout keys get the names that PyTorch diffusers gives them: every key of SD 1.x to XL.

tests/golden/keys has the full-size key and shape lists, and what diffusers' own converter makes of
each (tools/golden_keys.py).
"""

import numpy as np
import pytest

from sdbatch.weights.maps import Layout, diffusers, original
from tests.weights.maps.renaming import renamed
from tests.weights.original import golden_keys

UNET_PREFIX, VAE_PREFIX = "model.diffusion_model.", "first_stage_model."
LAYOUTS = {
    "sd1": {
        UNET_PREFIX: original.unet(2),
        VAE_PREFIX: original.vae(4),
        "cond_stage_model.transformer.": diffusers.CLIP_TEXT,
    },
    "sd2": {
        UNET_PREFIX: original.unet(2),
        VAE_PREFIX: original.vae(4),
        "cond_stage_model.model.": original.open_clip(23, projection=False),
    },
    "sdxl": {
        UNET_PREFIX: original.unet(2),
        VAE_PREFIX: original.vae(4),
        "conditioner.embedders.0.transformer.": diffusers.CLIP_TEXT,
        "conditioner.embedders.1.model.": original.open_clip(32, projection=True),
    },
    "demo": {
        UNET_PREFIX: original.unet(1),
        VAE_PREFIX: original.vae(4),
        "cond_stage_model.transformer.": diffusers.CLIP_TEXT,
    },
}
COUNTS = {"sd1": 686 + 248 + 196, "sd2": 686 + 248 + 372, "sdxl": 1680 + 248 + 196 + 517}


def outcome(layout: Layout, key: str, shape: list[int]) -> list:
    """[(name, shape), ...] without a value being there; [] if dropped."""
    if layout.why_dropped(key):
        return []
    stand_in = np.broadcast_to(np.float32(0), shape)
    return [(name, list(array.shape)) for name, array in layout.rename(key, stand_in)]


def matrix(shape: list[int]) -> list[int]:
    """A 1x1 convolution as the matrix it is: only the layer it goes into tells which it becomes."""
    return shape[:2] if shape[2:] == [1, 1] else shape


@pytest.mark.parametrize("family", LAYOUTS)
def test_every_key_gets_the_names_and_shapes_that_diffusers_gives_it(family):
    names = 0
    for entry in golden_keys(family):
        prefixes = [p for p in LAYOUTS[family] if entry["key"].startswith(p)]
        if not prefixes:
            assert entry["how"] == "dropped", entry["key"]
            continue
        (prefix,) = prefixes
        found = outcome(LAYOUTS[family][prefix], entry["key"].removeprefix(prefix), entry["shape"])
        expected = [(name, list(shape)) for name, shape in entry["diffusers"]]
        assert [name for name, _ in found] == [name for name, _ in expected], entry["key"]
        assert [matrix(s) for _, s in found] == [matrix(s) for _, s in expected], entry["key"]
        names += len(found)
    assert names == COUNTS.get(family, names)


class TestOpenCLIP:
    layout = original.open_clip(23, projection=True)

    def test_q_k_and_v_are_stored_as_one_in_this_order(self):
        array = np.arange(12).reshape(6, 2)
        found = self.layout.rename("transformer.resblocks.0.attn.in_proj_weight", array)
        assert {name[-13:]: part.tolist() for name, part in found} == {
            "q_proj.weight": [[0, 1], [2, 3]],
            "k_proj.weight": [[4, 5], [6, 7]],
            "v_proj.weight": [[8, 9], [10, 11]],
        }

    def test_the_text_projection_is_applied_from_the_right(self):
        array = np.arange(6).reshape(2, 3)
        ((name, found),) = self.layout.rename("text_projection", array)
        assert (name, found.tolist()) == ("text_projection.weight", array.T.tolist())

    def test_only_the_layer_after_the_last_one_read_is_dropped(self):
        key = "transformer.resblocks.{}.mlp.c_fc.weight"
        assert self.layout.why_dropped(key.format(22)) is None
        assert "last layer" in self.layout.why_dropped(key.format(23))
        assert self.layout.why_dropped(key.format(24)) is None


def test_a_bare_text_projection_is_dropped_only_where_nobody_reads_it():
    assert original.open_clip(23, projection=False).why_dropped("text_projection")
    assert original.open_clip(32, projection=True).why_dropped("text_projection") is None


@pytest.mark.parametrize("key", ["loss.logvar", "loss.discriminator.main.0.weight", "model_ema.x"])
def test_what_only_trained_the_autoencoder_is_dropped(key):
    assert original.vae(4).why_dropped(key)


@pytest.mark.parametrize("key", ["input_blocks.x.0.weight", "middle_block.7.weight", "nonsense"])
def test_unknown_keys_stay_as_they_are_so_that_loading_refuses_them(key):
    assert renamed(original.unet(2), key) == key
