"""The demo checkpoints draw what the prompts say: colours of shape and ground, from the pixels."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tools.train_demo.colors import seen_colors


@pytest.mark.parametrize(("model", "table"), [("demo", "shapes"), ("demo_zh", "shapes_zh")])
def test_95_percent_of_64_prompts_have_both_colours_right(sdbatch, tmp_path, model, table):
    run = sdbatch(f"model={model}", f"prompts={table}", "batch_size=8", "output.shard_size=16")
    assert run.returncode == 0, run.stderr
    folder = tmp_path / "outputs" / table
    rows = pq.read_table(folder / "metadata.parquet").to_pylist()
    assert len(rows) == 64
    wrong = []
    for row in rows:
        found = seen_colors(np.asarray(Image.open(folder / row["file_name"])))
        if found != (row["color"], row["ground"]):
            wrong.append((row["prompt"], found))
    assert len(wrong) <= 0.05 * len(rows), wrong
