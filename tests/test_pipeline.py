"""From text to pixels: the pictures that PyTorch diffusers makes, whatever the batch."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from PIL import Image

from sdbatch.dataset.images import to_bytes
from sdbatch.engine.device import Device
from sdbatch.engine.load import load_pipeline
from sdbatch.request import ImageRequest
from sdbatch.samplers import Sampler, SamplerOptions
from sdbatch.shortcuts import NO_SHORTCUTS, Shortcuts
from sdbatch.weights.source import open_checkpoint
from tests.conftest import ASSETS, GOLDEN


def requests_of(golden, model_name) -> list[ImageRequest]:
    """The requests of the golden pictures."""
    job = golden["models"][model_name]
    return [
        ImageRequest(
            prompt=prompt,
            negative_prompt="" if i % 4 else "blue",
            seed=seed,
            width=128,
            height=128,
            steps=golden["steps"],
            guidance_scale=golden["guidance_scale"],
        )
        for i, (prompt, seed) in enumerate(zip(job["prompts"], job["seeds"], strict=True))
    ]


def golden_pictures(model_name, solver) -> np.ndarray:
    """uint8 [16, 128, 128, 3]."""
    sheet = np.asarray(Image.open(GOLDEN / f"{model_name}_{solver}.png"))
    return sheet.reshape(4, 128, 4, 128, 3).swapaxes(1, 2).reshape(16, 128, 128, 3)


@pytest.mark.parametrize("solver", ["ddpm", "ddim", "plms"])
def test_pictures_equal_diffusers_within_one_of_255(pipelines, golden, model_name, solver):
    # Two of the sheet, with and without a negative prompt; tests/test_pictures.py has more kinds.
    requests = requests_of(golden, model_name)[:2]
    found = pipelines(model_name, solver).generate(requests)
    difference = to_bytes(found).astype(int) - golden_pictures(model_name, solver)[:2]
    assert np.abs(difference).max() <= 1


def test_batch_size_does_not_change_a_picture(pipelines, golden):
    requests = [
        ImageRequest("a large red star on a white background", "", seed, 64, 96, 4, 3.0 + seed)
        for seed in range(6)
    ]
    pipeline = pipelines("demo", "ddpm")
    alone = np.concatenate([pipeline.generate([request]) for request in requests])
    together = pipeline.generate(requests)
    pairs = np.concatenate([pipeline.generate(requests[i : i + 2]) for i in (0, 2, 4)])
    for other in (together, pairs):
        assert np.abs(to_bytes(alone).astype(int) - to_bytes(other)).max() <= 1


def test_guidance_of_one_is_no_guidance(pipelines):
    pipeline = pipelines("demo")
    request = ImageRequest("a red star on a white background", "ignored", 1, 64, 64, 2, 1.0)
    other = ImageRequest("a red star on a white background", "unused", 1, 64, 64, 2, 0.0)
    assert not request.guided
    assert np.array_equal(pipeline.generate([request]), pipeline.generate([other]))


def test_negative_prompt_changes_a_guided_picture(pipelines):
    pipeline = pipelines("demo")
    plain = ImageRequest("a red star on a white background", "", 1, 64, 64, 2, 5.0)
    steered = ImageRequest("a red star on a white background", "a blue heart", 1, 64, 64, 2, 5.0)
    assert not np.allclose(pipeline.generate([plain]), pipeline.generate([steered]))


def test_requests_that_cannot_share_a_batch_are_refused(pipelines):
    one = ImageRequest("a", "", 1, 64, 64, 2, 5.0)
    two = ImageRequest("a", "", 1, 64, 72, 2, 5.0)
    with pytest.raises(ValueError, match="one size"):
        pipelines("demo").generate([one, two])


@pytest.fixture(scope="module")
def made():
    """`made(shortcuts, requests, solver)`: pictures of the demo checkpoint, each made once."""
    checkpoint = open_checkpoint(ASSETS / "demo")
    ddim = Sampler.from_config(checkpoint.scheduler, SamplerOptions("ddim"))

    @cache
    def merging(ratio):
        shortcuts = Shortcuts(token_merging=ratio)
        return load_pipeline(checkpoint, ddim, Device("cpu", "fp32"), shortcuts=shortcuts)

    @cache
    def make(shortcuts, requests=TestShortcuts.REQUESTS, solver="ddim"):
        sampler = Sampler.from_config(checkpoint.scheduler, SamplerOptions(solver))
        pipeline = merging(shortcuts.token_merging)
        return replace(pipeline, sampler=sampler, shortcuts=shortcuts).generate(requests)

    return make


class TestShortcuts:
    """Off, they change no bit; on, a picture, and that one alike in any batch."""

    REQUESTS = tuple(
        ImageRequest("a large red star on a white background", "blue", seed, 64, 96, 5, 5.0)
        for seed in range(2)
    )
    EACH = (
        Shortcuts(guidance_interval=(0.2, 0.8)),
        Shortcuts(token_merging=0.5),
        Shortcuts(feature_reuse=2),
        Shortcuts((0.0, 0.5), token_merging=0.25, feature_reuse=3),
    )

    @pytest.mark.parametrize("solver", ["ddim", "heun"])
    def test_that_leave_nothing_out_change_no_bit(self, made, pipelines, solver):
        full = pipelines("demo", solver).generate(self.REQUESTS)
        nothing = Shortcuts(guidance_interval=(0.0, 1.0), token_merging=0.0, feature_reuse=1)
        assert np.array_equal(made(NO_SHORTCUTS, solver=solver), full)
        assert np.array_equal(made(nothing, solver=solver), full)

    @pytest.mark.parametrize("shortcuts", EACH, ids=str)
    def test_change_a_picture_but_not_beyond_recognition(self, made, shortcuts):
        difference = np.abs(made(shortcuts) - made(NO_SHORTCUTS)).mean(axis=(1, 2, 3))
        assert (difference > 1e-4).all()
        assert (difference < 0.15).all()

    @pytest.mark.parametrize("shortcuts", EACH, ids=str)
    def test_make_the_same_picture_in_any_batch(self, made, shortcuts):
        together = made(shortcuts)
        alone = np.concatenate([made(shortcuts, (request,)) for request in self.REQUESTS])
        assert np.abs(to_bytes(alone).astype(int) - to_bytes(together)).max() <= 1

    def test_count_the_calls_of_the_network_where_a_step_takes_two(self, made):
        """Five steps of Heun are nine calls: one whole call of nine or more is the first alone."""
        nine, more = (made(Shortcuts(feature_reuse=n), solver="heun") for n in (9, 99))
        assert np.array_equal(nine, more)
        assert not np.allclose(made(Shortcuts(feature_reuse=8), solver="heun"), more)

    def test_of_guidance_mean_nothing_to_pictures_without(self, made):
        requests = tuple(replace(request, guidance_scale=1.0) for request in self.REQUESTS)
        interval = Shortcuts(guidance_interval=(0.2, 0.8))
        assert np.array_equal(made(interval, requests), made(NO_SHORTCUTS, requests))
