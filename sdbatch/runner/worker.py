"""A worker: one process, one device, one loaded model; makes the units that the parent assigns.

    receive ──> open ─────────> device (main thread) ──> encode (threads) ──> commit
    messages    rows, folder    text, denoise, decode    judge, PNG, file     fsync, rename

Each arrow is a bounded queue, so that the device waits for neither rows nor disk, and memory does
not grow where the disk is slower than the device.
"""

from __future__ import annotations

import gc
import logging
import os
import queue
import resource
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from sdbatch.dataset.shard import ShardStore
from sdbatch.disk import is_full
from sdbatch.engine.device import Device
from sdbatch.errors import UserError, one_line
from sdbatch.plan import PlannedImage
from sdbatch.runner.batches import BatchSize, DeviceLost, Engine, Made, in_order, make
from sdbatch.runner.inputs import InputsAhead, load_inputs
from sdbatch.runner.interrupt import Interrupted, ignore_signals
from sdbatch.runner.judges import start_judging
from sdbatch.runner.judging import Judging
from sdbatch.runner.link import Parent
from sdbatch.runner.messages import (
    EXIT_DEVICE_LOST,
    Committed,
    Dropped,
    Overtaken,
    Ready,
    Refused,
    Said,
    Started,
    UnitFailed,
    Wanting,
    Written,
)
from sdbatch.runner.opening import Opened, open_unit
from sdbatch.runner.prepare import Job
from sdbatch.runner.writing import OpenUnit, Writing

_ENCODERS = 8  # threads at most; together they keep up with any device, and memory stays bounded


class WorkerDied(Exception):
    """Every worker that tried to make an image died on it."""


class _Broken(Exception):
    """A file of the unit in hand could not be written."""


class _Overtaken(Exception):
    """Another task has made the unit in hand."""


