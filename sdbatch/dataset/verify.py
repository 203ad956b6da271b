"""Whether a dataset on disk is what its metadata tell: every shard, every picture, the merge."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sdbatch.dataset.checks import Checked, Problem, check
from sdbatch.dataset.existing import open_dataset, shard_names
from sdbatch.dataset.repairs import is_repair
from sdbatch.dataset.shard import ShardStore
from sdbatch.plan import Plan

_COMPARED = ("image_id", "status", "sha256", "file_name")


@dataclass(frozen=True)
class Report:
    """What `verify` found.

    Attributes:
        images: pictures that were looked at.
        shards: finished shards.
        missing: names of planned shards that are not there.
        problems: in plan order, then those of the whole.
    """

    images: int
    shards: int
    missing: tuple[str, ...]
    problems: tuple[Problem, ...]

    @property
    def damaged(self) -> tuple[str, ...]:
        """Shards and repairs that have problems, in plan order."""
        names = dict.fromkeys(problem.shard for problem in self.problems)
        return tuple(name for name in names if name not in ("", "merged"))


def verify(folder: Path, progress: Callable[[int], None] = lambda images: None) -> Report:
    """Check all that is finished, on as many threads as there are cores to run on.

    Args:
        folder: the dataset's.
        progress: called with the number of pictures of each shard as it is checked.

    Raises:
        UserError: not a dataset.
    """
    store, plan = open_dataset(folder)
    names, done, repairs = shard_names(plan), store.done(), store.repairs_by_shard()
    finished = [name for name in names if name in done]
    to_check = [[name] * (name in done) + repairs.get(name, []) for name in names]
    checked: list[Checked] = []
    with (
        ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool,
        closing(pool.map(partial(_check_with_repairs, store), filter(None, to_check))) as results,
    ):
        for result in results:
            checked += result
            progress(sum(one.images for one in result))
    problems = [*_of_each(checked), *_foreign_folders(store, names)]
    if len(finished) == len(names):
        problems += _check_sum(plan, [one.rows for one in checked if one.name in done])
    if all(one.columns and one.columns == checked[0].columns for one in checked):
        problems += _check_merged(store, plan, finished, repairs)
    missing = tuple(name for name in names if name not in done)
    images = sum(one.images for one in checked)
    return Report(images, len(finished), missing, tuple(problems))


def discard(folder: Path, report: Report) -> None:
    """Take away what has problems, so that the job makes it anew.

    Merged files go too, since they no longer tell the truth. What is not the dataset's stays.
    """
    store = ShardStore(folder)
    if report.damaged or any(problem.shard == "merged" for problem in report.problems):
        for name in ("summary.json", "metadata.parquet"):
            (folder / name).unlink(missing_ok=True)
    for name in report.damaged:
        store.discard(name)


def _check_with_repairs(store: ShardStore, names: Sequence[str]) -> list[Checked]:
    """Check a shard, if it is there, and then its repairs: their rows must be some of its own."""
    checked: list[Checked] = []
    known = None
    for name in names:
        checked.append(check(store, name, known))
        if not is_repair(name) and len(names) > 1 and not checked[0].problems:
            known = set(store.read_metadata(name).column("image_id").to_pylist())
    return checked


def _of_each(checked: Sequence[Checked]) -> Iterator[Problem]:
    """Problems of the shards and repairs, and which of them have other columns than most."""
    usual = Counter(one.columns for one in checked if one.columns).most_common(1)
    for one in checked:
        yield from one.problems
        if one.columns and one.columns != usual[0][0]:
            yield Problem(one.name, "mismatch", "metadata.parquet: other columns than most shards")


def _foreign_folders(store: ShardStore, names: Sequence[str]) -> Iterator[Problem]:
    """What is beside the shards and is none. It may be somebody's own, so it stays."""
    planned = set(names)
    ours = {
        store.shards: planned,
        store.repairs: {
            repair
            for shard, own in store.repairs_by_shard().items()
            if shard in planned
            for repair in own
        },
    }
    for folder, known in ours.items():
        there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        for name in sorted(there - known):
            yield Problem(
                "", "extra", f"{folder.name}/{name}: not of this dataset's plan; move it away"
            )


def _check_sum(plan: Plan, rows: Sequence[int | None]) -> Iterator[Problem]:
    if None not in rows and sum(rows) != plan.images:
        yield Problem(
            "", "mismatch", f"{plan.images} images planned, the shards have {sum(rows)} rows"
        )


def _check_merged(
    store: ShardStore,
    plan: Plan,
    finished: Sequence[str],
    repairs: Mapping[str, Sequence[str]],
) -> Iterator[Problem]:
    """Compare the merged files, if there are any, with the rows of the shards."""
    metadata, summary = store.folder / "metadata.parquet", store.folder / "summary.json"
    if not metadata.exists() and not summary.exists():
        return
    counts: Counter[str] = Counter()
    try:
        for number, (found, expected) in enumerate(
            zip_longest(_merged_rows(metadata), _current_rows(store, finished, repairs))
        ):
            if found != expected:
                detail = f"row {number} is {_named(found)}, expected {_named(expected)}"
                yield Problem("merged", "mismatch", f"metadata.parquet: {detail}")
                break
            counts[expected[1]] += 1
        else:
            yield from _check_summary(summary, plan, counts)
    except FileNotFoundError:
        yield Problem("merged", "missing", "metadata.parquet is missing")
    except OSError as error:
        yield Problem("merged", "unreadable", f"metadata.parquet: {error.strerror}")
    except _TornMerged:
        yield Problem("merged", "torn", "metadata.parquet is not a whole Parquet file")


class _TornMerged(Exception):
    """The merged metadata cannot be read."""


def _merged_rows(path: Path) -> Iterator[tuple[Any, ...]]:
    with path.open("rb") as file:
        try:
            table = pq.ParquetFile(file, page_checksum_verification=True)
            for batch in table.iter_batches(columns=list(_COMPARED)):
                yield from _rows(batch)
        except Exception as error:  # pyarrow has no one error for a file that is torn
            raise _TornMerged from error


def _current_rows(
    store: ShardStore, finished: Sequence[str], repairs: Mapping[str, Sequence[str]]
) -> Iterator[tuple[Any, ...]]:
    for name in finished:
        yield from _rows(store.current(name, repairs.get(name, [])))


def _rows(table: pa.Table | pa.RecordBatch) -> Iterator[tuple[Any, ...]]:
    return zip(*(table.column(name).to_pylist() for name in _COMPARED), strict=True)


def _named(row: tuple[Any, ...] | None) -> str:
    return f"{row[0]} ({row[1]}, {row[3]}, SHA-256 {(row[2] or 'none')[:12]})" if row else "none"


def _check_summary(path: Path, plan: Plan, counts: Mapping[str, int]) -> Iterator[Problem]:
    try:
        record = json.loads(path.read_bytes())
        found = {key: record[key] for key in ("planned", "counts")}
    except FileNotFoundError:
        yield Problem("merged", "missing", "summary.json is missing")
    except (ValueError, TypeError, KeyError):
        yield Problem("merged", "torn", "summary.json is not a whole summary")
    else:
        expected = {"planned": plan.images, "counts": dict(sorted(counts.items()))}
        if found != expected:
            yield Problem("merged", "mismatch", f"summary.json: {found}, expected {expected}")
