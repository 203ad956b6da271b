"""The pictures of PyTorch diffusers, within 1 of 255: every sampler, family and kind of job."""

import json
from collections import defaultdict

import numpy as np
import pytest
from PIL import Image

from sdbatch.dataset.images import to_bytes
from sdbatch.inputs import ImageLimits, ImageRef
from sdbatch.inputs.pixels import load_image, load_mask
from sdbatch.request import ImageInputs, ImageRequest, SizeHints
from sdbatch.samplers import SamplerOptions
from sdbatch.text import TextOptions
from tests.conftest import GOLDEN
from tools.tiny_checkpoints import KINDS, write_checkpoint

PICTURES = GOLDEN.parent / "pictures"
RECORD = json.loads((PICTURES / "pictures.json").read_text(encoding="utf-8"))
SHEETS = {sheet["name"]: sheet for sheet in RECORD["sheets"]}
# Everything else of a row is a field of `ImageRequest` as it is.
NOT_FIELDS = ("image", "mask", "original_size", "crop", "target_size")


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory):
    """Name -> what `pipelines` takes: tiny checkpoints are written once."""
    folder = tmp_path_factory.mktemp("tiny")
    tiny = {kind: write_checkpoint(kind, folder / kind) for kind in KINDS}
    return {"demo": "demo", **tiny}


def request_of(row: dict) -> ImageRequest:
    """A golden row as it is asked for."""
    fields = {name: value for name, value in row.items() if name not in NOT_FIELDS}
    own = [row["width"], row["height"]]
    sizes = None
    if {"original_size", "crop", "target_size"} & row.keys():
        sizes = SizeHints(
            *row.get("original_size", own), *row.get("crop", (0, 0)), *row.get("target_size", own)
        )
    return ImageRequest(
        **fields,
        sizes=sizes,
        init_image=ImageRef(row["image"]) if "image" in row else None,
        mask=ImageRef(row["mask"]) if "mask" in row else None,
    )


def inputs_of(request: ImageRequest) -> ImageInputs:
    """The pixels that a request names."""
    where = (PICTURES, request.width, request.height, ImageLimits())
    return ImageInputs(
        init=load_image(request.init_image, *where).pixels if request.init_image else None,
        mask=load_mask(request.mask, *where).pixels if request.mask else None,
    )


def pictures_of(pipeline, requests: list[ImageRequest]) -> list[np.ndarray]:
    """uint8 pictures in the order of the requests, made in as few micro-batches as can be."""
    batches = defaultdict(list)
    for i, request in enumerate(requests):
        batches[pipeline.batch_key(request)].append(i)
    found = {}
    for batch in batches.values():
        together = [requests[i] for i in batch]
        made = pipeline.generate(together, [inputs_of(request) for request in together])
        found |= zip(batch, map(to_bytes, made), strict=True)
    return [found[i] for i in range(len(requests))]


def golden_pictures(name: str, requests: list[ImageRequest]) -> list[np.ndarray]:
    """The pictures of a sheet, which are from left to right."""
    sheet = np.asarray(Image.open(PICTURES / f"{name}.webp").convert("RGB"))
    rights = np.cumsum([request.width for request in requests])
    return [
        sheet[: request.height, right - request.width : right]
        for request, right in zip(requests, rights, strict=True)
    ]


@pytest.mark.parametrize("name", SHEETS)
def test_pictures_equal_diffusers_within_one_of_255(pipelines, checkpoints, name):
    sheet = SHEETS[name]
    requests = [request_of(row) for row in RECORD["jobs"][sheet["job"]]]
    text = TextOptions(clip_skip=sheet["text"].get("clip_skip", 0))
    pipeline = pipelines(checkpoints[sheet["checkpoint"]], SamplerOptions(**sheet["sampler"]), text)
    found = pictures_of(pipeline, requests)
    expected = golden_pictures(name, requests)
    worst = [int(np.abs(a.astype(int) - b).max()) for a, b in zip(found, expected, strict=True)]
    assert max(worst) <= 1, f"largest difference of each picture: {worst}"
