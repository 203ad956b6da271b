"""`python -m sdbatch.status DIR`: how far a dataset is, while it is made or afterwards."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

from sdbatch.command import DatasetParser, run
from sdbatch.dataset.status import Status, collect
from sdbatch.errors import EXIT_DONE, EXIT_INTERRUPTED, EXIT_SOME_FAILED

_MOST = 5
"""Of a list, so many are named."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the status, exit with the code that the job would have."""
    parser = DatasetParser("status", "Say how far a dataset is; only its folder is read.")
    parser.add_argument("--json", action="store_true", help="one JSON object, for programs")
    run(parser, _status, arguments)


def _status(given: argparse.Namespace) -> int:
    now = datetime.now(timezone.utc)
    status = collect(given.folder, now)
    if given.json:
        print(json.dumps(status.as_json(), ensure_ascii=False))
    else:
        for name, text in _lines(given.folder, status, now):
            print(f"{name:<14} {text}")
    if not status.done:
        return EXIT_INTERRUPTED
    return EXIT_DONE if status.all_ok else EXIT_SOME_FAILED


def _lines(folder: Path, status: Status, now: datetime) -> Iterator[tuple[str, str]]:
    """Name and text of each line."""
    share = status.images_done / status.planned if status.planned else 1.0
    yield "dataset", os.fsencode(folder).decode(errors="replace")
    yield "images", f"{status.images_done:,} of {status.planned:,} ({share:.1%})"
    yield "outcomes", _counts(status.counts)
    yield "errors", _counts(status.errors)
    yield "shards", f"{status.shards_done:,} of {status.shards:,}"
    yield "rate", f"{status.rate:.2f} images/s in the last hour" if status.rate else "not known"
    if not status.done:
        left = status.seconds_left
        yield "time left", "not known" if left is None else _clock(left)
    last = status.last_finished_at
    ago = last and _clock((now - last).total_seconds())
    yield "last finished", f"{last:%Y-%m-%d %H:%M:%S} UTC, {ago} ago" if last else "none"
    slowest = [
        f"{one.name} ({one.images:,} images in {_clock(one.seconds)})" for one in status.slowest
    ]
    yield "slowest shards", _joined(slowest)
    unfinished = [
        f"{one.name} on {one.host} (changed {_clock(one.age_s)} ago)" for one in status.unfinished
    ]
    yield "unfinished", _joined(unfinished)
    yield "merged", "yes" if status.merged else "no"


def _counts(counts: Mapping[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    return _joined([f"{count:,} {name}" for name, count in ordered])


def _joined(parts: Sequence[str]) -> str:
    more = [f"and {len(parts) - _MOST} more"] if len(parts) > _MOST else []
    return ", ".join([*parts[:_MOST], *more]) or "none"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"


if __name__ == "__main__":
    main()
