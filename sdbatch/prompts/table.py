"""The prompt table: read in slices, checked before any work, every row with a name.

Only `prompt` is required. `id` and the override columns are optional; every other column is carried
into the metadata untouched. A table of any length is read a slice at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from sdbatch.errors import UserError, one_line
from sdbatch.prompts.checks import (
    OVERRIDES,
    PICTURES,
    SIZE_HINTS,
    RowChecks,
    check_schema,
    safe_id,
)
from sdbatch.prompts.digest import TableDigest
from sdbatch.prompts.language import ChineseRows
from sdbatch.prompts.slices import RowReader, open_parquet, slices

_OWN = (*OVERRIDES, *PICTURES, *SIZE_HINTS)
MAX_SIDE = 1 << 16


@dataclass(frozen=True)
class PromptRow:
    """One row of the table. Overrides are None where the config decides.

    `init_image` and `mask` are cells as the table has them: a path, bytes, or a dict of both.
    """

    index: int
    id: str
    prompt: str
    negative_prompt: str | None
    seed: int | None
    width: int | None
    height: int | None
    steps: int | None
    guidance_scale: float | None
    guidance_rescale: float | None
    strength: float | None
    images_per_prompt: int | None
    init_image: Any
    mask: Any
    original_width: int | None
    original_height: int | None
    crop_left: int | None
    crop_top: int | None
    target_width: int | None
    target_height: int | None
    carried: dict[str, Any]


@dataclass(frozen=True)
class PromptDefaults:
    """What the config says where a row says nothing."""

    images_per_prompt: int
    steps: int
    width: int
    height: int
    strength: float | None = None


@dataclass(frozen=True)
class TableSummary:
    """What one reading of a whole table tells: sizes, digest, and the settings its rows ask for.

    `stamp` is that of the `PromptTable` that was read.
    """

    rows: int
    images: int
    sha256: str
    steps: frozenset[int]
    sizes: frozenset[tuple[int, int]]
    stamp: tuple[int, int] = field(compare=False)

    def as_json(self) -> dict[str, Any]:
        """The same as JSON takes it."""
        return {
            **asdict(self),
            "steps": sorted(self.steps),
            "sizes": sorted(self.sizes),
            "stamp": list(self.stamp),
        }

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> TableSummary:
        """What `as_json` gave.

        Raises:
            KeyError, TypeError: it is not that.
        """
        return cls(
            record["rows"],
            record["images"],
            record["sha256"],
            frozenset(record["steps"]),
            frozenset(map(tuple, record["sizes"])),
            tuple(record["stamp"]),
        )


class PromptTable:
    """A Parquet file whose columns are known to be of the right kinds.

    `stamp` changes when the file does: its bytes, and nanoseconds of its last change.
    """

    def __init__(self, path: Path, limit: int | None = None):
        """Open the file and check its schema.

        Raises:
            UserError: no such file, not Parquet, no `prompt`, or a column of the wrong type.
        """
        self.path, self._limit = path, limit
        try:
            self.stamp = _stamp(path)
            self._file = open_parquet(path)
        except FileNotFoundError as error:
            raise UserError(f"prompts.path: {path}: no such file") from error
        except (OSError, pa.ArrowException) as error:
            raise _unreadable(path, error) from error
        self.schema = pa.schema([_plain(field) for field in self._file.schema_arrow])
        check_schema(path, self.schema)
        rows = self._file.metadata.num_rows
        self.rows = rows if limit is None else min(rows, limit)
        if self.rows == 0:
            raise UserError(f"{path}: expected at least one row, found none")

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process opens the same file again."""
        return _reopen, (self.path, self._limit, self.stamp)

    @cached_property
    def carried(self) -> pa.Schema:
        """The user's own columns, which go into the metadata as they are."""
        known = {"prompt", "id", *_OWN}
        return pa.schema([field for field in self.schema if field.name not in known])

    def check(
        self,
        defaults: PromptDefaults,
        pixels_per_latent: int = 8,
        *,
        all_masked: bool = False,
        chinese: ChineseRows | None = None,
    ) -> TableSummary:
        """Read the whole table once, refuse bad rows, and sum up the rest.

        Args:
            defaults: the config's values.
            pixels_per_latent: what sizes must be multiples of.
            all_masked: every row needs a picture and a mask (inpainting networks).
            chinese: what to expect of rows with Chinese prompts; None: nothing.

        Raises:
            UserError: nulls in `prompt`, duplicate ids, sizes, seeds or counts out of range, with
                the numbers of the first such rows (the first row is 0).
        """
        digest, ids = TableDigest(self.schema), []
        images, steps, sizes = 0, set(), set()
        for start, batch in self._slices():
            digest.update(batch)
            checked = RowChecks(self.path, start, batch)
            checked.prompts()
            if chinese is not None:
                checked.languages(chinese)
            if "id" in self.schema.names:
                ids.append(checked.id_hashes())
            samples = checked.column("images_per_prompt", defaults.images_per_prompt, 1, 100_000)
            row_steps = checked.column("steps", defaults.steps, 1, 100_000)
            checked.seeds(samples)
            checked.guidance()
            checked.pictures(row_steps, defaults.strength, all_masked=all_masked)
            checked.size_hints()
            widths = checked.column("width", defaults.width, 8, MAX_SIDE, pixels_per_latent)
            heights = checked.column("height", defaults.height, 8, MAX_SIDE, pixels_per_latent)
            images += int(samples.sum())
            steps.update(np.unique(row_steps).tolist())
            sizes.update(map(tuple, np.unique(np.stack([widths, heights], 1), axis=0).tolist()))
        if ids:
            self._refuse_duplicates(np.concatenate(ids))
        return TableSummary(
            self.rows, images, digest.hexdigest(), frozenset(steps), frozenset(sizes), self.stamp
        )

    def read(self, start: int, stop: int) -> list[PromptRow]:
        """Rows start..stop-1 (clipped to the table's end)."""
        stop = max(start, min(stop, self.rows))
        rows: list[PromptRow] = []
        for first, batch in self._reader.read(start, stop):
            rows.extend(self._to_rows(first, pa.Table.from_batches([batch]).cast(self.schema)))
        return rows

    @cached_property
    def _reader(self) -> RowReader:
        return RowReader(self._file)

    def _slices(self) -> Iterator[tuple[int, pa.RecordBatch]]:
        start = 0
        try:
            for batch in slices(self._file):
                if start >= self.rows:
                    return
                batch = batch.slice(0, self.rows - start)
                yield start, batch
                start += batch.num_rows
        except (OSError, pa.ArrowException) as error:
            raise _unreadable(self.path, error) from error

    def _to_rows(self, start: int, table: pa.Table) -> Iterator[PromptRow]:
        carried = self.carried.names
        for offset, row in enumerate(table.to_pylist()):
            index = start + offset
            yield PromptRow(
                index=index,
                id=safe_id(str(row.get("id", index))),
                prompt=row["prompt"],
                carried={name: row[name] for name in carried},
                **{name: row.get(name) for name in _OWN},
            )

    def _refuse_duplicates(self, hashes: np.ndarray) -> None:
        """Equal hashes only point at candidates; the ids themselves are compared."""
        order = np.argsort(hashes, kind="stable")
        twins = np.flatnonzero(hashes[order][1:] == hashes[order][:-1])
        for twin in sorted(twins, key=lambda k: order[k + 1]):
            first, second = int(order[twin]), int(order[twin + 1])
            one, two = (self.read(row, row + 1)[0].id for row in (first, second))
            if one == two:
                raise UserError(
                    f"{self.path}: id {one!r}: duplicate in rows {first} and {second}; "
                    "expected unique ids"
                )


def _stamp(path: Path) -> tuple[int, int]:
    """What changes when a file does: bytes, and nanoseconds of the last change."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _reopen(path: Path, limit: int | None, stamp: tuple[int, int]) -> PromptTable:
    """The table as another process has checked it.

    Raises:
        UserError: it is another file now.
    """
    table = PromptTable(path, limit)
    if table.stamp != stamp:
        raise UserError(f"prompts.path: {path}: changed after the run had begun")
    return table


def _plain(field: pa.Field) -> pa.Field:
    """Extension types (UUID, say) are read as what they store, as older pyarrow does."""
    kind = field.type
    return field.with_type(kind.storage_type) if isinstance(kind, pa.BaseExtensionType) else field


def _unreadable(path: Path, error: Exception) -> UserError:
    return UserError(f"prompts.path: {path}: not a readable Parquet file: {one_line(error)}")
