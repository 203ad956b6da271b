"""LoRAs are merged in float32, scaled as they and their user say."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from sdbatch.weights.lora import lora_patch, open_lora
from tests.weights import loras
from tests.weights.loras import KOHYA_TO_Q, SHAPES, TO_Q, change, flat, kohya, random, unet_patch


@pytest.fixture
def write(tmp_path):
    """`write(tensors, metadata, name)`: a LoRA file; returns its path."""
    return partial(loras.write, tmp_path)


class TestScale:
    def test_without_an_alpha_it_is_one(self, write):
        tensors = kohya()
        down, up = tensors.values()
        np.testing.assert_allclose(change(write(tensors)), up @ down, rtol=1e-6)

    @pytest.mark.parametrize("alpha", [1.0, 2.0, 8.0, [3.0], 0.0])
    def test_alpha_over_rank(self, write, alpha):
        tensors = kohya()
        down, up = tensors.values()
        found = change(write(kohya(alpha=alpha)))
        np.testing.assert_allclose(found, np.ravel(alpha)[0] / 2 * (up @ down), rtol=1e-6)

    @pytest.mark.parametrize("strength", [0.5, 1.0, -1.0, 0.0, 2])
    def test_strength(self, write, strength):
        path = write(kohya())
        np.testing.assert_allclose(
            change(path, strength=strength), strength * change(path), rtol=1e-6
        )

    def test_alpha_of_a_half_float_and_of_an_integer(self, write):
        halves = {key: array.astype(np.float16) for key, array in kohya(alpha=4).items()}
        found = change(write(halves))
        integer = halves | {f"{KOHYA_TO_Q}.alpha": np.asarray(4)}
        assert np.array_equal(change(write(integer)), found)

    @pytest.mark.parametrize("alpha", [4, 4.0])
    def test_alpha_of_a_pickle_may_be_a_plain_number(self, write, monkeypatch, alpha):
        expected = change(write(kohya(alpha=4)))
        file = replace(open_lora(write(kohya())).file, metadata={f"{KOHYA_TO_Q}.alpha": alpha})
        monkeypatch.setattr("sdbatch.weights.lora.open_tensor_file", lambda path: file)
        assert np.array_equal(change(file.path), expected)

    def test_several_add_up(self, write):
        name = f"{TO_Q}.weight"
        one, two = write(kohya(), name="one"), write(kohya(alpha=8), name="two")
        base = random(6, 4, seed=9)
        found = unet_patch((one, 0.5), (two, -0.25))(name, base)
        expected = base + change(one, strength=0.5) + change(two, strength=-0.25)
        np.testing.assert_allclose(found, expected, rtol=1e-6)

    def test_half_floats_are_rounded_once(self, write):
        name = f"{TO_Q}.weight"
        path = write(kohya(alpha=1e-3))
        base = random(6, 4, seed=9).astype(np.float16)
        found = unet_patch(*[(path, 1.0)] * 50)(name, base)
        assert found.dtype == np.float16
        exact = base.astype(np.float64) + 50.0 * change(path)
        assert np.abs(found - exact).max() <= np.spacing(np.abs(base)).max()

    def test_half_floats_may_become_float32(self, write):
        name = f"{TO_Q}.weight"
        lora = open_lora(write(kohya(alpha=1e-3)))
        base = random(6, 4, seed=9).astype(np.float16)
        patch = lora_patch([(lora, 1.0)], "unet", SHAPES, 1, dtype="float32")
        assert np.array_equal(patch(name, base), base + change(lora.path))
        other = np.zeros((3, 3), np.float16)
        assert patch("down_blocks.0.other.weight", other) is other

    def test_the_weight_itself_is_not_written_to(self, write):
        base = random(6, 4, seed=9)
        before = base.copy()
        unet_patch((write(kohya()), 1.0))(f"{TO_Q}.weight", base)
        assert np.array_equal(base, before)

    def test_other_weights_are_passed_through(self, write):
        patch = unet_patch((write(kohya()), 1.0))
        for name in (f"{TO_Q}.bias", "down_blocks.0.resnets.0.conv1.weight"):
            array = np.zeros(SHAPES[name], np.float32)
            assert patch(name, array) is array


class TestConvolutions:
    NAME = "down_blocks.0.resnets.0.conv1.weight"
    PROJ = "down_blocks.0.attentions.0.proj_in.weight"

    def test_kernel_in_down(self, write):
        tensors = kohya(flat(self.NAME), down=(2, 4, 3, 3), up=(6, 2, 1, 1), alpha=4)
        down, up, _ = tensors.values()
        expected = np.zeros((6, 4, 3, 3))
        for o in range(6):
            for r in range(2):
                expected[o] += 2 * up[o, r, 0, 0] * down[r]
        found = change(write(tensors), self.NAME)
        np.testing.assert_allclose(found, expected, atol=1e-5)

    def test_kernel_in_mid(self, write):
        shapes = {"down": (2, 4, 1, 1), "mid": (3, 2, 3, 3), "up": (6, 3, 1, 1)}
        tensors = kohya(flat(self.NAME), **shapes, alpha=1)
        down, up, mid, _ = tensors.values()
        found = change(write(tensors), self.NAME)
        for position in np.ndindex(3, 3):  # each is a product of three matrices
            at = (..., *position)
            expected = 0.5 * up[..., 0, 0] @ mid[at] @ down[..., 0, 0]
            np.testing.assert_allclose(found[at], expected, atol=1e-5)

    @pytest.mark.parametrize(
        ("down", "up"), [((2, 4), (6, 2)), ((2, 4, 1, 1), (6, 2, 1, 1)), ((2, 4), (6, 2, 1, 1))]
    )
    @pytest.mark.parametrize("name", [f"{TO_Q}.weight", PROJ])
    def test_linear_and_1x1_convolution_are_one(self, write, name, down, up):
        tensors = kohya(flat(name), down, up)
        a, b = tensors.values()
        expected = (b.reshape(6, 2) @ a.reshape(2, 4)).reshape(SHAPES[name])
        np.testing.assert_allclose(change(write(tensors), name), expected, rtol=1e-6)
