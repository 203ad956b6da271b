"""A picture decoded in tiles: all is covered, seams do not show, small pictures are whole."""

from dataclasses import replace

import numpy as np
import paddle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdbatch.request import ImageRequest
from sdbatch.tiling import decode_in_tiles, starts
from tests.conftest import relative_error


@given(st.integers(1, 300), st.integers(4, 128))
def test_tiles_cover_a_side_and_share_a_quarter(side, tile):
    found = starts(side, tile)
    assert found[0] == 0
    assert found[-1] == max(side - tile, 0)
    steps = np.diff(found)
    assert all(0 < step <= tile - tile // 4 for step in steps)


def enlarged(latents: paddle.Tensor) -> paddle.Tensor:
    """A decoder that sees one cell at a time: its tiles are parts of the whole."""
    return latents[:, :3].repeat_interleave(8, axis=2).repeat_interleave(8, axis=3)


@pytest.mark.parametrize(("height", "width", "tile"), [(30, 17, 8), (9, 9, 8), (8, 40, 8)])
def test_a_decoder_without_surroundings_gives_the_whole_picture(height, width, tile):
    latents = paddle.to_tensor(
        np.random.default_rng(0).normal(size=(1, 4, height, width)).astype("float32")
    )
    found = decode_in_tiles(enlarged, latents, tile, 8)
    assert found.shape == [1, 3, height * 8, width * 8]
    assert relative_error(found.numpy(), enlarged(latents).numpy()) < 1e-6


def test_all_tiles_have_one_shape():
    shapes = set()

    def decode(latents):
        shapes.add(tuple(latents.shape))
        return enlarged(latents)

    decode_in_tiles(decode, paddle.zeros([1, 4, 29, 6]), 8, 8)
    assert shapes == {(1, 4, 8, 6)}


@paddle.no_grad()
def test_a_real_decoder_in_tiles_is_near_the_whole_picture(pipelines):
    vae = pipelines("demo").vae
    latents = paddle.to_tensor(
        np.random.default_rng(0).normal(size=(1, 4, 24, 24)).astype("float32")
    )
    scale = vae.config.downscale
    whole = vae.decode(latents).numpy()
    tiled = decode_in_tiles(vae.decode, latents, 16, scale).numpy()
    assert 0 < np.abs(tiled - whole).mean() < 0.2 * np.abs(whole).mean()


def test_a_pipeline_cuts_only_pictures_that_are_larger_than_a_tile(pipelines):
    request = ImageRequest("a red star", "", 1, 96, 64, 2, 5.0)
    pipeline = pipelines("demo")
    whole = pipeline.generate([request])
    assert np.array_equal(replace(pipeline, vae_tile=96).generate([request]), whole)
    assert not np.array_equal(replace(pipeline, vae_tile=64).generate([request]), whole)
