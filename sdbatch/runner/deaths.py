"""What a worker's death means: who is blamed, whether it is replaced, when there were too many."""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import dataclass

from sdbatch.errors import UserError
from sdbatch.runner.messages import Unit
from sdbatch.runner.pool import Died, Pool, WorkerProcess
from sdbatch.runner.schedule import Schedule
from sdbatch.runner.tally import Tally

log = logging.getLogger("sdbatch")

FAILED_STARTS = 3
"""A device is given up after so many workers in a row died while loading the model."""
DEATHS_BEFORE_PROOF = 6
DEATHS_IN_A_ROW = 20
"""The run is given up after so many deaths with no picture between them: fewer before the first."""


@dataclass
class InHand:
    """A unit that a worker has, and its images that were begun and are not written."""

    unit: Unit
    begun: set[str]
    started: bool = False


class Deaths:
    """Counts deaths, replaces the dead, gives their units back to the schedule."""

    def __init__(self, pool: Pool, schedule: Schedule, tally: Tally):
        self._pool, self._schedule, self._tally = pool, schedule, tally
        self._failed_starts: dict[int, int] = defaultdict(int)
        self._since_a_picture = 0

    def loaded(self, worker: WorkerProcess) -> None:
        """The worker's model is loaded."""
        self._failed_starts[worker.number] = 0

    def picture_made(self) -> None:
        """Not every worker dies."""
        self._since_a_picture = 0

    def while_working(
        self, worker: WorkerProcess, death: Died, units: list[InHand]
    ) -> UserError | None:
        """A worker with a loaded model has died.

        Args:
            worker: it.
            death: how.
            units: what it had in hand.

        Returns:
            Why the run cannot go on; None if it can.
        """
        self._since_a_picture += 1
        self._tally.restarts += 1
        self._blame(units, death.how)
        if self._since_a_picture < (DEATHS_IN_A_ROW if self._tally.proven else DEATHS_BEFORE_PROOF):
            self._replace(worker, death)
            return None
        return UserError(
            f"{self._since_a_picture} workers died with no picture between them: {death}"
        )

    def while_loading(self, worker: WorkerProcess, death: Died) -> UserError | None:
        """A worker has died before its model was loaded; returns as `while_working`."""
        self._failed_starts[worker.number] += 1
        if self._failed_starts[worker.number] < FAILED_STARTS:
            self._replace(worker, death)
            return None
        text = (
            f"{worker.device.name}: {FAILED_STARTS} workers in a row died while loading the model: "
            f"{death}"
        )
        if not self._pool.workers:
            return UserError(text)
        log.error("%s; the other workers go on without it", text)
        return None

    def _replace(self, worker: WorkerProcess, death: Died) -> None:
        log.warning("worker %d: %s; it is replaced", worker.number, death)
        self._pool.replace(worker)

    def _blame(self, units: list[InHand], how: str) -> None:
        """The units of a dead worker go back; if images were in hand, they are the suspects."""
        suspected = any(held.begun for held in units)
        for held in reversed(units):
            self._tally.lost(held.unit)
            if held.begun or (held.started and not suspected):
                for image in self._schedule.died(held.unit, held.begun, how):
                    text = f"shard {held.unit.name}: {image}: given up: two workers died on it"
                    log.warning("%s: %s", text, how)
            else:
                self._schedule.returned(held.unit)
