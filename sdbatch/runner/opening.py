"""A unit made ready for the device: its rows as images, and a folder of an attempt at it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from sdbatch.dataset.schema import SETTLED
from sdbatch.dataset.shard import ShardStore
from sdbatch.plan import PlannedImage
from sdbatch.runner.messages import Assignment
from sdbatch.runner.prepare import Job
from sdbatch.runner.writing import OpenUnit
from sdbatch.stopwatch import Stopwatch

_LOOK_S = 2.0
"""So often a task looks whether another has made the shard in hand."""


@dataclass(frozen=True)
class Opened:
    """A unit with all that the device needs.

    Attributes:
        assignment: what is to be made.
        images: of it.
        unit: the attempt.
        overtaken: whether another task has made it by now, as far as was looked.
    """

    assignment: Assignment
    images: Sequence[PlannedImage]
    unit: OpenUnit
    overtaken: Callable[[], bool]


def open_unit(
    job: Job, store: ShardStore, assignment: Assignment, beat: Callable[[], None]
) -> Opened:
    """Begin an attempt.

    Args:
        job: the run's.
        store: its dataset.
        assignment: what is to be made.
        beat: called as work goes on.

    Raises:
        UserError: the table is not the one that was checked.
        OSError: the folder cannot be made.
    """
    unit = assignment.unit
    images = job.plan.images_of(job.table.read(*job.plan.shard_rows(unit.shard)))
    shard, attempts = job.plan.shard_name(unit.shard), {}
    if unit.is_repair:
        earlier = store.repairs_by_shard().get(shard, [])
        current = store.current(shard, earlier).select(["image_id", "status", "attempts"])
        rows = current.to_pylist()
        attempts = {r["image_id"]: r["attempts"] for r in rows if r["status"] not in SETTLED}
        images = [image for image in images if image.image_id in attempts]
    folder = ExitStack()
    writer = folder.enter_context(store.begin(unit.name))
    order = [image.image_id for image in images]
    watch = Stopwatch(beat)
    made = OpenUnit(unit, shard, folder, writer, order, attempts, watch, assignment.proven)
    overtaken = _seldom(lambda: store.exists(unit.name)) if assignment.shared else lambda: False
    return Opened(assignment, images, made, overtaken)


def _seldom(look: Callable[[], bool]) -> Callable[[], bool]:
    """Look every few seconds; between them the answer is no."""
    looked_at = time.monotonic()

    def answer() -> bool:
        nonlocal looked_at
        if time.monotonic() - looked_at < _LOOK_S:
            return False
        looked_at = time.monotonic()
        return look()

    return answer
