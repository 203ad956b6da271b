"""Small datasets with real picture files, made by the real writer."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from sdbatch.dataset.schema import dataset_schema
from sdbatch.dataset.shard import ShardStore
from sdbatch.plan import Plan
from sdbatch.run_record import adopt_run
from tests.examples import metadata_row, some_settings

SCHEMA = dataset_schema(pa.schema([("topic", pa.string())]), {"model": "demo"})
WIDTH, HEIGHT = 12, 8
ERRORS = {"failed": "BadImage", "oom": "MemoryError"}


def a_plan(rows: int = 10, shard_size: int = 4, images: int | None = None) -> Plan:
    return Plan(some_settings(image_format="png"), rows, images or rows, shard_size)


def begin(folder: Path, plan: Plan | None = None) -> ShardStore:
    """A dataset that has its run.json and nothing else."""
    adopt_run(folder, plan or a_plan(), {"sdbatch": "0.1.0"}, "2026-01-01T20:00:00+00:00")
    store = ShardStore(folder)
    store.create()
    return store


def picture(name: str, kind: str = "PNG") -> bytes:
    """A file of WIDTH x HEIGHT pixels that depend on the name."""
    pixels = np.random.default_rng(list(name.encode())).integers(0, 255, (HEIGHT, WIDTH, 3))
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, kind)
    return buffer.getvalue()


def make(
    store: ShardStore, name: str, outcomes: Mapping[str, str], suffix: str = "png", **record: Any
) -> None:
    """A finished shard or repair, of rows with these ids and statuses."""
    with store.begin(name) as writer:
        rows = []
        for image_id, status in outcomes.items():
            row = metadata_row(
                image_id, status=status, shard_id=name.partition(".")[0], topic=f"主题 {image_id}",
                width=WIDTH, height=HEIGHT, error_type=ERRORS.get(status),
            )  # fmt: skip
            if status == "ok":
                data = picture(image_id, "JPEG" if suffix == "jpg" else "PNG")
                row |= writer.add_image(image_id, data, suffix)
            rows.append(row)
        assert writer.commit(rows, SCHEMA, record)


def make_all(store: ShardStore, plan: Plan, statuses: Sequence[str]) -> None:
    """Every shard of a plan with one image a row."""
    for shard in range(plan.shards):
        span = range(*plan.shard_rows(shard))
        make(store, plan.shard_name(shard), {f"{row}-000": statuses[row] for row in span})
