"""`python -m sdbatch.status DIR`: how far a dataset is, while it is made or afterwards."""

from __future__ import annotations

import argparse
import json
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

from sdbatch.command import DatasetParser, run
from sdbatch.dataset.existing import open_dataset
from sdbatch.dataset.status import Status, collect
from sdbatch.errors import EXIT_DONE, EXIT_INTERRUPTED, EXIT_SOME_FAILED
from sdbatch.launch.tasks import Launched, look
from sdbatch.runner.units import units_left

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
    store, plan = open_dataset(given.folder)
    launched = look(given.folder, units_left(plan, store))
    if given.json:
        record = {**status.as_json(), "launch": launched and launched.as_json()}
        print(json.dumps(record, ensure_ascii=False))
    else:
        lines = [*_lines(given.folder, status, now), *_launch_lines(launched, status)]
        for name, text in lines:
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
    if status.merged or not status.done:
        yield "merged", "yes" if status.merged else "no"
    else:
        yield "merged", f"no: python -m sdbatch.merge {shlex.quote(str(folder))} does it"


def _launch_lines(launched: Launched | None, status: Status) -> Iterator[tuple[str, str]]:
    """What Slurm has to do with it; nothing for a dataset that was not launched on it."""
    if launched is None:
        return
    if launched.queue is None:
        yield "tasks", "not known: squeue does not answer here"
    else:
        why = f" ({', '.join(launched.reasons[:2])})" if launched.reasons else ""
        states = {
            state.lower() + why * (state == "PENDING"): count
            for state, count in launched.queue.items()
        }
        merge = f"; merge {launched.merge.lower()}" if launched.merge else ""
        yield "tasks", (_counts(states) if states else "none in the queue") + merge
    for task in launched.failed[:_MOST]:
        state = f" ({task.state.lower()})" if task.state else ""
        yield "failed task", f"{task.task}{state}: {task.line or 'no output'}; {task.output}"
    if len(launched.failed) > _MOST:
        yield "failed task", f"and {len(launched.failed) - _MOST} more"
    if not status.done:
        yield "resubmit", launched.launch.resubmit_command


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
