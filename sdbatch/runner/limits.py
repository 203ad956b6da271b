"""When a run must stop, and when a worker is doubted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone

from sdbatch.config import Config
from sdbatch.runner.deadline import Deadline, parse_stop_at
from sdbatch.runner.interrupt import StopRequest


@dataclass(frozen=True)
class Limits:
    """When to stop and when to doubt.

    Attributes:
        stop: signals.
        deadline: of the run.
        grace_s: what workers have to finish in after a signal.
        watchdog_s: a worker that is silent for longer is replaced.
    """

    stop: StopRequest
    deadline: Deadline
    grace_s: float
    watchdog_s: float

    @classmethod
    def of(cls, config: Config) -> Limits:
        """From now on.

        Raises:
            UserError: `stop_at` is no moment to come.
        """
        now = datetime.now(timezone.utc)
        deadline = Deadline(
            config.stop_at and parse_stop_at(config.stop_at, now),
            config.max_hours and config.max_hours * 3600,
        )
        return cls(StopRequest(), deadline, config.grace_s, config.watchdog_s)