class Worker:
    """See the module.

    Args:
        parent: where messages come from and go to.
        number: the worker's, for records.
        device: its own.
        job: the run's.
        engine: loaded.
        judging: judges of pictures, loaded; None where there are none.
    """

    def __init__(
        self,
        parent: Parent,
        number: int,
        device: Device,
        job: Job,
        engine: Engine,
        judging: Judging | None = None,
    ) -> None:
        self._parent, self._number, self._device = parent, number, device
        self._job, self._engine = job, engine
        self._store = ShardStore(job.folder)
        self._opened: queue.Queue[Opened | None] = queue.Queue(1)
        self._size = BatchSize(job.batch_size)
        self._proven = False
        self._seconds_per_image = 0.0
        threads = min(_ENCODERS, device.threads)
        self._writing = Writing(job, device, engine, threads, self._written, self._close, judging)

    def run(self) -> None:
        """Make units until there are no more, or until it is time to stop.

        Raises:
            DeviceLost: after what was finished before is on disk.
        """
        threading.Thread(target=self._open_all, name="open", daemon=True).start()
        try:
            waiting_since = time.monotonic()
            first = True
            while (opened := self._opened.get()) is not None:
                began = time.monotonic() if first else waiting_since
                first = False
                self._make(opened, began)
                waiting_since = time.monotonic()
        finally:
            self._writing.end()

    # Opening: rows and a folder, one unit ahead of the device -----------------------------------

    def _open_all(self) -> None:
        while (assignment := self._parent.assignments.get()) is not None:
            try:
                opened = open_unit(self._job, self._store, assignment, self._parent.beat)
                self._opened.put(opened)
            except UserError as error:
                self._parent.send(Refused(str(error)))
            except Exception as error:
                kind, text = self._reason(error)
                self._parent.send(UnitFailed(assignment.unit, kind, text))
                self._parent.send(Wanting())
        self._opened.put(None)

    # The device ------------------------------------------------------------------------------

    def _make(self, opened: Opened, began: float) -> None:
        """Make all images of a unit and hand it over to be committed; `began`: to wait for it."""
        unit = opened.unit
        if self._parent.time_left.limited:
            self._drop(unit)
            return
        unit.started_at = _now()
        unit.watch.add("wait", time.monotonic() - began)
        try:
            self._make_images(opened)
        except Interrupted:
            self._drop(unit)
            return
        except _Overtaken:
            self._discard(unit)
            self._parent.send(Overtaken(unit.unit))
            return
        except _Broken:
            pass  # reported when it is closed
        except DeviceLost as error:
            # Not given back: the parent shall know what was in hand.
            self._discard(unit)
            self._parent.send(Said(logging.ERROR, f"shard {unit.unit.name}: {one_line(error)}"))
            raise
        unit.seconds = time.monotonic() - began
        self._writing.finish(unit)

    def _make_images(self, opened: Opened) -> None:
        unit, assignment, job = opened.unit, opened.assignment, self._job
        given_up = assignment.given_up
        for image in opened.images:
            if image.image_id in given_up:
                error = WorkerDied(given_up[image.image_id])
                self._writing.add(unit, Made(image, None, error, 1, 0.0))
        with unit.watch.stage("text"):
            # All of them: the metadata of those that are given up, too, tell how they are read.
            self._engine.expect([image.request for image in opened.images])
        images = [image for image in opened.images if image.image_id not in given_up]
        images = in_order(images, self._engine.batch_key)
        load = partial(load_inputs, folder=job.table.path.parent, limits=job.input_limits)
        inputs = InputsAhead(images, load, ahead=2 * job.batch_size)
        asked = False

        def begin(batch: Sequence[PlannedImage], left: int) -> None:
            nonlocal asked
            self._parent.time_left.check(self._seconds_per_image * (len(batch) + left))
            if unit.error is not None:
                raise _Broken
            if opened.overtaken():
                raise _Overtaken
            if assignment.alone:
                # So that whatever the worker dies of is this batch's doing.
                self._writing.drain(unit)
            self._parent.send(Started(unit.unit, tuple(image.image_id for image in batch)))
            if left == 0 and not asked:
                asked = True
                self._parent.send(Wanting())

        started, count = time.monotonic(), 0
        try:
            for made in make(
                self._engine, images, self._size, inputs, unit.watch, assignment.alone, begin
            ):
                count += len(made)
                self._seconds_per_image = (time.monotonic() - started) / count
                for one in made:
                    self._warn(unit, one)
                    self._writing.add(unit, one)
            if assignment.alone:
                self._writing.drain(unit)  # nor shall the next unit's doing be blamed on this one
        finally:
            inputs.close()
            if not asked:
                self._parent.send(Wanting())

    def _warn(self, unit: OpenUnit, made: Made) -> None:
        if made.error is not None:
            what = f"{type(made.error).__name__}: {one_line(made.error)}"
            text = f"shard {unit.unit.name}: {made.planned.image_id}: {what}"
            self._parent.send(Said(logging.WARNING, text))

    def _drop(self, unit: OpenUnit) -> None:
        self._discard(unit)
        self._parent.send(Dropped(unit.unit))

    def _discard(self, unit: OpenUnit) -> None:
        self._writing.drain(unit)
        unit.folder.close()

    # The disk, in the encoding and committing threads -------------------------------------------

    def _written(self, unit: OpenUnit, image: str, status: str, size: int) -> None:
        self._proven = self._proven or status == "ok"
        self._parent.send_soon(Written(unit.unit, image, status, size))

    def _close(self, unit: OpenUnit) -> None:
        """Commit a unit, or say why not; in either case nothing of the attempt is left."""
        try:
            if unit.error is not None:
                raise unit.error
            rows = [unit.rows[image] for image in unit.order]
            errors = [row for row in rows if row.get("error_type")]
            if len(errors) == len(rows) and not (self._proven or unit.proven):
                first = f"{errors[0]['error_type']}: {errors[0]['error_message']}"
                text = f"all {len(rows)} images failed, none was made in this run: {first}"
                self._parent.send(UnitFailed(unit.unit, "hopeless", text))
                return
            record = self._record(unit)
            won = unit.writer.commit(rows, self._job.schema, record)
            self._parent.send(Committed(unit.unit, won, record))
        except Exception as error:
            kind, text = self._reason(error)
            self._parent.send(UnitFailed(unit.unit, kind, text))
        finally:
            unit.folder.close()

    def _record(self, unit: OpenUnit) -> dict[str, Any]:
        device_bytes = self._engine.peak_device_bytes
        return {
            "started_at": unit.started_at,
            "finished_at": _now(),
            "seconds": round(unit.seconds, 3),
            "stages": {stage: round(s, 3) for stage, s in sorted(unit.watch.seconds.items())},
            "device": self._device.name,
            "host": socket.gethostname(),
            "worker": self._number,
            "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000,
            "peak_device_memory_mb": None if device_bytes is None else device_bytes // 1_000_000,
        }

    def _reason(self, error: Exception) -> tuple[str, str]:
        """Kind and text of what kept a unit from the disk."""
        if isinstance(error, OSError):
            if is_full(error):
                return "full", f"{self._job.folder}: {error.strerror}"
            if not (self._job.folder / "run.json").exists():
                return "gone", f"{self._job.folder}: the dataset folder or its run.json is gone"
        return "error", f"{type(error).__name__}: {one_line(error)}"


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def main() -> None:
    """Run one worker; its only argument is the descriptor of its connection."""
    ignore_signals()
    connection = Connection(int(sys.argv[1]))
    number, device = connection.recv()
    if device.cores:
        os.sched_setaffinity(0, device.cores)
    started = time.monotonic()
    try:
        # Unpickled only now: it may name modules that import Paddle.
        job, load = connection.recv()
        load: Callable[[Job, Device], Engine]
        parent = Parent(connection)
        engine = load(job, device)
        judging = start_judging(job.judges)
    except UserError as error:
        connection.send([Refused(str(error))])
        return
    ignore_signals()
    gc.collect()
    gc.freeze()  # what is loaded stays; collections need not look at it again
    parent.listen()
    parent.send(Ready(time.monotonic() - started))
    try:
        Worker(parent, number, device, job, engine, judging).run()
    except DeviceLost:
        os._exit(EXIT_DEVICE_LOST)


if __name__ == "__main__":
    main()
