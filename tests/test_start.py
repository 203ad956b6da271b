"""Where sampling starts: which noise is drawn when, and what of a picture stays."""

import numpy as np
import paddle
import pytest

from sdbatch.inputs import ImageRef
from sdbatch.request import NO_INPUTS, ImageInputs
from sdbatch.start import encode, start
from tests.examples import a_request

STEPS = 10
LATENTS = (2, 4, 8, 12)
PICTURE = np.random.default_rng(0).uniform(-1, 1, (3, 64, 96)).astype(np.float32)
MASK = np.zeros((1, 64, 96), np.float32)
MASK[:, 32:, 40:] = 1


class Draws:
    """Standard normal noise, remembered."""

    def __init__(self):
        self.generator, self.drawn = np.random.default_rng(1), []

    def __call__(self):
        self.drawn.append(self.generator.standard_normal(LATENTS).astype(np.float32))
        return paddle.to_tensor(self.drawn[-1])


@pytest.fixture
def begin(pipelines):
    """`begin(strength, masked=..., reads_mask=...)`: (start, draws, the VAE's mean of PICTURE)."""
    pipeline = pipelines("demo", "ddim")

    @paddle.no_grad()
    def call(strength, *, masked=False, reads_mask=False):
        inputs = ImageInputs(PICTURE, MASK if masked else None)
        ref = None if strength is None else ImageRef("a.png")
        request = a_request(steps=STEPS, init_image=ref, strength=strength)
        draws = Draws()
        found = start(
            pipeline.vae,
            pipeline.sampler.trajectory(STEPS),
            [request] * 2,
            [NO_INPUTS if strength is None else inputs] * 2,
            draws,
            reads_mask=reads_mask,
        )
        clean = encode(pipeline.vae, paddle.to_tensor(PICTURE[None]), lambda: paddle.zeros([1]))
        return found, draws.drawn, clean.numpy()

    return call


def test_without_a_picture_from_noise_alone(begin):
    found, (noise,), _ = begin(None)
    assert np.array_equal(found.latents.numpy(), noise)
    assert (found.first_call, found.between, found.channels) == (0, None, None)


@pytest.mark.parametrize(("strength", "first"), [(0.3, 7), (0.75, 3), (1.0, 0)])
def test_from_a_picture_as_far_down_as_strength_says(begin, strength, first):
    found, draws, clean = begin(strength)
    assert found.first_call == first
    assert len(draws) == 2  # for the latents of the picture, then to hide them
    level = np.corrcoef(found.latents[0].numpy().ravel(), clean[0].ravel())[0, 1]
    assert level > 0.5 if strength < 0.5 else level < 0.9


def test_blending_keeps_what_the_mask_leaves_and_paints_the_rest(begin):
    found, draws, _ = begin(1.0, masked=True)
    assert len(draws) == 3  # the picture, the noise, the masked picture
    assert np.array_equal(found.latents.numpy(), draws[1])
    painted = paddle.full(LATENTS, 9.0)
    last = found.between(painted, STEPS - 1).numpy()
    assert (last[:, :, 4:, 5:] == 9).all()
    kept = last[:, :, :4]
    assert np.abs(kept).max() < 9
    earlier = found.between(painted, 0).numpy()[:, :, :4]
    # Early on what is kept is as noisy as the rest; at the end it is the picture itself.
    assert np.abs(earlier - draws[1][:, :, :4]).mean() < np.abs(kept - draws[1][:, :, :4]).mean()


@pytest.mark.parametrize(("strength", "draws"), [(1.0, 2), (0.6, 3)])
def test_a_network_that_reads_the_mask_is_given_it_and_the_rest_of_the_picture(
    begin, strength, draws
):
    found, drawn, _ = begin(strength, masked=True, reads_mask=True)
    assert found.between is None
    assert len(drawn) == draws  # from pure noise the whole picture is not encoded
    assert found.channels.shape == [2, 5, 8, 12]
    assert np.array_equal(found.channels[0, 0].numpy(), MASK[0, ::8, ::8])
