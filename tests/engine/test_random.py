"""The rehearsal: pictures of noise that depend on their seeds alone, without Paddle."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdbatch.dataset.images import judge
from sdbatch.engine.random import RandomPixels
from sdbatch.noise import MAX_SEED
from sdbatch.request import NO_INPUTS
from sdbatch.stopwatch import Stopwatch
from tests.conftest import ROOT
from tests.examples import a_request

seeds = st.integers(0, MAX_SEED)


def pictures(*seeds: int, engine=None, **size) -> np.ndarray:
    requests = [a_request(seed=seed, **size) for seed in seeds]
    found = (engine or RandomPixels()).generate(requests, [NO_INPUTS] * len(seeds), Stopwatch())
    return np.stack(list(found))


@pytest.mark.parametrize(("width", "height"), [(8, 8), (96, 64), (1024, 1024)])
def test_pictures_have_the_size_of_their_requests(width, height):
    found = pictures(1, 2, width=width, height=height)
    assert (found.shape, found.dtype) == ((2, height, width, 3), np.uint8)


@settings(deadline=None, max_examples=25)
@given(st.lists(seeds, min_size=1, max_size=6), st.integers(1, 12), st.integers(1, 12))
def test_a_picture_depends_on_its_seed_and_size_alone(seeds, rows, columns):
    """Not on its batch, nor on what the engine made before."""
    size = {"width": 8 * columns, "height": 8 * rows}
    used = RandomPixels()
    pictures(0, engine=used, width=8, height=8)
    pictures(0, engine=used, width=512, height=768)
    together = pictures(*seeds, engine=used, **size)
    for seed, found in zip(seeds, together, strict=True):
        assert np.array_equal(found, pictures(seed, **size)[0])


def test_it_is_the_same_after_a_restart():
    assert pictures(7, width=8, height=8)[0, 0, :2].tolist() == [[163, 33, 215], [217, 130, 248]]


@given(seeds)
def test_pictures_are_pictures(seed):
    assert judge(pictures(seed, width=16, height=16)[0], finite=True) == "ok"


def test_neighbouring_seeds_make_different_pictures():
    found = pictures(*range(100), width=32, height=32)
    assert len({picture.tobytes() for picture in found}) == 100


def test_they_cost_as_much_to_encode_as_a_picture_can():
    """Every value is as frequent as any other."""
    counts = np.bincount(pictures(3, width=512, height=512).ravel(), minlength=256)
    assert counts.min() > 0.9 * counts.mean()


def test_prompts_are_not_read():
    read = RandomPixels().read("a red star")
    assert (read.tokens, read.truncated) == (0, None)


def test_images_that_networks_could_not_make_together_are_not():
    engine = RandomPixels()
    keys = [engine.batch_key(a_request(width=width)) for width in (64, 64, 96)]
    assert keys[0] == keys[1] != keys[2]


def test_no_paddle_is_imported():
    code = (
        "import sys\n"
        "from sdbatch.engine.random import RandomPixels\n"
        "print('paddle' in sys.modules, RandomPixels().peak_device_bytes)\n"
    )
    child = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert child.stdout == "False None\n"
