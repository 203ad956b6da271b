"""Make one shard: rows to requests, requests to micro-batches, pixels to files and metadata."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

import numpy as np

from sdbatch.dataset.images import encode_png, judge, parameters_text
from sdbatch.dataset.shard import ShardWriter
from sdbatch.errors import one_line
from sdbatch.pipeline import Pipeline
from sdbatch.plan import PlannedImage
from sdbatch.runner.interrupt import StopRequest
from sdbatch.runner.prepare import Job

log = logging.getLogger("sdbatch")


@dataclass(frozen=True)
class Made:
    """What became of one planned picture. `pixels` is None where the status is not `ok`."""

    planned: PlannedImage
    pixels: np.ndarray | None
    status: str
    error: Exception | None
    batch_size: int
    latency_s: float


def make_rows(
    job: Job,
    pipeline: Pipeline,
    writer: ShardWriter,
    images: Sequence[PlannedImage],
    stop: StopRequest,
    advance: Callable[[int], None],
) -> list[dict[str, Any]]:
    """Make the pictures of one shard and write their files; returns metadata rows in plan order.

    Raises:
        Interrupted: a stop was requested, and the rest of the shard would take too long.
    """
    rows: dict[str, dict[str, Any]] = {}
    started = time.monotonic()
    for batch in micro_batches(images, job.batch_size):
        per_image = (time.monotonic() - started) / max(len(rows), 1)
        stop.check(per_image * (len(images) - len(rows)))
        for made in make_batch(pipeline, batch):
            rows[made.planned.image_id] = _row(job, writer, made)
        advance(len(batch))
    return [rows[image.image_id] for image in images]


def micro_batches(images: Sequence[PlannedImage], batch_size: int) -> Iterator[list[PlannedImage]]:
    """Cut into lists of at most `batch_size` pictures that can be made together.

    Order is kept within a kind (size, step count, guidance); which pictures share a batch never
    changes a picture.
    """
    kinds: dict[tuple, list[PlannedImage]] = {}
    for image in images:
        kinds.setdefault(image.request.batch_key, []).append(image)
    for kind in kinds.values():
        for start in range(0, len(kind), batch_size):
            yield kind[start : start + batch_size]


def make_batch(pipeline: Pipeline, batch: Sequence[PlannedImage]) -> list[Made]:
    """Make a micro-batch; if it fails, its pictures one by one, so that one cannot spoil others."""
    started = time.monotonic()
    try:
        pictures = pipeline.generate([image.request for image in batch])
    except Exception as error:
        if len(batch) > 1:
            return [made for image in batch for made in make_batch(pipeline, [image])]
        log.warning("%s: %s: %s", batch[0].image_id, type(error).__name__, one_line(error))
        status = "oom" if isinstance(error, MemoryError) else "failed"
        return [Made(batch[0], None, status, error, 1, time.monotonic() - started)]
    latency = (time.monotonic() - started) / len(batch)
    statuses = [judge(pixels) for pixels in pictures]
    return [
        Made(image, pixels if status == "ok" else None, status, None, len(batch), latency)
        for image, pixels, status in zip(batch, pictures, statuses, strict=True)
    ]


def _row(job: Job, writer: ShardWriter, made: Made) -> dict[str, Any]:
    """The metadata row of one picture; writes its file where there is one."""
    planned, settings = made.planned, job.plan.settings
    row: dict[str, Any] = {
        "image_id": planned.image_id,
        "prompt_id": planned.row.id,
        "sample_index": planned.sample,
        **asdict(planned.request),
        "shard_id": writer.name,
        "fingerprint": settings.fingerprint,
        "status": made.status,
        "attempts": 1,
        "model": job.checkpoint.name,
        "weights_sha256": settings.weights_sha256,
        "scheduler": settings.scheduler,
        "precision": settings.precision,
        "engine": job.engine,
        "device": job.device.name,
        "batch_size_used": made.batch_size,
        "latency_s": round(made.latency_s, 4),
        "created_at": datetime.now(timezone.utc),
        **planned.row.carried,
    }
    if made.error is not None:
        row["error_type"] = type(made.error).__name__
        row["error_message"] = one_line(made.error)[:1000]
    if made.pixels is not None:
        text = parameters_text(
            planned.request,
            sampler=settings.scheduler,
            model=job.checkpoint.name,
            weights_sha256=settings.weights_sha256,
        )
        data = encode_png(made.pixels, text, job.png_compression)
        row.update(writer.add_image(planned.image_id, data))
    return row
