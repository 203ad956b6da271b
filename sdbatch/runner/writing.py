"""Pictures to files beside the device: judged, encoded and written by threads, committed by one.

The device's thread hands over each picture and goes on. It waits only when too many pictures are
on their way to the disk, so that memory stays bounded.
"""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sdbatch.config.choices import LabelName
from sdbatch.dataset.images import blurred, encode, judge, to_bytes
from sdbatch.dataset.shard import ShardWriter
from sdbatch.engine.device import Device
from sdbatch.labels import produce_id
from sdbatch.plan import PlannedImage
from sdbatch.runner import rows
from sdbatch.runner.batches import Engine, Made, is_oom
from sdbatch.runner.judging import Judging
from sdbatch.runner.messages import Unit
from sdbatch.runner.prepare import Job
from sdbatch.stopwatch import Stopwatch
from sdbatch.text.chunks import plain_text

WAITING = 4
"""Pictures that may wait for an encoder, for each of them; two micro-batches at least."""
UNCOMMITTED = 2
"""Units that may wait to be committed."""


@dataclass
class OpenUnit:
    """A unit on its way to the disk.

    Attributes:
        unit: which.
        shard: name of its shard.
        folder: closing it removes what was not committed.
        writer: of that folder.
        order: ids of its images, as the rows will stand.
        attempts: of images that were tried in earlier runs.
        watch: where the time went.
        proven: see `Assignment`.
        started_at: when the device began with it, ISO 8601.
        seconds: that the device's thread spent on it.
        error: the first thing that went wrong with its files.
    """

    unit: Unit
    shard: str
    folder: ExitStack
    writer: ShardWriter
    order: list[str]
    attempts: Mapping[str, int]
    watch: Stopwatch
    proven: bool = False
    started_at: str = ""
    seconds: float = 0.0
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    pending: list[Future] = field(default_factory=list)
    error: Exception | None = None


class Writing:
    """Threads that turn pictures into finished shards.

    Args:
        job: the run's.
        device: where the pictures are made, for the metadata.
        engine: reads prompts.
        threads: encoders.
        written: called with (unit, image id, status, bytes) after each image.
        close: called in the committing thread when all images of a unit are written, or when one
            of them failed: it commits or gives up.
        judging: judges of pictures; None where there are none.
    """

    def __init__(
        self,
        job: Job,
        device: Device,
        engine: Engine,
        threads: int,
        written: Callable[[OpenUnit, str, str, int], None],
        close: Callable[[OpenUnit], None],
        judging: Judging | None = None,
    ):
        self._job, self._device, self._engine = job, device, engine
        self._written, self._close, self._judging = written, close, judging
        self._room = threading.BoundedSemaphore(max(WAITING * threads, 2 * job.batch_size))
        self._encoders = ThreadPoolExecutor(threads, "encode")
        self._finished: queue.Queue[OpenUnit | None] = queue.Queue(UNCOMMITTED)
        self._committer = threading.Thread(target=self._commit_all, name="commit", daemon=True)
        self._committer.start()

    def add(self, unit: OpenUnit, made: Made) -> None:
        """Hand over one image; waits while too many are on their way."""
        with unit.watch.stage("wait"):
            self._room.acquire()
        unit.pending.append(self._encoders.submit(self._write, unit, made))

    def drain(self, unit: OpenUnit) -> None:
        """Wait until every image that was handed over is written."""
        wait(unit.pending)

    def finish(self, unit: OpenUnit) -> None:
        """No more images of this unit will come; waits while too many units are uncommitted."""
        with unit.watch.stage("wait"):
            self._finished.put(unit)

    def end(self) -> None:
        """Wait until everything that was handed over is finished."""
        self._finished.put(None)
        self._committer.join()
        self._encoders.shutdown()
        if self._judging is not None:
            self._judging.end()

    def _write(self, unit: OpenUnit, made: Made) -> None:
        try:
            if unit.error is None:
                self._outcome(unit, made)
        except Exception as error:
            unit.error = unit.error or error
        finally:
            self._room.release()

    def _outcome(self, unit: OpenUnit, made: Made) -> None:
        image, job = made.planned, self._job
        with unit.watch.stage("encode"):
            status, pixels = _picture(made)
            read = self._engine.read(image.request.text)
            negative = self._engine.read(image.request.negative_text)
            row = rows.metadata_row(
                job, self._device, made, status, read, negative,
                shard=unit.shard, attempts=unit.attempts.get(image.image_id, 0) + 1,
            )  # fmt: skip
        if status == "ok" and self._judging is not None:
            with unit.watch.stage("judge"):
                status, pixels, columns = self._judged(image, pixels)
            row |= {**columns, "status": status}
        if status == "ok":
            with unit.watch.stage("encode"):
                data, columns = _file(job, image, pixels)
                row |= columns
        if status == "ok":
            with unit.watch.stage("write"):
                row |= unit.writer.add_image(image.image_id, data, job.image_format.suffix)
        unit.rows[image.image_id] = row
        self._written(unit, image.image_id, status, row.get("bytes", 0))

    def _judged(
        self, image: PlannedImage, pixels: np.ndarray
    ) -> tuple[str, np.ndarray, dict[str, Any]]:
        """Status, pixels and columns of a picture, after the judges have looked at it."""
        judges = self._job.judges
        text = image.request.prompt if judges.reads_chinese else image.request.text
        opinion = self._judging.opinion(pixels, plain_text(text, self._job.model.text))
        columns = judges.columns(opinion)
        if not opinion.flagged:
            return "ok", pixels, columns
        columns["safety_action"] = judges.policy
        if judges.policy == "blur":
            pixels = blurred(pixels)
        return "unsafe" if judges.policy == "drop" else "ok", pixels, columns

    def _commit_all(self) -> None:
        while (unit := self._finished.get()) is not None:
            self.drain(unit)
            self._close(unit)


def _file(job: Job, image: PlannedImage, pixels: np.ndarray) -> tuple[bytes, dict[str, Any]]:
    """The image file with its labels, and the columns that tell of its pixels and labels."""
    # Of the pixels before any mark: rows from the top, RGB, one byte each.
    columns = {"pixels_sha256": hashlib.sha256(np.ascontiguousarray(pixels)).hexdigest()}
    text, label = rows.parameters(job, image.request), job.label
    if label is None:
        return encode(pixels, text, job.image_format), columns
    number = produce_id(job.plan.settings.fingerprint, image.image_id)
    data = label.attached(encode(label.drawn(pixels), text, job.image_format), number)
    return data, {**columns, "aigc_label": LabelName.gb45438.value, "aigc_produce_id": number}


def _picture(made: Made) -> tuple[str, np.ndarray | None]:
    """The outcome of an image, and its pixels, uint8 [height, width, 3]."""
    if made.error is not None:
        return ("oom" if is_oom(made.error) else "failed"), None
    pixels = made.pixels
    finite = True
    if pixels.dtype != np.uint8:
        finite = bool(np.isfinite(pixels).all())
        pixels = to_bytes(pixels)
    return judge(pixels, finite), pixels
