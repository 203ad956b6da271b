"""Make one shard: rows to requests, requests to micro-batches, pixels to files and metadata."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from functools import partial
from typing import Any

import numpy as np

from sdbatch.dataset.images import encode_png, judge, parameters_text
from sdbatch.dataset.shard import ShardWriter
from sdbatch.errors import one_line
from sdbatch.pipeline import Pipeline
from sdbatch.plan import PlannedImage
from sdbatch.request import ImageRequest
from sdbatch.runner.inputs import NOT_LOADED, LoadedInputs, load_inputs
from sdbatch.runner.interrupt import StopRequest
from sdbatch.runner.prepare import Job
from sdbatch.text import ReadPrompt

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
    inputs: LoadedInputs


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
    load = partial(load_inputs, folder=job.table.path.parent, limits=job.input_limits)
    for batch in micro_batches(images, job.batch_size, pipeline.batch_key):
        per_image = (time.monotonic() - started) / max(len(rows), 1)
        stop.check(per_image * (len(images) - len(rows)))
        for made in make_batch(pipeline, batch, load):
            read = pipeline.read(made.planned.request.prompt)
            rows[made.planned.image_id] = _row(job, writer, made, read)
        advance(len(batch))
    return [rows[image.image_id] for image in images]


def micro_batches(
    images: Sequence[PlannedImage],
    batch_size: int,
    batch_key: Callable[[ImageRequest], Hashable],
) -> Iterator[list[PlannedImage]]:
    """Cut into lists of at most `batch_size` pictures whose `batch_key` is equal.

    Order is kept within a kind (size, step count, guidance ...); which pictures share a batch never
    changes a picture.
    """
    kinds: dict[Hashable, list[PlannedImage]] = {}
    for image in images:
        kinds.setdefault(batch_key(image.request), []).append(image)
    for kind in kinds.values():
        for start in range(0, len(kind), batch_size):
            yield kind[start : start + batch_size]


def make_batch(
    pipeline: Pipeline, batch: Sequence[PlannedImage], load: Callable[[ImageRequest], LoadedInputs]
) -> list[Made]:
    """Make a micro-batch; if it fails, its pictures one by one, so that one cannot spoil others.

    Args:
        pipeline: makes pictures.
        batch: what can be made together.
        load: reads the pictures that a request names.
    """
    started = time.monotonic()
    try:
        requests = [image.request for image in batch]
        loaded = [load(request) for request in requests]
        pictures = pipeline.generate(requests, [inputs.pixels for inputs in loaded])
    except Exception as error:
        if len(batch) > 1:
            return [made for image in batch for made in make_batch(pipeline, [image], load)]
        log.warning("%s: %s: %s", batch[0].image_id, type(error).__name__, one_line(error))
        status = "oom" if isinstance(error, MemoryError) else "failed"
        return [Made(batch[0], None, status, error, 1, time.monotonic() - started, NOT_LOADED)]
    latency = (time.monotonic() - started) / len(batch)
    statuses = [judge(pixels) for pixels in pictures]
    return [
        Made(image, pixels if status == "ok" else None, status, None, len(batch), latency, inputs)
        for image, pixels, status, inputs in zip(batch, pictures, statuses, loaded, strict=True)
    ]


def _row(job: Job, writer: ShardWriter, made: Made, read: ReadPrompt) -> dict[str, Any]:
    """The metadata row of one picture; writes its file where there is one."""
    planned, settings = made.planned, job.plan.settings
    row: dict[str, Any] = {
        "image_id": planned.image_id,
        "prompt_id": planned.row.id,
        "sample_index": planned.sample,
        **_request_columns(planned.request, settings.family),
        "tokens": read.tokens,
        "truncated": read.truncated,
        "init_image_sha256": made.inputs.init_sha256,
        "mask_sha256": made.inputs.mask_sha256,
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
            noise=job.noise,
            clip_skip=job.text.clip_skip,
            model=job.checkpoint.name,
            weights_sha256=settings.weights_sha256,
        )
        data = encode_png(made.pixels, text, job.png_compression)
        row.update(writer.add_image(planned.image_id, data))
    return row


_PLAIN = (
    "prompt",
    "negative_prompt",
    "seed",
    "width",
    "height",
    "steps",
    "guidance_scale",
    "guidance_rescale",
    "strength",
)


def _request_columns(request: ImageRequest, family: str) -> dict[str, Any]:
    """The columns that say what was asked for; those of sizes for SDXL alone."""
    columns = {name: getattr(request, name) for name in _PLAIN}
    columns["init_image"] = request.init_image and request.init_image.path
    columns["mask"] = request.mask and request.mask.path
    return columns | (asdict(request.size_hints) if family == "sdxl" else {})
