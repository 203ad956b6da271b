"""From text to pixels: the pictures that PyTorch diffusers makes, whatever the batch."""

import numpy as np
import pytest
from PIL import Image

from sdbatch.dataset.images import to_bytes
from sdbatch.request import ImageRequest
from tests.conftest import GOLDEN


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
