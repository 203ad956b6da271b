"""One attempt at a shard: built aside, checked, and made visible by one directory rename.

_tmp/<attempt>/  ->  shards/00042/  or  repairs/00042.r1/
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from sdbatch.disk import fsync
from sdbatch.errors import UserError

if TYPE_CHECKING:
    from sdbatch.dataset.shard import ShardStore

_FSYNC_THREADS = 4


class ShardCorrupt(Exception):
    """A shard read back from disk is not what was written."""


class ShardWriter:
    """One attempt at one shard. Leaving it without `commit` leaves nothing behind."""

    def __init__(self, store: ShardStore, name: str, attempt: str):
        self.name, self.attempt = name, attempt
        self._store = store
        self._work = store.tmp / attempt
        self._images = self._work / "images"

    def __enter__(self) -> ShardWriter:
        self._store.check_is_there()
        self._store.tmp.mkdir(exist_ok=True)
        # Without parents: a dataset that is deleted at this moment must not reappear.
        self._work.mkdir()
        self._images.mkdir()
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._work, ignore_errors=True)

    def add_image(self, image_id: str, data: bytes, suffix: str = "png") -> dict[str, Any]:
        """Write one image file; returns the metadata's file columns. Threads may call it at once.

        Raises:
            ShardCorrupt: it reads back differently, or there is one of this name already.
        """
        path = self._images / f"{image_id}.{suffix}"
        try:
            with path.open("xb") as file:
                file.write(data)
        except FileExistsError as error:
            raise ShardCorrupt(f"{path}: two images of one name") from error
        _check_content(path, data)
        place = self._store.place(self.name).relative_to(self._store.folder)
        return {
            "file_name": f"{place}/images/{path.name}",
            "format": "jpeg" if suffix == "jpg" else suffix,
            "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
        }

    def commit(
        self, rows: Sequence[Mapping[str, Any]], schema: pa.Schema, record: Mapping[str, Any]
    ) -> bool:
        """Write the metadata, bring everything to the disk, and make the shard visible.

        Args:
            rows: one for each image, in plan order.
            schema: of the metadata.
            record: what `shard.json` tells beside counts: times, device, memory.

        Returns:
            False if another worker's shard was there first; this one is then discarded.

        Raises:
            ShardCorrupt: files differ from what was written.
            FileNotFoundError: the dataset was deleted.
            OSError: the disk is full or failing; nothing becomes visible.
        """
        metadata = _encode_metadata(rows, schema)
        self._write("metadata.parquet", metadata)
        self._write("shard.json", _encode_record(self.name, self.attempt, rows, record))
        _check_content(self._work / "metadata.parquet", metadata)
        files = _check_listing(self._images, rows)
        with ThreadPoolExecutor(_FSYNC_THREADS) as pool:
            list(pool.map(fsync, files))
        for path in (self._images, self._work):
            fsync(path)
        self._store.check_is_there()
        target = self._store.place(self.name)
        try:
            # Renaming onto a non-empty directory fails, so the first worker to get here wins.
            self._work.rename(target)
        except OSError:
            if not target.is_dir():
                raise
            # A file server may have renamed it and lost the answer: the second try then fails.
            if not self._is_there():
                return False
        fsync(target.parent)
        return True

    def _is_there(self) -> bool:
        """Whether the finished shard is this very attempt."""
        try:
            return self._store.read_record(self.name).get("attempt") == self.attempt
        except UserError:
            return False

    def _write(self, name: str, data: bytes) -> None:
        with (self._work / name).open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())


def _encode_metadata(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> bytes:
    file = io.BytesIO()
    table = pa.Table.from_pylist(list(rows), schema=schema)
    pq.write_table(table, file, compression="zstd", write_page_checksum=True)
    return file.getvalue()


def _encode_record(
    name: str, attempt: str, rows: Sequence[Mapping[str, Any]], record: Mapping[str, Any]
) -> bytes:
    summary = {
        "shard": name,
        "attempt": attempt,
        "images": len(rows),
        "counts": Counter(row["status"] for row in rows),
        "errors": Counter(row["error_type"] for row in rows if row.get("error_type")),
        **record,
    }
    return (json.dumps(summary, indent=2) + "\n").encode()


def _check_content(path: Path, data: bytes) -> None:
    if path.read_bytes() != data:
        raise ShardCorrupt(f"{path}: read back differently from what was written")


def _check_listing(images: Path, rows: Sequence[Mapping[str, Any]]) -> list[Path]:
    """The images' files, if they are exactly those of the rows, each of its size."""
    expected = [(Path(row["file_name"]).name, row["bytes"]) for row in rows if row.get("file_name")]
    with os.scandir(images) as entries:
        found = [(entry.name, entry.stat().st_size) for entry in entries]
    if sorted(found) != sorted(expected):
        differing = sorted(set(found) ^ set(expected)) or [("two rows of one file", 0)]
        raise ShardCorrupt(f"{images / differing[0][0]}: not exactly the files of the rows")
    return [images / name for name, _ in found]
