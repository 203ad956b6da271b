"""Guidance: each picture with its own scale, none of them seeing its neighbours."""

import numpy as np
import paddle

from sdbatch.guidance import Guidance
from tests.examples import a_request

SHAPE = (3, 4, 5, 6)


def outputs():
    generator = np.random.default_rng(0)
    return [generator.standard_normal(SHAPE).astype(np.float32) for _ in range(2)]


def combined(scales, rescales) -> np.ndarray:
    requests = [
        a_request(guidance_scale=scale, guidance_rescale=rescale)
        for scale, rescale in zip(scales, rescales, strict=True)
    ]
    return Guidance.of(requests).combine(*map(paddle.to_tensor, outputs())).numpy()


def test_moves_from_the_negative_towards_the_prompt():
    unconditional, conditional = outputs()
    found = combined([2.0, 7.5, 1.5], [0, 0, 0])
    scale = np.array([2.0, 7.5, 1.5], np.float32).reshape(3, 1, 1, 1)
    expected = unconditional + scale * (conditional - unconditional)
    assert np.allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_full_rescaling_gives_the_spread_of_the_prompts_own_output():
    _, conditional = outputs()
    found = combined([7.5, 7.5, 7.5], [1.0, 1.0, 1.0])
    assert np.allclose(found.std(axis=(1, 2, 3)), conditional.std(axis=(1, 2, 3)), rtol=1e-5)


def test_rescaling_mixes_in_its_share():
    none, full = combined([7.5] * 3, [0.0] * 3), combined([7.5] * 3, [1.0] * 3)
    found = combined([7.5] * 3, [0.7, 0.2, 0.5])
    share = np.array([0.7, 0.2, 0.5], np.float32).reshape(3, 1, 1, 1)
    assert np.allclose(found, share * full + (1 - share) * none, rtol=1e-5, atol=1e-5)


def test_a_neighbours_rescaling_changes_no_bit_of_a_picture_without():
    assert np.array_equal(
        combined([7.5] * 3, [0.7, 0.0, 0.5])[1], combined([7.5] * 3, [0.0] * 3)[1]
    )
