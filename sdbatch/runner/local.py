"""One process on this machine: every shard that is not done yet, then the merge."""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from sdbatch import __version__
from sdbatch.config import Config
from sdbatch.dataset.merge import Summary, merge
from sdbatch.dataset.shard import ShardStore
from sdbatch.errors import EXIT_DONE, EXIT_INTERRUPTED, EXIT_SOME_FAILED, UserError
from sdbatch.plan import adopt_run
from sdbatch.runner.interrupt import Interrupted, StopRequest
from sdbatch.runner.logs import start_logging
from sdbatch.runner.prepare import Job, prepare
from sdbatch.runner.progress import Progress

if TYPE_CHECKING:
    from sdbatch.pipeline import Pipeline

log = logging.getLogger("sdbatch")


@dataclass(frozen=True)
class Outcome:
    """Where the dataset is, and the exit code of the contract."""

    folder: Path
    exit_code: int


def run(config: Config, composed: DictConfig, overrides: Sequence[str]) -> Outcome:
    """Make the dataset that the config describes, or go on with it.

    Nothing is written before the table, the checkpoint and every weight are known to be sound.

    Raises:
        UserError: refused before work began, or no picture at all can be made.
    """
    job = prepare(config)
    store = ShardStore(job.folder)
    done = store.done()
    todo = [s for s in range(job.plan.shards) if job.plan.shard_name(s) not in done]
    pipeline = _load(job) if todo else None
    created = datetime.now(timezone.utc).isoformat(timespec="seconds")
    adopt_run(job.folder, job.plan, _versions(), created)
    start_logging(job.folder, composed, overrides)
    log.info(
        "%d prompts, %d images in %d shards, %d shards to do, on %s in %s",
        job.plan.rows, job.plan.images, job.plan.shards, len(todo),
        job.device.name, job.device.precision,
    )  # fmt: skip
    for line in job.checkpoint.evidence:
        log.info("%s", line)
    if config.output.shard_size != job.plan.shard_size:
        log.info("output.shard_size stays %d, as this dataset began", job.plan.shard_size)
    if pipeline is not None:
        try:
            _work(job, pipeline, store, todo)
        except Interrupted:
            log.info("interrupted; the same command goes on from here")
            return Outcome(job.folder, EXIT_INTERRUPTED)
    return _finish(job, store)


def _load(job: Job) -> Pipeline:
    from sdbatch.engine.load import load_pipeline  # imports Paddle and PaddleNLP

    return load_pipeline(
        job.checkpoint, job.sampler, job.device, job.additions, text=job.text, noise=job.noise
    )


def _work(job: Job, pipeline: Pipeline, store: ShardStore, todo: Sequence[int]) -> None:
    import paddle

    from sdbatch.runner.work import make_rows

    paddle.disable_signal_handler()
    stop = StopRequest(job.grace_s)
    stop.listen()
    store.discard_abandoned()
    progress = Progress(job.plan.images, _images_done(job, todo))
    proven = False
    for shard in todo:
        stop.check(float("inf"))
        images = job.plan.images_of(job.table.read(*job.plan.shard_rows(shard)))
        started = time.monotonic()
        with store.begin(job.plan.shard_name(shard)) as writer:
            rows = make_rows(job, pipeline, writer, images, stop, progress.advance)
            proven = proven or any(row["status"] == "ok" for row in rows)
            if not proven and all(row.get("error_type") for row in rows):
                raise UserError(
                    f"shard {writer.name}: all {len(rows)} images failed, none was made in this "
                    f"run: {rows[0]['error_type']}: {rows[0]['error_message']}"
                )
            writer.commit(rows, job.schema, {"seconds": round(time.monotonic() - started, 3)})
    progress.close()
    log.info("%s", progress.line())


def _images_done(job: Job, todo: Sequence[int]) -> int:
    """Images in finished shards, for the progress line: an estimate where rows want several."""
    per_row = job.plan.images / job.plan.rows
    rows = sum(stop - start for start, stop in map(job.plan.shard_rows, todo))
    return job.plan.images - round(rows * per_row)


def _finish(job: Job, store: ShardStore) -> Outcome:
    summary: Summary = merge(store, job.plan, job.schema)
    counts = ", ".join(f"{count} {status}" for status, count in summary.counts.items())
    log.info("%d images planned: %s", summary.planned, counts)
    if not summary.complete:
        raise UserError(
            f"{job.folder}: {summary.planned} images planned, but the shards hold "
            f"{sum(summary.counts.values())}"
        )
    done = summary.ok == summary.planned
    return Outcome(job.folder, EXIT_DONE if done else EXIT_SOME_FAILED)


def _versions() -> dict[str, str]:
    def version(*names: str) -> str:
        for name in names:
            try:
                return metadata.version(name)
            except metadata.PackageNotFoundError:
                continue
        return "unknown"

    return {
        "sdbatch": __version__,
        "paddle": version("paddlepaddle-gpu", "paddlepaddle"),
        "paddlenlp": version("paddlenlp"),
        "numpy": version("numpy"),
        "python": platform.python_version(),
    }
