"""The run, from the first assignment to the last worker's end.

Listens to the workers, gives each the next unit, replaces those that die or hang, and stops all of
them when it is time: on a signal, before a deadline, on a full disk.
"""

from __future__ import annotations

import logging
import math
import time
from collections import defaultdict
from collections.abc import Callable, Collection

from sdbatch.dataset.shard import ShardStore
from sdbatch.errors import Interruption, UserError, one_line
from sdbatch.runner.deaths import Deaths, InHand
from sdbatch.runner.limits import Limits
from sdbatch.runner.logs import ROW_LOG
from sdbatch.runner.messages import (
    Beat,
    Committed,
    Dropped,
    Overtaken,
    Ready,
    Refused,
    Said,
    Started,
    Unit,
    UnitFailed,
    Wanting,
    Written,
)
from sdbatch.runner.pool import Died, Pool, WorkerProcess
from sdbatch.runner.schedule import Schedule
from sdbatch.runner.tally import Tally

log = logging.getLogger("sdbatch")
row_log = logging.getLogger(ROW_LOG)

_LISTEN_S = 0.25
_KILL_AFTER_S = 60.0  # beyond the time that workers have to stop in


class Overseer:
    """See the module.

    Args:
        store: of the dataset.
        pool: the workers, already started.
        limits: when to stop.
        schedule: the units to be made.
        tally: counts what comes in.
        more: for a task of several; asked when all units are handed out: another one, that is not
            among those named and already known here; None ends the run.
    """

    def __init__(
        self,
        store: ShardStore,
        pool: Pool,
        limits: Limits,
        schedule: Schedule,
        tally: Tally,
        more: Callable[[Collection[str]], Unit | None] | None = None,
    ):
        self._store, self._pool, self._limits = store, pool, limits
        self._schedule, self._tally, self._more = schedule, tally, more
        self._shared = more is not None
        self._in_hand: dict[int, dict[str, InHand]] = defaultdict(dict)
        self._stopping_until = math.inf
        self._outcome: Exception | None = None
        self._deaths = Deaths(pool, schedule, tally)
        limits.stop.at_once = pool.kill

    def wait_until_ready(self) -> None:
        """Until the first worker has loaded the model.

        Raises:
            UserError: the model does not load, or every worker dies over it.
            Interruption: a stop was requested first.
        """
        while not any(worker.ready for worker in self._pool.workers):
            self._check_stop()
            self._listen()
            self._watch()
            if self._outcome is not None or not self._pool.workers:
                self._end()

    def run(self, check: Callable[[Tally], None]) -> None:
        """Have all units made.

        Args:
            check: called after each round; may raise to end the run, in order.

        Raises:
            UserError: the run cannot go on, or units were given up; what is done stays.
            Interruption: it was stopped, or the disk is full; the same command goes on.
        """
        while self._pool.workers:
            self._check_stop()
            self._assign()
            self._listen()
            self._watch()
            if self._outcome is None:
                try:
                    check(self._tally)
                except UserError as error:
                    self._abort(error)
        self._end()

    # Handing out -----------------------------------------------------------------------------

    def _assign(self) -> None:
        if self._stopping:
            return
        for worker in self._pool.workers:
            while worker.ready and worker.wanting and (self._schedule.left or self._find_more()):
                self._give(worker)
        if not self._schedule.left and not any(self._in_hand.values()):
            for worker in self._pool.workers:
                worker.end()

    def _find_more(self) -> bool:
        """Whether there is another unit; once there is none, nobody is asked again."""
        if self._more is None:
            return False
        known = {name for units in self._in_hand.values() for name in units}
        unit = self._more(known | {unit.name for unit in self._schedule.given_up})
        if unit is None:
            self._more = None
            return False
        log.debug("shard %s: nobody has it in hand", unit.name)
        self._schedule.add(unit)
        self._tally.more(unit)
        return True

    def _give(self, worker: WorkerProcess) -> None:
        ours = {name for units in self._in_hand.values() for name in units}
        elsewhere = self._store.claimed().keys() - ours
        assignment = self._schedule.next(elsewhere, proven=self._tally.proven, shared=self._shared)
        unit = assignment.unit
        if self._store.exists(unit.name):
            log.debug("shard %s: another runner has made it", unit.name)
            self._tally.elsewhere(unit)
            return
        self._in_hand[worker.number][unit.name] = InHand(unit, set())
        worker.wanting = False
        worker.send(assignment)

    # Listening -------------------------------------------------------------------------------

    def _listen(self) -> None:
        for worker, message in self._pool.receive(_LISTEN_S):
            self._take(worker, message)

    def _take(self, worker: WorkerProcess, message: object) -> None:
        units = self._in_hand[worker.number]
        match message:
            case Ready(seconds):
                log.debug("worker %d: ready on %s after %.1f s", worker.number,
                          worker.device.name, seconds)  # fmt: skip
                worker.ready = worker.wanting = True
                self._deaths.loaded(worker)
                if self._stopping:
                    worker.end()
            case Wanting():
                worker.wanting = True
            case Started(unit, images):
                units[unit.name].begun.update(images)
                units[unit.name].started = True
            case Written(unit, image, status, size):
                units[unit.name].begun.discard(image)
                self._tally.written(unit, image, status, size)
                if status == "ok":
                    self._deaths.picture_made()
            case Committed(unit, won, record):
                del units[unit.name]
                self._tally.committed(unit, record)
                log.debug("worker %d: shard %s: %d images in %s s%s", worker.number, unit.name,
                          self._tally.images_of(unit), record.get("seconds"),
                          "" if won else ", but another runner was faster")  # fmt: skip
            case Dropped(unit):
                self._lost(worker, unit)
                self._schedule.returned(unit)
            case Overtaken(unit):
                self._lost(worker, unit)
                self._tally.elsewhere(unit)
                log.debug("worker %d: shard %s: another task was faster", worker.number, unit.name)
            case UnitFailed(unit, kind, text):
                self._lost(worker, unit)
                self._unit_failed(worker, unit, kind, text)
            case Refused(text):
                self._abort(UserError(text))
            case Said(level, text):
                row_log.log(level, "worker %d: %s", worker.number, text)
            case Died():
                self._died(worker, message)
            case Beat():
                pass

    def _lost(self, worker: WorkerProcess, unit: Unit) -> None:
        self._in_hand[worker.number].pop(unit.name, None)
        self._tally.lost(unit)

    def _unit_failed(self, worker: WorkerProcess, unit: Unit, kind: str, text: str) -> None:
        where = f"shard {unit.name}"
        if kind == "full":
            self._abort(Interruption(f"{text}; make room and run the same command again"))
        elif kind == "gone":
            self._abort(UserError(text))
        elif kind == "hopeless" and not self._tally.proven:
            self._abort(UserError(f"{where}: {text}"))
        elif kind == "hopeless":
            self._schedule.returned(unit)
        else:
            log.warning("worker %d: %s: %s", worker.number, where, text)
            self._schedule.failed(unit, text)

    # Death -----------------------------------------------------------------------------------

    def _died(self, worker: WorkerProcess, death: Died) -> None:
        units = self._in_hand.pop(worker.number, {})
        self._store.discard_abandoned()
        self._check_stop()  # a signal to the whole group also ends workers that are just starting
        if worker.ending or self._stopping:
            for held in units.values():
                self._tally.lost(held.unit)
            return
        if worker.ready:
            end = self._deaths.while_working(worker, death, list(units.values()))
        else:
            end = self._deaths.while_loading(worker, death)
        if end is not None:
            self._abort(end)

    def _watch(self) -> None:
        now = time.monotonic()
        for worker in self._pool.workers:
            idle = worker.ready and not self._in_hand[worker.number] and not worker.ending
            if idle:
                worker.sign = now
            elif now - worker.sign > self._limits.watchdog_s:
                worker.kill(f"no sign of life for {self._limits.watchdog_s:g} s (watchdog_s)")
        if now > self._stopping_until:
            self._pool.kill()

    # Stopping --------------------------------------------------------------------------------

    @property
    def _stopping(self) -> bool:
        return self._stopping_until < math.inf

    def _check_stop(self) -> None:
        if self._stopping:
            return
        limits = self._limits
        if limits.stop.requested:
            self._stop(limits.grace_s)
        elif limits.deadline.seconds_left() <= limits.grace_s:
            log.info("%s is near: stopping", limits.deadline.reason)
            self._stop(limits.deadline.seconds_left())

    def _stop(self, seconds: float) -> None:
        self._stopping_until = time.monotonic() + seconds + _KILL_AFTER_S
        self._pool.stop(seconds)

    def _abort(self, outcome: Exception) -> None:
        """End the run: what is in hand is dropped, what is done stays."""
        if self._outcome is None:
            self._outcome = outcome
        if not self._stopping:
            self._stop(0.0)

    def _end(self) -> None:
        """All workers have ended, or must: say how the run went."""
        if self._pool.workers:
            self._pool.kill()
            while self._pool.workers:
                self._listen()
        if self._outcome is not None:
            raise self._outcome
        if self._stopping:
            raise Interruption("interrupted; the same command goes on from here")
        if given_up := self._schedule.given_up:
            unit, why = next(iter(given_up.items()))
            raise UserError(
                f"shard {unit.name}: given up: {one_line(why)}; {len(given_up)} of the shards "
                "could not be made; the same command tries again"
            )
        if self._schedule.left:
            raise UserError("no worker is left; the same command goes on from here")
