"""Checks of one finished shard or repair: its record, its rows and every picture of it."""

from __future__ import annotations

import hashlib
import io
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from PIL import Image

from sdbatch.dataset.schema import COLUMNS, STATUSES
from sdbatch.dataset.shard import DamagedShard, ShardStore, column_difference
from sdbatch.labels import BadLabel, found_in

_PARTS = {"images", "metadata.parquet", "shard.json"}
_USED = (
    "image_id", "status", "error_type", "shard_id",
    "file_name", "width", "height", "format", "bytes", "sha256", "aigc_label", "aigc_produce_id",
)  # fmt: skip


@dataclass(frozen=True)
class Problem:
    """Something of a dataset that is not as it should be.

    Attributes:
        shard: name of the shard or repair; `merged` of the merged files; empty of the folder.
        kind: `unreadable` (the system refuses), `missing`, `torn` (cut off or no such file at
            all), `extra` (nothing tells of it) or `mismatch` (two things contradict each other).
        detail: what, where, expected and found.
    """

    shard: str
    kind: str
    detail: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.shard, self.kind, self.detail) if part)


@dataclass(frozen=True)
class Checked:
    """What was found of one shard or repair.

    Attributes:
        name: which.
        problems: in the order of its rows.
        images: pictures that were looked at.
        rows: how many it has; None if they cannot be read.
        columns: its columns as text; None if they are not those of this version.
    """

    name: str
    problems: tuple[Problem, ...]
    images: int = 0
    rows: int | None = None
    columns: str | None = None


_Found = Iterator[tuple[str, str]]
"""Kind and detail of each problem."""


def check(store: ShardStore, name: str, known: Collection[str] | None = None) -> Checked:
    """Read everything of a finished shard or repair, and compare it.

    Args:
        store: the dataset's.
        name: `00042` or `00042.r1`.
        known: ids of the shard's images, for a repair of it.
    """
    place = store.place(name)
    if not place.is_dir():
        return Checked(name, (Problem(name, "torn", "expected a folder, found a file"),))
    try:
        parts = _listing(place)
    except OSError as error:
        return Checked(name, (Problem(name, "unreadable", f"{error.strerror}"),))
    found = [("extra", f"{part} in its folder") for part in sorted(parts - _PARTS)]
    table, why = _attempt(store.read_metadata, name)
    record, why_record = _attempt(store.read_record, name)
    found += [problem for problem in (why, why_record) if problem]
    images, rows, columns = 0, None, None
    if table is not None:
        rows = table.num_rows
        ours = pa.schema(list(table.schema)[: len(COLUMNS)])
        if difference := column_difference(ours, COLUMNS):
            found.append(("mismatch", f"metadata.parquet: {difference}"))
        else:
            # Nearly all shards have equal columns: one string for all of them.
            columns = sys.intern(table.schema.to_string(show_schema_metadata=False))
            content = table.select(_USED).to_pylist()
            images = sum(row["file_name"] is not None for row in content)
            found += _check_rows(name, content, known)
            found += _check_files(place, f"{place.relative_to(store.folder)}/images/", content)
            found += _check_record(name, content, record or {})
    problems = tuple(Problem(name, kind, detail) for kind, detail in found)
    return Checked(name, problems, images, rows, columns)


def _attempt(read: Callable[[str], Any], name: str) -> tuple[Any, tuple[str, str] | None]:
    """What `read` reads, or why it cannot."""
    try:
        return read(name), None
    except DamagedShard as error:
        return None, (error.kind, f"{error.file.name} {error.detail}")
    except OSError as error:
        return None, ("unreadable", f"{Path(error.filename or '').name}: {error.strerror}")


def _check_rows(
    name: str, rows: Sequence[Mapping[str, Any]], known: Collection[str] | None
) -> _Found:
    shard = name.partition(".")[0]
    seen: set[str] = set()
    for row in rows:
        image_id, status = row["image_id"], row["status"]
        if status not in STATUSES:
            expected = ", ".join(STATUSES)
            yield "mismatch", f"{image_id}: status {status!r}, expected one of {expected}"
        elif (status == "ok") != (row["file_name"] is not None):
            yield "mismatch", f"{image_id}: status {status}, file_name {row['file_name']!r}"
        if image_id in seen:
            yield "mismatch", f"{image_id}: more than one row"
        seen.add(image_id)
        if known is not None and image_id not in known:
            yield "mismatch", f"{image_id}: shard {shard} has no such row"
        if row["shard_id"] != shard:
            yield "mismatch", f"{image_id}: shard_id {row['shard_id']!r}, expected {shard!r}"


def _check_record(
    name: str, rows: Sequence[Mapping[str, Any]], record: Mapping[str, Any]
) -> _Found:
    expected = {
        "shard": name,
        "images": len(rows),
        "counts": Counter(row["status"] for row in rows),
        "errors": Counter(row["error_type"] for row in rows if row["error_type"]),
    }
    for key, value in expected.items():
        if key in record and record[key] != value:
            rest = dict(value) if isinstance(value, Counter) else value
            yield "mismatch", f"shard.json: {key} {record[key]!r}, the rows have {rest!r}"


def _check_files(place: Path, prefix: str, rows: Sequence[Mapping[str, Any]]) -> _Found:
    try:
        left = _listing(place / "images")
    except (FileNotFoundError, NotADirectoryError):
        yield "missing", "images is missing, or not a folder"
        return
    except OSError as error:
        yield "unreadable", f"images: {error.strerror}"
        return
    for row in rows:
        if row["file_name"] is None:
            continue
        folder, slash, name = row["file_name"].rpartition("/")
        if folder + slash != prefix:
            yield "mismatch", f"{row['image_id']}: file_name {row['file_name']!r}, not in {prefix}"
            continue
        left.discard(name)
        if problem := _check_file(place / "images" / name, row):
            yield problem[0], f"images/{name}{problem[1]}"
    for name in sorted(left):
        yield "extra", f"images/{name}: no row tells of it"


def _check_file(path: Path, row: Mapping[str, Any]) -> tuple[str, str] | None:
    """The first thing that is wrong with the file of a row."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return "missing", " is missing"
    except OSError as error:
        return "unreadable", f": {error.strerror}"
    if len(data) != row["bytes"]:
        return "torn", f": {len(data)} bytes, expected {row['bytes']}"
    if hashlib.sha256(data).hexdigest() != row["sha256"]:
        return "mismatch", ": another SHA-256 than in the metadata"
    expected = f"{row['format']} of {row['width']}x{row['height']}"
    try:
        with Image.open(io.BytesIO(data)) as image:
            found = f"{(image.format or '').lower()} of {image.width}x{image.height}"
            if found != expected:
                return "mismatch", f": {found}, expected {expected}"
            image.load()
    except Exception as error:  # Pillow has no one error for files that it cannot decode
        return "torn", f": cannot be decoded ({type(error).__name__})"
    return _check_label(data, row) if row["aigc_label"] else None


def _check_label(data: bytes, row: Mapping[str, Any]) -> tuple[str, str] | None:
    """What is wrong with the implicit label."""
    try:
        found = found_in(data)
    except BadLabel as error:
        return "mismatch", f": {error}"
    if found.ProduceID != row["aigc_produce_id"]:
        expected = f"expected {row['aigc_produce_id']}"
        return "mismatch", f": AIGC.ProduceID {found.ProduceID}, {expected}"
    return None


def _listing(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}
