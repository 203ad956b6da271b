"""The metadata row of one image: what was asked for, what became of it, and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any

from sdbatch.dataset.images import parameters_text
from sdbatch.engine.device import Device
from sdbatch.errors import one_line
from sdbatch.request import ImageRequest
from sdbatch.runner.batches import Made
from sdbatch.runner.prepare import Job
from sdbatch.text import ReadPrompt

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


def metadata_row(
    job: Job,
    device: Device,
    made: Made,
    status: str,
    read: ReadPrompt | None,
    negative_read: ReadPrompt | None = None,
    *,
    shard: str,
    attempts: int,
) -> dict[str, Any]:
    """The row without its file columns.

    Args:
        job: the run's.
        device: where it was made.
        made: the outcome.
        status: as it was judged.
        read: what became of the prompt before the networks; None where nobody reads.
        negative_read: the same of the negative prompt.
        shard: name of the shard that the image belongs to.
        attempts: how often it was tried, over all runs.
    """
    planned, settings, checkpoint = made.planned, job.plan.settings, job.model.checkpoint
    row: dict[str, Any] = {
        "image_id": planned.image_id,
        "prompt_id": planned.row.id,
        "sample_index": planned.sample,
        **_request_columns(planned.request, settings.family),
        "text_encoder": job.model.text_encoder,
        "tokenizer": job.model.tokenizer,
        "tokens": read and read.tokens,
        "truncated": read and read.truncated,
        "prompt_read": read and read.read_as,
        "prompt_translated": planned.request.translation or (read and read.translated),
        "negative_prompt_translated": (
            planned.request.negative_translation or (negative_read and negative_read.translated)
        ),
        "prompt_keywords": keywords(job, planned.request.prompt),
        "init_image_sha256": made.inputs.init_sha256,
        "mask_sha256": made.inputs.mask_sha256,
        "shard_id": shard,
        "fingerprint": settings.fingerprint,
        "status": status,
        "attempts": attempts,
        "model": checkpoint.name,
        "weights_sha256": settings.weights_sha256,
        "scheduler": settings.scheduler,
        "precision": settings.precision,
        "engine": job.engine.name,
        "device": device.name,
        "batch_size_used": made.batch_size,
        "latency_s": round(made.latency_s, 4),
        "created_at": datetime.now(timezone.utc),
        **planned.row.carried,
    }
    if made.error is not None:
        row["error_type"] = type(made.error).__name__
        row["error_message"] = one_line(made.error)[:1000]
    return row


def keywords(job: Job, prompt: str) -> list[str] | None:
    """The prompt's most telling words; None where they were not asked for."""
    options = job.model.text
    preparation = options.preparation
    if not preparation.keywords:
        return None
    text = preparation.prepared(prompt, weighting=False)
    return list(preparation.keywords_of(text))


def parameters(job: Job, request: ImageRequest) -> str:
    """The text that goes into the image file."""
    settings, checkpoint = job.plan.settings, job.model.checkpoint
    return parameters_text(
        request,
        sampler=settings.scheduler,
        noise=settings.noise,
        clip_skip=job.model.text.clip_skip,
        model=checkpoint.name,
        weights_sha256=settings.weights_sha256,
    )


def _request_columns(request: ImageRequest, family: str) -> Mapping[str, Any]:
    """The columns that say what was asked for; those of sizes for SDXL alone."""
    columns = {name: getattr(request, name) for name in _PLAIN}
    columns["init_image"] = request.init_image and request.init_image.path
    columns["mask"] = request.mask and request.mask.path
    return columns | (asdict(request.size_hints) if family == "sdxl" else {})
