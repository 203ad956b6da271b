"""LoRAs and new tokens make the pictures that PyTorch diffusers makes with them."""

import json

import numpy as np
import pytest
from PIL import Image

from sdbatch.dataset.images import to_bytes
from sdbatch.engine.device import Device
from sdbatch.engine.load import load_pipeline
from sdbatch.request import ImageRequest
from sdbatch.samplers import Sampler
from sdbatch.weights.additions import Additions
from sdbatch.weights.embeddings import open_embedding
from sdbatch.weights.lora import open_lora
from sdbatch.weights.source import open_checkpoint
from tests.conftest import ASSETS, GOLDEN

LORA = GOLDEN.parent / "lora"
FILES = {"a": "a.safetensors", "b": "b_kohya.safetensors"}
RECORD = json.loads((LORA / "golden.json").read_text(encoding="utf-8"))["pictures"]
ROWS = {row["title"]: row for row in RECORD["rows"]}


def changed(loras=(), embeddings=()):
    """The demo's pipeline with these changes."""
    checkpoint = open_checkpoint(ASSETS / "demo")
    additions = Additions(tuple(loras), tuple(embeddings))
    additions.check(checkpoint)
    sampler = Sampler.from_config(checkpoint.scheduler)
    return load_pipeline(checkpoint, sampler, Device("cpu", "fp32"), additions)


def pictures(pipeline, prompts) -> np.ndarray:
    """uint8 [2, 128, 128, 3]."""
    columns = zip(prompts, RECORD["negative_prompts"], RECORD["seeds"], strict=True)
    requests = [
        ImageRequest(prompt, negative, seed, 128, 128, RECORD["steps"], RECORD["guidance_scale"])
        for prompt, negative, seed in columns
    ]
    return to_bytes(pipeline.generate(requests))


def golden_row(title) -> np.ndarray:
    """uint8 [2, 128, 128, 3]: a row of the sheet."""
    sheet = np.asarray(Image.open(LORA / "pictures.png"))
    sheet = sheet.reshape(len(ROWS), 128, 2, 128, 3).swapaxes(1, 2)
    return sheet[list(ROWS).index(title)]


def difference(found, expected) -> int:
    return int(np.abs(found.astype(int) - expected.astype(int)).max())


@pytest.mark.parametrize("title", [title for title, row in ROWS.items() if row["loras"]])
def test_pictures_with_loras_equal_diffusers_within_one_of_255(title):
    loras = [(open_lora(LORA / FILES[name]), strength) for name, strength in ROWS[title]["loras"]]
    found = pictures(changed(loras), ROWS[title]["prompts"])
    assert difference(found, golden_row(title)) <= 1
    # In one value of 4000; merged into half floats it would be one of 20.
    assert np.mean(found != golden_row(title)) < 0.005
    assert difference(found, golden_row("none")) > 50


def test_kohyas_naming_makes_the_same_pictures():
    loras = [(open_lora(LORA / "a_kohya.safetensors"), 1.0)]
    found = pictures(changed(loras), ROWS["a at 1"]["prompts"])
    assert difference(found, golden_row("a at 1")) <= 1


def test_pictures_with_new_tokens_equal_diffusers_within_one_of_255():
    embeddings = [open_embedding(LORA / f"{name}.safetensors") for name in ("glow", "twin")]
    assert [embedding.words for embedding in embeddings] == [("<glow>",), ("<twin>", "<twin>_1")]
    pipeline = changed(embeddings=embeddings)
    found = pictures(pipeline, ROWS["new tokens"]["prompts"])
    assert difference(found, golden_row("new tokens")) <= 1


def test_nothing_changed_makes_the_plain_pictures(pipelines):
    found = pictures(changed(), ROWS["none"]["prompts"])
    assert difference(found, golden_row("none")) <= 1
    assert np.array_equal(found, pictures(pipelines("demo"), ROWS["none"]["prompts"]))
