"""How far a dataset is, read from its folder alone: nobody who works on it is asked."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from sdbatch.dataset.attempts import attempts
from sdbatch.dataset.existing import open_dataset, shard_names
from sdbatch.dataset.shard import ShardStore

_READERS = 4
"""Threads, which hide the delays of a file server."""
_SLOWEST = 5
_HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class SlowShard:
    """A shard that took long."""

    name: str
    seconds: float
    images: int


@dataclass(frozen=True)
class UnfinishedAttempt:
    """A shard or repair that somebody began. `age_s`: seconds since anything of it changed."""

    name: str
    host: str
    age_s: float


@dataclass(frozen=True)
class Status:
    """A dataset at one moment.

    Attributes:
        planned: images.
        images_done: images that have an outcome.
        counts: the same by status; what repairs have mended is counted as it is now.
        errors: those of images without a picture, by type.
        shards: planned ones.
        shards_done: finished ones.
        rate: images/s in the last hour of work on shards; None if unknown.
        seconds_left: until every shard is done, at that rate; None if unknown.
        slowest: the shards that took longest, slowest first.
        unfinished: what is in hand, or was when its worker died.
        last_finished_at: when the newest shard or repair was finished.
        merged: whether the merged metadata are there.
    """

    planned: int
    images_done: int
    counts: Mapping[str, int]
    errors: Mapping[str, int]
    shards: int
    shards_done: int
    rate: float | None
    seconds_left: float | None
    slowest: tuple[SlowShard, ...]
    unfinished: tuple[UnfinishedAttempt, ...]
    last_finished_at: datetime | None
    merged: bool

    @property
    def done(self) -> bool:
        """Every shard is there."""
        return self.shards_done == self.shards

    @property
    def all_ok(self) -> bool:
        """Every planned image has its picture."""
        return self.counts.get("ok", 0) == self.planned

    def as_json(self) -> dict[str, Any]:
        """The same as JSON takes it; times in ISO form."""
        last = self.last_finished_at
        return {**asdict(self), "last_finished_at": last and last.isoformat()}


def collect(folder: Path, now: datetime | None = None) -> Status:
    """Read a dataset's state.

    Args:
        folder: the dataset's.
        now: the present, for the ages of what is unfinished.

    Raises:
        UserError: not a dataset, or a shard is damaged.
    """
    store, plan = open_dataset(folder)
    done = store.done()
    finished = [name for name in shard_names(plan) if name in done]
    repairs = {name: own for name, own in store.repairs_by_shard().items() if name in done}
    records = _read_records(store, finished + [name for own in repairs.values() for name in own])
    counts: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    for name in finished:
        own_counts, own_errors = _outcome(store, name, repairs.get(name, []), records)
        counts.update(own_counts)
        errors.update(own_errors)
    images_done = counts.total()
    rate = _rate([records[name] for name in finished])
    times = [record.finished_at for record in records.values() if record.finished_at]
    return Status(
        planned=plan.images,
        images_done=images_done,
        counts=_positive(counts),
        errors=_positive(errors),
        shards=plan.shards,
        shards_done=len(finished),
        rate=rate,
        seconds_left=(plan.images - images_done) / rate if rate else None,
        slowest=_slowest(finished, records),
        unfinished=_unfinished(store, now or datetime.now(timezone.utc)),
        last_finished_at=max(times, default=None),
        merged=(folder / "metadata.parquet").is_file(),
    )


@dataclass(frozen=True, slots=True)
class _Record:
    """What counts here of a `shard.json`; there may be 100,000 of them."""

    counts: Mapping[str, int]
    errors: Mapping[str, int]
    images: int
    seconds: float | None
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def read(cls, store: ShardStore, name: str) -> _Record:
        record = store.read_record(name)
        started_at, finished_at = (_time(record.get(key)) for key in ("started_at", "finished_at"))
        if finished_at:
            started_at = started_at or finished_at - timedelta(seconds=record.get("seconds") or 0)
            started_at = min(started_at, finished_at)  # clocks are set back at times
        return cls(
            record.get("counts") or {},
            record.get("errors") or {},
            record.get("images") or 0,
            record.get("seconds"),
            started_at,
            finished_at,
        )


def _read_records(store: ShardStore, names: Sequence[str]) -> dict[str, _Record]:
    # In pieces, since handing a task over costs about as much as reading one file.
    pieces = [names[start : start + 500] for start in range(0, len(names), 500)]
    with ThreadPoolExecutor(_READERS) as pool:
        found = pool.map(lambda piece: [_Record.read(store, name) for name in piece], pieces)
        return dict(zip(names, (record for piece in found for record in piece), strict=True))


def _outcome(
    store: ShardStore, shard: str, repairs: Sequence[str], records: Mapping[str, _Record]
) -> tuple[Mapping[str, int], Mapping[str, int]]:
    """Images of a shard by status, and its errors by type, as they are after its repairs."""
    counts, errors = Counter(records[shard].counts), records[shard].errors
    for repair in repairs:
        tried = Counter(records[repair].counts)
        if tried.total() != counts.total() - counts["ok"]:
            # Not all that had no picture were tried again: only the rows can tell which.
            rows = store.current(shard, repairs)
            statuses, types = (rows.column(name) for name in ("status", "error_type"))
            return Counter(statuses.to_pylist()), Counter(types.drop_null().to_pylist())
        counts, errors = Counter(ok=counts["ok"]) + tried, records[repair].errors
    return counts, errors


def _rate(records: Sequence[_Record]) -> float | None:
    """Images/s in the hour before the last shard was finished, or since work began in it."""
    records = [record for record in records if record.finished_at]
    if not records:
        return None
    end = max(record.finished_at for record in records)
    records = [record for record in records if record.finished_at > end - _HOUR]
    start = max(end - _HOUR, min(record.started_at for record in records))
    images = 0.0
    for record in records:
        within = record.finished_at - max(record.started_at, start)
        whole = record.finished_at - record.started_at
        images += record.images * (within / whole if whole else 1.0)
    elapsed = (end - start).total_seconds()
    return images / elapsed if images > 0 and elapsed > 0 else None


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _slowest(names: Sequence[str], records: Mapping[str, _Record]) -> tuple[SlowShard, ...]:
    shards = (
        SlowShard(name, records[name].seconds, records[name].images)
        for name in names
        if records[name].seconds is not None
    )
    return tuple(heapq.nlargest(_SLOWEST, shards, key=lambda shard: shard.seconds))


def _unfinished(store: ShardStore, now: datetime) -> tuple[UnfinishedAttempt, ...]:
    found = []
    for attempt in attempts(store.tmp):
        try:
            age_s = now.timestamp() - attempt.last_change()
        except OSError:  # it is finished or removed at this moment
            continue
        found.append(UnfinishedAttempt(attempt.shard, attempt.host, max(age_s, 0.0)))
    return tuple(found)


def _positive(counts: Mapping[str, int]) -> dict[str, int]:
    return {name: count for name, count in sorted(counts.items()) if count}
