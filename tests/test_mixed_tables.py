"""One table with everything in it: no picture depends on its neighbours, the order or the batch."""

import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

LONG = "a large red star on a white background, " + "very very very sharp, " * 15
ROWS = [
    {"prompt": "a red star on a white background"},
    {"prompt": "a blue heart on a yellow background", "steps": 6},
    {"prompt": "a small green circle", "guidance_scale": 1.0},
    {"prompt": "a large black square", "guidance_scale": 3.0, "guidance_rescale": 0.7},
    {"prompt": "a purple star", "negative_prompt": "blue", "width": 96},
    {"prompt": LONG},
    {"prompt": LONG, "guidance_scale": 0.5},
    {"prompt": "a red star", "negative_prompt": LONG},
    {"prompt": "a red circle on a blue background", "init_image": "photo.png"},
    {"prompt": "a red circle", "init_image": "photo.png", "strength": 0.5},
    {"prompt": "a green heart", "init_image": "photo.png", "mask": "mask.png"},
    {"prompt": "a green heart", "init_image": "photo.png", "mask": "mask.png", "strength": 0.7},
    {"prompt": "a yellow star on a green background", "steps": 6, "guidance_scale": 9.0},
    {"prompt": "a blue star", "seed": 2**63 - 1},
]


@pytest.fixture
def make(sdbatch, tmp_path):
    """`make(name, rows, ...)`: run the command over rows; their metadata and pixels by id."""
    ramp = np.linspace(0, 255, 64 * 48 * 3).reshape(48, 64, 3)
    Image.fromarray(ramp.astype(np.uint8)).save(tmp_path / "photo.png")
    Image.fromarray((ramp[..., 0] > 128).astype(np.uint8) * 255).save(tmp_path / "mask.png")

    def run(name: str, rows: list[dict], *overrides: str) -> dict[str, tuple[dict, np.ndarray]]:
        columns = ["id", *sorted({key for row in ROWS for key in row})]
        table = pa.table({c: [row.get(c) for row in rows] for c in columns})
        pq.write_table(table, tmp_path / f"{name}.parquet")
        done = sdbatch(
            f"prompts.path={name}.parquet", "steps=4", "width=64", "height=64", *overrides
        )
        assert done.returncode == 0, done.stderr
        folder = tmp_path / "outputs" / name
        return {
            row["prompt_id"]: (row, np.asarray(Image.open(folder / row["file_name"])).astype(int))
            for row in pq.read_table(folder / "metadata.parquet").to_pylist()
        }

    return run


@pytest.mark.parametrize("scheduler", ["dpmpp_2m_sde_karras", "euler_a"])
def test_order_and_batch_size_change_no_picture(make, scheduler):
    rows = [{"id": f"row{i}", **row} for i, row in enumerate(ROWS)]
    shuffled = random.Random(5).sample(rows, len(rows))
    alone = make("alone", rows, f"scheduler={scheduler}", "batch_size=1")
    together = make("together", shuffled, f"scheduler={scheduler}", "batch_size=5")
    assert alone.keys() == together.keys()
    for name, (row, pixels) in alone.items():
        other_row, other_pixels = together[name]
        assert np.abs(pixels - other_pixels).max() <= 1, row
        for column in ("seed", "steps", "guidance_scale", "strength", "tokens", "truncated"):
            assert row[column] == other_row[column]
    assert max(row["batch_size_used"] for row, _ in together.values()) > 1
    assert {row["strength"] for row, _ in alone.values()} == {None, 0.5, 0.7, 0.8, 1.0}


def test_rows_say_what_became_of_their_words_and_pictures(make):
    rows = [{"id": f"row{i}", **ROWS[i]} for i in (0, 5, 8, 10)]
    made = make("rows", rows, "text.max_chunks=1")
    plain, long, photo, masked = (made[f"row{i}"][0] for i in (0, 5, 8, 10))
    assert (plain["tokens"], plain["truncated"]) == (7, None)
    assert long["tokens"] > 75
    assert long["truncated"].endswith("very sharp,")
    assert (photo["init_image"], photo["mask"]) == ("photo.png", None)
    assert len(photo["init_image_sha256"]) == len(masked["mask_sha256"]) == 64
    assert plain["init_image_sha256"] is None
