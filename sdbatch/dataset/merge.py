"""Merge finished shards into one `metadata.parquet` and a `summary.json`.

Rows stand in plan order, each the last word on its image: repairs are counted in. The merge proves
that planned = sum of outcomes, and streams, so that its memory does not grow with the dataset.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sdbatch.dataset.attempts import new_name
from sdbatch.dataset.existing import listed, shard_names
from sdbatch.dataset.schema import STATUSES
from sdbatch.dataset.shard import ShardStore, check_columns
from sdbatch.dataset.work import WorkDone
from sdbatch.disk import fsync
from sdbatch.errors import EXIT_DONE, EXIT_SOME_FAILED, UserError
from sdbatch.plan import Plan

_ROW_GROUP_BYTES = 64 * 2**20
"""Rows of several shards share a row group: readers are slow where there are very many."""


class ShardsMissing(UserError):
    """The dataset is not whole yet: it can be merged when every shard is there."""


@dataclass(frozen=True)
class Summary:
    """The outcome of a dataset: planned images, counts by status, and failures by type of error."""

    planned: int
    counts: Mapping[str, int]
    errors: Mapping[str, int]

    @property
    def ok(self) -> int:
        """Images that are there."""
        return self.counts.get("ok", 0)

    @property
    def complete(self) -> bool:
        """Every planned image has a row, whatever became of it."""
        return sum(self.counts.values()) == self.planned

    @property
    def exit_code(self) -> int:
        """That of the contract, for a dataset that is complete."""
        return EXIT_DONE if self.ok == self.planned else EXIT_SOME_FAILED

    def line(self) -> str:
        """The proof, as `64 planned = 62 ok + 1 failed + 1 blank`."""
        parts = [f"{self.counts[status]} {status}" for status in STATUSES if status in self.counts]
        sign = "=" if self.complete else "is not"
        return f"{self.planned} planned {sign} {' + '.join(parts) or 0}"


def merge(store: ShardStore, plan: Plan, schema: pa.Schema | None = None) -> Summary:
    """Write `metadata.parquet` and `summary.json`, each by one rename.

    Args:
        store: the dataset's shards.
        plan: what they should be.
        schema: of the metadata; None: that of the first shard.

    Raises:
        ShardsMissing: the metadata describe a whole dataset or do not appear.
        UserError: a shard is damaged, or not like the others.
    """
    names = shard_names(plan)
    check_all_there(store, names)
    repairs = store.repairs_by_shard()
    work = WorkDone()
    counts: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    schema = schema or store.read_metadata(names[0]).schema
    with (
        _appearing(store, store.folder / "metadata.parquet") as unfinished,
        pq.ParquetWriter(
            unfinished, schema, compression="zstd", write_page_checksum=True
        ) as writer,
    ):
        rows = _RowGroups(writer)
        for name in names:
            own = repairs.get(name, [])
            table = store.current(name, own)
            _check_shard(store.place(name), name, table, schema)
            counts.update(table.column("status").to_pylist())
            errors.update(table.column("error_type").drop_null().to_pylist())
            for folder in (name, *own):
                work.add(store.read_record(folder), is_repair=folder != name)
            rows.add(table)
        rows.flush()
    summary = Summary(plan.images, dict(sorted(counts.items())), dict(sorted(errors.items())))
    _write_summary(store, plan, summary, work)
    return summary


def check_all_there(store: ShardStore, names: Sequence[str]) -> None:
    """Make sure that every planned shard is done.

    Raises:
        ShardsMissing: with their number and the first names.
    """
    done = store.done()
    missing = [name for name in names if name not in done]
    if missing:
        raise ShardsMissing(
            f"{store.folder}: {len(missing)} of {len(names)} shards are missing: {listed(missing)}"
        )


class _RowGroups:
    """Collects the rows of shards until they are worth a row group."""

    def __init__(self, writer: pq.ParquetWriter):
        self._writer = writer
        self._tables: list[pa.Table] = []
        self._bytes = 0

    def add(self, table: pa.Table) -> None:
        self._tables.append(table)
        self._bytes += table.nbytes
        if self._bytes >= _ROW_GROUP_BYTES:
            self.flush()

    def flush(self) -> None:
        if self._tables:
            self._writer.write_table(pa.concat_tables(self._tables))
        self._tables, self._bytes = [], 0


def _check_shard(folder: Path, name: str, table: pa.Table, schema: pa.Schema) -> None:
    check_columns(folder, table.schema, schema)
    image_ids = Counter(table.column("image_id").to_pylist())
    twice = [image_id for image_id, count in image_ids.items() if count > 1]
    if twice:
        raise UserError(f"{folder}: expected one row for each image, found more for {twice[0]}")
    shards = set(table.column("shard_id").to_pylist())
    if shards != {name}:
        found = ", ".join(sorted(shards - {name})) or "no rows"
        raise UserError(f"{folder}: expected rows of shard {name}, found {found}")


def _write_summary(store: ShardStore, plan: Plan, summary: Summary, work: WorkDone) -> None:
    record = {
        "fingerprint": plan.settings.fingerprint,
        "planned": summary.planned,
        "counts": summary.counts,
        "errors": summary.errors,
        "complete": summary.complete,
        "rows": plan.rows,
        "shards": plan.shards,
        **work.record(),
    }
    with _appearing(store, store.folder / "summary.json") as unfinished:
        unfinished.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


@contextmanager
def _appearing(store: ShardStore, target: Path) -> Iterator[Path]:
    """A path to write to, renamed to `target` at the end; after an error nothing is left."""
    store.tmp.mkdir(exist_ok=True)
    # Like an attempt at a shard: what a killed merge leaves is found and removed by a later run.
    aside = store.tmp / new_name("merge")
    aside.mkdir()
    try:
        yield aside / target.name
        fsync(aside / target.name)
        (aside / target.name).replace(target)
        fsync(target.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
