"""A shard on disk: built aside, checked, and made visible by one directory rename.

    _tmp/00042.<host>.<pid>.<random>/   images/*.png  metadata.parquet  shard.json
                  -> shards/00042/

A shard is done if its folder exists. Nothing else says so, and nothing in it changes afterwards.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import socket
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sdbatch.disk import fsync


class ShardCorrupt(Exception):
    """A shard read back from disk is not what was written."""


@dataclass(frozen=True)
class ShardStore:
    """The shards of one dataset folder."""

    folder: Path

    @property
    def shards(self) -> Path:
        """Where finished shards are."""
        return self.folder / "shards"

    def done(self) -> set[str]:
        """Names of the finished shards, by one directory listing."""
        try:
            with os.scandir(self.shards) as entries:
                return {entry.name for entry in entries}
        except FileNotFoundError:
            return set()

    def begin(self, name: str) -> ShardWriter:
        """A new attempt at a shard, in a folder of its own."""
        attempt = f"{name}.{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex[:8]}"
        return ShardWriter(self, name, attempt)

    def discard_abandoned(self) -> None:
        """Remove what processes of this machine that are gone left half done."""
        for folder in (self.folder / "_tmp").glob("*.*.*.*"):
            _, _, attempt = folder.name.partition(".")
            host, pid, _ = attempt.rsplit(".", 2)
            gone = pid.isdigit() and not Path(f"/proc/{pid}").exists()
            if host == socket.gethostname() and gone:
                shutil.rmtree(folder, ignore_errors=True)

    def read_metadata(self, name: str) -> pa.Table:
        """All metadata rows of a finished shard."""
        return pq.read_table(self.shards / name / "metadata.parquet", partitioning=None)


class ShardWriter:
    """One attempt at one shard. Leaving it without `commit` leaves nothing behind."""

    def __init__(self, store: ShardStore, name: str, attempt: str):
        self.name, self.attempt = name, attempt
        self._store = store
        self._work = store.folder / "_tmp" / attempt

    def __enter__(self) -> ShardWriter:
        (self._work / "images").mkdir(parents=True)
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._work, ignore_errors=True)

    def add_image(self, image_id: str, data: bytes, suffix: str = "png") -> dict[str, Any]:
        """Write one image file; returns the metadata's file columns."""
        name = f"images/{image_id}.{suffix}"
        _write(self._work / name, data)
        return {
            "file_name": f"shards/{self.name}/{name}",
            "format": suffix,
            "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
        }

    def commit(
        self, rows: Sequence[Mapping[str, Any]], schema: pa.Schema, timings: Mapping[str, float]
    ) -> bool:
        """Write the metadata, check everything on disk, and make the shard visible.

        Returns:
            False if another worker's shard was there first; this one is then discarded.

        Raises:
            ShardCorrupt: a file read back differs from what was written.
            OSError: the disk is full or failing; nothing becomes visible.
        """
        metadata = _encode_metadata(rows, schema)
        _write(self._work / "metadata.parquet", metadata)
        summary = {
            "shard": self.name,
            "attempt": self.attempt,
            "images": len(rows),
            "counts": dict(Counter(row["status"] for row in rows)),
            **timings,
        }
        _write(self._work / "shard.json", (json.dumps(summary, indent=2) + "\n").encode())
        self._check(metadata)
        for path in (self._work / "images", self._work):
            fsync(path)
        self._store.shards.mkdir(parents=True, exist_ok=True)
        try:
            # Renaming onto a non-empty directory fails, so the first worker to get here wins.
            self._work.rename(self._store.shards / self.name)
        except OSError:
            if (self._store.shards / self.name).is_dir():
                return False
            raise
        fsync(self._store.shards)
        return True

    def _check(self, metadata: bytes) -> None:
        path = self._work / "metadata.parquet"
        if path.read_bytes() != metadata:
            raise ShardCorrupt(f"{path}: read back differently from what was written")
        table = pq.read_table(path, partitioning=None)
        for row in table.select(["file_name", "bytes", "sha256"]).to_pylist():
            if row["file_name"] is None:
                continue
            image = self._work / "images" / Path(row["file_name"]).name
            data = image.read_bytes()
            if len(data) != row["bytes"] or hashlib.sha256(data).hexdigest() != row["sha256"]:
                raise ShardCorrupt(f"{image}: read back differently from what was written")


def _encode_metadata(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), file, compression="zstd")
    return file.getvalue()


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
