"""What the parent looks after beside the workers: room on the disk, and the metrics file."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from sdbatch.config import Config
from sdbatch.errors import UserError
from sdbatch.runner.metrics import Snapshot, write_metrics
from sdbatch.runner.pool import Pool
from sdbatch.runner.prepare import Job
from sdbatch.runner.space import free_space, shortage
from sdbatch.runner.tally import Tally

log = logging.getLogger("sdbatch")

_SAMPLE = 8
"""So many images tell the size of the rest."""
_METRICS_EVERY_S = 15.0


class Reports:
    """Looks at the tally now and then.

    Args:
        config: whether space is checked, and where metrics go.
        job: the run's.
        pool: for the number of workers.
        runs: how many runs, with as much to do, fill the disk side by side.
    """

    def __init__(self, config: Config, job: Job, pool: Pool, runs: int = 1):
        self._job, self._pool, self._runs = job, pool, runs
        self._space_known = not config.check_space
        self._metrics = config.metrics and Path(config.metrics)
        self._written_at = 0.0
        self._complained = False

    def look(self, tally: Tally) -> None:
        """Called often; does something seldom.

        Raises:
            UserError: the images do not fit on the disk.
        """
        if not self._space_known and tally.files >= _SAMPLE:
            self._check_space(tally)
        if time.monotonic() - self._written_at >= _METRICS_EVERY_S:
            self.write(tally)

    def write(self, tally: Tally) -> None:
        """Write the metrics file, where one is asked for; a fault costs a log line, not the run."""
        self._written_at = time.monotonic()
        if not self._metrics:
            return
        try:
            write_metrics(self._metrics, self._snapshot(tally))
        except OSError as error:
            level = logging.DEBUG if self._complained else logging.WARNING
            log.log(level, "metrics: %s: %s", self._metrics, error.strerror)
            self._complained = True

    def _check_space(self, tally: Tally) -> None:
        self._space_known = True
        lacking = shortage(
            free_space(self._job.folder),
            tally.images_left * self._runs,
            tally.bytes / max(tally.files, 1),
        )
        if lacking:
            raise UserError(
                f"output.dir: {self._job.folder}: {lacking}; make room, or go on until the disk is "
                "full with check_space=false"
            )

    def _snapshot(self, tally: Tally) -> Snapshot:
        plan = self._job.plan
        done = {"earlier": tally.earlier, **{s: n for s, n in tally.statuses.items() if n}}
        return Snapshot(
            dataset=self._job.folder.name,
            planned=plan.images,
            done=done,
            images_per_second=tally.rate,
            shards=plan.shards,
            shards_done=tally.shards_done,
            workers=len(self._pool.workers),
            worker_restarts=tally.restarts,
            stage_seconds=tally.work.stages,
            device_busy=tally.work.device_busy,
            last_image_at=tally.last_image_at,
            peak_memory_bytes=(tally.work.peak_memory_mb or 0) * 1_000_000,
        )
