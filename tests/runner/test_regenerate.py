"""`verify --regenerate`: images made again from their rows, by the real command."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.conftest import ASSETS


@pytest.fixture
def rehearse(sdbatch, write_table):
    """`rehearse(...)`: a finished dataset of random pixels, called `made`."""

    def run(*overrides: str):
        table = write_table(prompt=[f"一 {n}" for n in range(6)], id=[f"号-{n}" for n in range(6)])
        made = sdbatch(
            f"prompts.path={table}", "engine=random", "width=64", "height=48",
            "output.dir=made", "output.shard_size=2", *overrides,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr

    return run


@pytest.fixture
def regenerate(sdbatch):
    """`regenerate(count, ...)`: exit code, and the lines on stderr."""

    def run(count: int, *more: str) -> tuple[int, list[str]]:
        made = sdbatch("made", "--regenerate", str(count), *more, module="sdbatch.verify")
        assert "Traceback" not in made.stderr, made.stderr
        return made.returncode, made.stderr.splitlines()

    return run


@pytest.mark.parametrize("label", ["none", "gb45438"])
@pytest.mark.parametrize("image_format", ["png", "jpeg", "webp"])
def test_images_come_out_as_they_were(rehearse, regenerate, image_format, label):
    rehearse(f"output.image_format={image_format}", f"label={label}")
    code, lines = regenerate(6)
    assert (code, lines[-1]) == (0, "sdbatch: 6 images made again: 6 are as they were")


def test_no_more_are_made_than_there_are(rehearse, regenerate):
    rehearse()
    assert regenerate(100)[1][-1] == "sdbatch: 6 images made again: 6 are as they were"


def test_a_picture_that_was_painted_over_is_found(rehearse, regenerate, tmp_path):
    rehearse()
    path = next((tmp_path / "made").glob("shards/00001/images/*"))
    with Image.open(path) as image:
        pixels = np.array(image)
    pixels[0, 0, 0] ^= 0x80
    Image.fromarray(pixels).save(path)
    code, lines = regenerate(6)
    assert code == 3
    assert (
        f"sdbatch: {path.stem}: made again, it differs by 128 of 255; expected 1 at most" in lines
    )
    assert lines[-1] == "sdbatch: 6 images made again: 5 are as they were"


def test_real_pictures_come_out_as_they_were_with_another_batch_size(
    sdbatch, regenerate, write_table
):
    table = write_table(
        prompt=["a red star", "a blue heart", "a green circle"], guidance_scale=[3.0, 7.5, 1.0]
    )
    made = sdbatch(f"prompts.path={table}", "output.dir=made", "steps=3", "batch_size=2")
    assert made.returncode == 0, made.stderr
    code, lines = regenerate(3)
    assert (code, lines[-1]) == (0, "sdbatch: 3 images made again: 3 are as they were")
    code, lines = regenerate(1, "--set", f"model.path={ASSETS / 'demo_zh'}")
    assert code == 1
    assert lines[-1].endswith(
        "run.json: the dataset was made with another weights_sha256, model_config_sha256; "
        "expected the same model and sdbatch"
    )


def test_without_the_runs_config_it_says_so(rehearse, regenerate, tmp_path):
    rehearse()
    (record,) = (tmp_path / "made").glob("logs/*/.hydra/config.yaml")
    record.unlink()
    code, lines = regenerate(1)
    assert code == 1
    assert lines[-1] == (
        "sdbatch: error: made: no logs/*/.hydra/config.yaml; expected one of the run's"
    )


def test_a_change_that_is_no_key_is_refused(rehearse, regenerate):
    rehearse()
    code, lines = regenerate(1, "--set", "modl.path=x")
    assert code == 1
    assert lines[-1].startswith("sdbatch: error: made/logs/") and "modl" in lines[-1]


def test_the_choice_is_of_images_that_are_there(rehearse, regenerate, tmp_path):
    rehearse()
    folder = tmp_path / "made" / "shards" / "00000"
    table = pq.read_table(folder / "metadata.parquet")
    rows = table.to_pylist()
    for row in rows:
        (tmp_path / "made" / row["file_name"]).unlink()
        row |= dict.fromkeys(["file_name", "format", "bytes", "sha256"]) | {"status": "nan"}
    pq.write_table(table.from_pylist(rows, schema=table.schema), folder / "metadata.parquet")
    record = json.loads((folder / "shard.json").read_text())
    (folder / "shard.json").write_text(json.dumps({**record, "counts": {"nan": 2}}))
    assert regenerate(6)[1][-1] == "sdbatch: 4 images made again: 4 are as they were"
