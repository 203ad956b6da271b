"""The shards of a dataset on disk, and repairs of them: rows that were tried again.

    shards/00042/        images/*.png  metadata.parquet  shard.json
    repairs/00042.r1/    the same, of fewer rows
    _tmp/<attempt>/      the same, unfinished

A shard is done if its folder exists. Nothing else says so, and nothing in it changes afterwards.
"""

from __future__ import annotations

import errno
import json
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sdbatch.dataset import attempts, repairs
from sdbatch.dataset.writer import ShardWriter
from sdbatch.disk import fsync
from sdbatch.errors import UserError


class DamagedShard(UserError):
    """A finished shard is not what it was.

    Args:
        store: whose shard it is.
        file: what is damaged.
        kind: `missing` or `torn`.
        detail: what is wrong with it.
    """

    def __init__(self, store: ShardStore, file: Path, kind: str, detail: str):
        self.file, self.kind, self.detail = file, kind, detail
        super().__init__(
            f"{file}: {detail}; run `python -m sdbatch.verify {store.folder} --discard`, "
            "and then the job again"
        )


@dataclass(frozen=True)
class ShardStore:
    """The shards of one dataset folder, and their repairs."""

    folder: Path

    @property
    def shards(self) -> Path:
        """Where finished shards are."""
        return self.folder / "shards"

    @property
    def repairs(self) -> Path:
        """Where finished repairs are."""
        return self.folder / "repairs"

    @property
    def tmp(self) -> Path:
        """Where unfinished attempts are."""
        return self.folder / "_tmp"

    def create(self) -> None:
        """Make the folders that shards go through, inside a dataset folder that is there.

        Raises:
            FileNotFoundError: the dataset folder is not.
        """
        for folder in (self.shards, self.repairs, self.tmp):
            folder.mkdir(exist_ok=True)
        fsync(self.folder)

    def place(self, name: str) -> Path:
        """The folder of a finished shard (00042) or repair (00042.r1)."""
        return (self.repairs if repairs.is_repair(name) else self.shards) / name

    def exists(self, name: str) -> bool:
        """Whether a shard or repair is done."""
        return self.place(name).exists()

    def done(self) -> set[str]:
        """Names of the finished shards, by one directory listing."""
        return set(_listing(self.shards))

    def repairs_by_shard(self) -> dict[str, list[str]]:
        """Names of the finished repairs of each shard, oldest first, by one directory listing."""
        return repairs.by_shard(_listing(self.repairs))

    def claimed(self, silent_s: float | None = None) -> Counter[str]:
        """How often somebody, who is not known to be gone, has each name in hand; by one listing.

        Args:
            silent_s: attempts in which no file appeared for so many seconds count for nothing; to
                tell, each is looked at.
        """
        found = [attempt for attempt in attempts.attempts(self.tmp) if not attempt.gone]
        if silent_s is not None and found:
            since = attempts.clock(self.tmp) - silent_s
            found = [attempt for attempt in found if attempt.grew_after(since)]
        return Counter(attempt.shard for attempt in found)

    def begin(self, name: str) -> ShardWriter:
        """A new attempt at a shard or repair, in a folder of its own."""
        return ShardWriter(self, name, attempts.new_name(name))

    def discard_abandoned(self) -> None:
        """Remove what nobody is working on any more: see `sdbatch.dataset.attempts`."""
        attempts.discard_abandoned(self.tmp)

    def discard(self, name: str) -> None:
        """Take a finished shard or repair away, whole and at once, so that it is made anew."""
        aside = self.tmp / attempts.new_name(name)
        self.tmp.mkdir(exist_ok=True)
        self.place(name).rename(aside)
        fsync(self.place(name).parent)
        if aside.is_dir():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.unlink()

    def check_is_there(self) -> None:
        """Make sure that the dataset was not deleted under way.

        Raises:
            FileNotFoundError: its run.json is gone; names the folder.
        """
        if not (self.folder / "run.json").exists():
            raise FileNotFoundError(
                errno.ENOENT, "the dataset is gone: no run.json in it", str(self.folder)
            )

    def read_metadata(self, name: str) -> pa.Table:
        """All metadata rows of a finished shard or repair.

        Raises:
            DamagedShard: they are missing or torn.
        """
        path = self.place(name) / "metadata.parquet"
        data = self._read(path)
        try:
            file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
            return file.read(use_threads=False)
        except Exception as error:  # pyarrow has no one error for a file that is torn
            raise DamagedShard(self, path, "torn", "is not a whole Parquet file") from error

    def read_record(self, name: str) -> dict[str, Any]:
        """The `shard.json` of a finished shard or repair; older ones lack some keys.

        Raises:
            DamagedShard: it is missing or torn.
        """
        path = self.place(name) / "shard.json"
        data = self._read(path)
        try:
            record = json.loads(data)
        except ValueError as error:
            raise DamagedShard(self, path, "torn", "is not whole JSON") from error
        if not isinstance(record, dict):
            raise DamagedShard(self, path, "torn", "is not a JSON object")
        return record

    def current(self, shard: str, repairs_of_it: Sequence[str]) -> pa.Table:
        """The shard's rows in order: of each image the latest success, else the latest attempt.

        Args:
            shard: its name.
            repairs_of_it: names of its repairs, oldest first.

        Raises:
            DamagedShard: something of it is missing or torn.
            UserError: a repair has other columns.
        """
        rows = self.read_metadata(shard)
        mended = [self.read_metadata(name) for name in repairs_of_it]
        for name, table in zip(repairs_of_it, mended, strict=True):
            check_columns(self.place(name), table.schema, rows.schema)
        return repairs.repaired(rows, mended)

    def _read(self, path: Path) -> bytes:
        try:
            return path.read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise DamagedShard(self, path, "missing", "is missing") from error


def _listing(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return []


def check_columns(folder: Path, found: pa.Schema, expected: pa.Schema) -> None:
    """Refuse a shard or repair whose columns, their types or their order are not as expected.

    Raises:
        UserError: naming the folder and the first column that differs.
    """
    if difference := column_difference(found, expected):
        raise UserError(f"{folder}: not like the other shards: {difference}")


def column_difference(found: pa.Schema, expected: pa.Schema) -> str | None:
    """The first column that is not as expected, in words; None if all are."""
    if found.equals(expected):
        return None
    for name in dict.fromkeys([*expected.names, *found.names]):
        one, other = (_column(schema, name) for schema in (expected, found))
        if one != other:
            return f"column {name}: expected {one}, found {other}"
    return f"expected columns in the order {', '.join(expected.names)}"


def _column(schema: pa.Schema, name: str) -> str:
    places = schema.get_all_field_indices(name)
    if not places:
        return "none"
    field = schema.field(places[0])
    return f"{field.type}{'' if field.nullable else ', never null'}"
