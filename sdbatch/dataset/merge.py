"""Merge finished shards into one `metadata.parquet` and a `summary.json`.

Rows stand in plan order. The merge proves that planned = sum of outcomes, shard by shard, and
streams, so that it takes the memory of one shard.
"""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sdbatch.dataset.shard import ShardStore
from sdbatch.plan import Plan


@dataclass(frozen=True)
class Summary:
    """The outcome of a dataset: planned images and counts by status."""

    planned: int
    counts: dict[str, int]

    @property
    def ok(self) -> int:
        """Images that are there."""
        return self.counts.get("ok", 0)

    @property
    def complete(self) -> bool:
        """Every planned image has a row, whatever became of it."""
        return sum(self.counts.values()) == self.planned


def merge(store: ShardStore, plan: Plan, schema: pa.Schema) -> Summary:
    """Write `metadata.parquet` and `summary.json`, each by one rename.

    Call it when every shard is done: the metadata describe a whole dataset or do not appear.
    """
    counts: Counter[str] = Counter()
    with (
        _appearing(store.folder / "metadata.parquet") as unfinished,
        pq.ParquetWriter(unfinished, schema, compression="zstd") as writer,
    ):
        for shard in range(plan.shards):
            table = store.read_metadata(plan.shard_name(shard))
            counts.update(table.column("status").to_pylist())
            writer.write_table(table.cast(schema))
    summary = Summary(plan.images, dict(sorted(counts.items())))
    _write_summary(store.folder, plan, summary)
    return summary


def _write_summary(folder: Path, plan: Plan, summary: Summary) -> None:
    record = {
        "fingerprint": plan.settings.fingerprint,
        "planned": summary.planned,
        "counts": summary.counts,
        "complete": summary.complete,
        "rows": plan.rows,
        "shards": plan.shards,
    }
    with _appearing(folder / "summary.json") as unfinished:
        unfinished.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


@contextmanager
def _appearing(target: Path) -> Iterator[Path]:
    """A path to write to, renamed to `target` at the end; after an error nothing is left."""
    unfinished = target.with_name(f".{target.name}.{uuid.uuid4().hex}")  # machines may share a pid
    try:
        yield unfinished
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)
