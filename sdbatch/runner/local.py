"""One run on this machine: every unit that is not done yet, by all workers, and then the merge.

Or one task of several, on as many machines: its share of the units, then what nobody has in hand.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

from omegaconf import DictConfig

from sdbatch.config import Config
from sdbatch.dataset.merge import merge
from sdbatch.dataset.shard import ShardStore
from sdbatch.disk import is_full
from sdbatch.engine.device import Device
from sdbatch.errors import EXIT_DONE, Interruption, UserError
from sdbatch.plan import Plan
from sdbatch.run_record import adopt_run, changed_settings, read_run
from sdbatch.runner.batches import Engine
from sdbatch.runner.engines import load_engine
from sdbatch.runner.helping import Helper
from sdbatch.runner.labelling import told
from sdbatch.runner.limits import Limits
from sdbatch.runner.logs import start_logging
from sdbatch.runner.messages import Unit
from sdbatch.runner.overseer import Overseer
from sdbatch.runner.pool import Pool
from sdbatch.runner.prepare import Job, Prepared, prepare
from sdbatch.runner.progress import Progress
from sdbatch.runner.reports import Reports
from sdbatch.runner.schedule import Schedule
from sdbatch.runner.tally import Tally
from sdbatch.runner.task import Task
from sdbatch.runner.units import units_left
from sdbatch.versions import versions

log = logging.getLogger("sdbatch")


@dataclass(frozen=True)
class Outcome:
    """Where the dataset is, and the exit code of the contract."""

    folder: Path
    exit_code: int


class _BegunElsewhere(Exception):
    """Another run began this dataset a moment ago, in shards of another size."""

    def __init__(self, plan: Plan):
        self.plan = plan


def run(
    config: Config,
    composed: DictConfig,
    overrides: Sequence[str],
    load: Callable[[Job, Device], Engine] = load_engine,
) -> Outcome:
    """Make the dataset that the config describes, or go on with it.

    Nothing is written before the table, the checkpoint and every weight are known to be sound.

    Args:
        config: validated.
        composed: the same as Hydra composed it, for the record.
        overrides: the command line, for the record.
        load: makes a worker's engine.

    Raises:
        UserError: refused before work began, or the run cannot go on.
        Interruption: stopped before the end; the same command goes on.
    """
    limits = Limits.of(config)
    limits.stop.listen()
    task = Task.of(config.launcher)
    prepared = prepare(config, task.launch and task.launch.table)
    job = prepared.job
    store = ShardStore(job.folder)
    with _full_disk_told(job.folder):
        try:
            _make_missing(config, task, prepared, composed, overrides, limits, load)
        except _BegunElsewhere as begun:
            job = replace(job, plan=begun.plan)
            again = replace(prepared, job=job)
            _make_missing(config, task, again, composed, overrides, limits, load)
        if task.merges(store, job.plan):
            return _finish(job, store)
    return Outcome(job.folder, EXIT_DONE)


def _make_missing(
    config: Config,
    task: Task,
    prepared: Prepared,
    composed: DictConfig,
    overrides: Sequence[str],
    limits: Limits,
    load: Callable[[Job, Device], Engine],
) -> None:
    """Have every unit made that is this run's and is not there yet."""
    job, share = prepared.job, task.share
    store = ShardStore(job.folder)
    units = units_left(job.plan, store, retry_failed=config.retry_failed)
    units = [unit for unit in units if share.owns(unit)]
    helper = Helper(job.plan, store, share)
    if not units and share.count > 1 and (found := helper.find(())):
        units = [found]
    if not units:
        _begin(config, task, prepared, composed, overrides, 0)
        return
    pool = Pool(job, prepared.devices[: len(units)], load)
    try:
        missing = [unit for unit in units if not unit.is_repair]
        estimate = partial(_estimate, job.plan)
        planned = job.plan.images if share.count == 1 else sum(map(estimate, missing))
        progress = Progress(planned, planned - sum(map(estimate, missing)))
        tally = Tally(progress, job.plan.shards - len(missing), estimate)
        overseer = Overseer(
            store, pool, limits, Schedule(units), tally,
            more=helper.find if share.count > 1 else None,
        )  # fmt: skip
        overseer.wait_until_ready()
        _begin(config, task, prepared, composed, overrides, len(units))
        progress.begin()
        reports = Reports(config, job, pool, share.count)
        try:
            overseer.run(reports.look)
        finally:
            progress.close()
            reports.write(tally)
            log.info("%s", progress.line())
    finally:
        pool.kill()


@contextlib.contextmanager
def _full_disk_told(folder: Path) -> Iterator[None]:
    """What the run itself writes meets a full disk as its workers' pictures do."""
    try:
        yield
    except OSError as error:
        if not is_full(error):
            raise
        raise Interruption(
            f"{folder}: {os.strerror(error.errno)}; make room and run the same command again"
        ) from error


def _begin(
    config: Config,
    task: Task,
    prepared: Prepared,
    composed: DictConfig,
    overrides: Sequence[str],
    units: int,
) -> None:
    """Write `run.json`, or take the one that is there; start the log."""
    job, device = prepared.job, prepared.devices[0]
    existing = read_run(job.folder)
    created = datetime.now(timezone.utc).isoformat(timespec="seconds")
    plan = adopt_run(job.folder, job.plan, versions(), created, config.resume.value)
    if plan != job.plan:
        raise _BegunElsewhere(plan)
    store = ShardStore(job.folder)
    store.create()
    store.discard_abandoned()
    start_logging(job.folder, composed, overrides, task.log_folder)
    if task.share.count > 1:
        log.info("task %d of %d", task.share.index, task.share.count)
    log.info(
        "%d prompts, %d images in %d shards, %d shards to do, by %d workers on %s in %s",
        plan.rows, plan.images, plan.shards, units, min(units, len(prepared.devices)),
        device.name.partition(":")[0], device.precision,
    )  # fmt: skip
    for line in job.model.checkpoint.evidence:
        log.info("%s", line)
    log.info("%s", told(job.label, config.label))
    if config.output.shard_size not in ("auto", plan.shard_size):
        log.info("output.shard_size stays %d, as this dataset began", plan.shard_size)
    for change in changed_settings(existing, plan) if existing else ():
        log.warning("resume=always: the dataset goes on with other settings: %s", change)


def _estimate(plan: Plan, unit: Unit) -> int:
    """Images of a shard, for the progress line: where rows want several, more or less."""
    start, stop = plan.shard_rows(unit.shard)
    return round((stop - start) * plan.images / plan.rows)


def _finish(job: Job, store: ShardStore) -> Outcome:
    """Merge, and prove that every planned image has an outcome."""
    started = time.monotonic()
    store.discard_abandoned()
    summary = merge(store, job.plan, job.schema)
    log.debug("merged in %.1f s", time.monotonic() - started)
    log.info("%s", summary.line())
    if not summary.complete:
        raise UserError(
            f"{job.folder}: {summary.planned} images planned, but the shards hold "
            f"{sum(summary.counts.values())}"
        )
    return Outcome(job.folder, summary.exit_code)
