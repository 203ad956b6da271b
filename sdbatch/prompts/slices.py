"""Rows of a Parquet file, a bounded amount of memory at a time, whatever its columns hold.

A table of ten million prompts is read in slices of many rows, one whose cells are pictures in
slices of few.  How many is taken from the metadata of its row groups, and, since they tell the
size in the file, where a value that comes a thousand times is stored once, from the first rows.

A page of the file is the least that can be read: pictures need pages of few rows.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

SLICE_ROWS = 65_536
SLICE_BYTES = 64 << 20
_STEP_ROWS = 1024  # slices are put together from steps: the step cannot change on the way
_STEP_BYTES = 8 << 20
_TRIED_ROWS = 64
_SMALL = 1 << 17  # no value is larger than its row group: 1024 rows of such take 128 MiB at most
_BUFFER = 1 << 18


def open_parquet(path: Path) -> pq.ParquetFile:
    """The file, read through a buffer; without one, a row group's column is loaded whole."""
    return pq.ParquetFile(path, buffer_size=_BUFFER)


def slices(file: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
    """All rows in their order, in slices of about SLICE_ROWS or SLICE_BYTES, what comes first."""
    steps: list[pa.RecordBatch] = []
    rows = size = 0
    for step in _steps(file, range(file.num_row_groups)):
        steps.append(step)
        rows += step.num_rows
        size += _bytes_of(step)
        if rows >= SLICE_ROWS or size >= SLICE_BYTES:
            gathered, steps, rows, size = _joined(steps), [], 0, 0
            yield gathered
    if steps:
        yield _joined(steps)


class RowReader:
    """Rows by their numbers. To go on is cheap; to go back is to begin the row group again."""

    def __init__(self, file: pq.ParquetFile):
        self._file = file
        sizes = (file.metadata.row_group(group).num_rows for group in range(file.num_row_groups))
        self._starts = list(itertools.accumulate(sizes, initial=0))
        self._first = self._end = 0  # of the step at hand
        self._step: pa.RecordBatch | None = None
        self._next: Iterator[pa.RecordBatch] = iter(())

    def read(self, start: int, stop: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        """(number of the first, rows), in pieces, from `start` to before `stop`; both exist."""
        while start < stop:
            self._go_to(start)
            piece = self._step.slice(start - self._first, stop - start)
            yield start, piece
            start += piece.num_rows

    def _go_to(self, row: int) -> None:
        group = bisect_right(self._starts, row) - 1
        if row < self._first or self._starts[group] > self._end or self._end == 0:
            groups = range(group, self._file.num_row_groups)
            self._next = itertools.chain.from_iterable(_steps(self._file, [g]) for g in groups)
            self._end = self._starts[group]
        while row >= self._end:
            self._step = next(self._next)
            self._first, self._end = self._end, self._end + self._step.num_rows


def _steps(file: pq.ParquetFile, groups: Iterable[int]) -> Iterator[pa.RecordBatch]:
    for rows, run in itertools.groupby(groups, lambda group: _rows_per_step(file, group)):
        yield from file.iter_batches(batch_size=rows, row_groups=list(run))


def _rows_per_step(file: pq.ParquetFile, group: int) -> int:
    """A power of two, so that many row groups share it and are read as one."""
    stored = file.metadata.row_group(group)
    rows = _rows_within(stored.total_byte_size, stored.num_rows)
    if stored.total_byte_size > _SMALL:
        tried = max(1, min(_TRIED_ROWS, rows // 8))
        first = next(file.iter_batches(batch_size=tried, row_groups=[group]))
        rows = min(rows, _rows_within(_bytes_of(first), first.num_rows))
    return 1 << (rows.bit_length() - 1)


def _rows_within(size: int, rows: int) -> int:
    return max(1, min(_STEP_ROWS, _STEP_BYTES * rows // max(1, size)))


def _bytes_of(batch: pa.RecordBatch) -> int:
    """In memory; all steps of a row group share a dictionary."""
    return sum(
        column.indices.nbytes if isinstance(column, pa.DictionaryArray) else column.nbytes
        for column in batch.columns
    )


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    if len(batches) == 1:
        return batches[0]
    return pa.Table.from_batches(batches).unify_dictionaries().combine_chunks().to_batches()[0]
