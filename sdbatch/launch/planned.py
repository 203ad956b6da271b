"""What is settled once for all tasks of a launch, before any of them runs."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from sdbatch.config import Config
from sdbatch.dataset.shard import ShardStore
from sdbatch.errors import UserError
from sdbatch.launch.command import Given, planned_precision, resubmission, task_words
from sdbatch.launch_record import Launch
from sdbatch.plan import Plan
from sdbatch.run_record import adopt_run, read_run
from sdbatch.runner.logs import new_folder
from sdbatch.runner.messages import Unit
from sdbatch.runner.prepare import plan_elsewhere
from sdbatch.runner.units import units_left
from sdbatch.versions import versions


@dataclass(frozen=True)
class Planned:
    """A launch that could begin.

    Attributes:
        plan: of the dataset.
        dataset: its folder, absolute.
        launch: its record; `todo` is None for a dataset that has not begun.
        words: behind `python -m sdbatch` in every task, but for record, index and count.
        cwd: where they are typed.
        resume: the config's.
        repairs: rows without a picture are made again as well.
    """

    plan: Plan
    dataset: Path
    launch: Launch
    words: Sequence[str]
    cwd: Path
    resume: str
    repairs: bool

    def missing(self) -> int:
        """How many shards are not there, by one listing."""
        return self.plan.shards - len(ShardStore(self.dataset).done())

    def begin(self, scheduler: str) -> Path:
        """Write `run.json`, if it is not there; returns a new folder for the launch.

        Raises:
            UserError: the dataset that is there does not fit.
        """
        adopt_run(self.dataset, self.plan, versions(), self.launch.created_at, self.resume)
        return new_folder(self.dataset / "logs", launch_name(scheduler))

    def take_back(self, folder: Path) -> None:
        """A launch that was refused was none; a dataset that began with it, neither."""
        shutil.rmtree(folder, ignore_errors=True)
        if self.launch.todo is None and not any((self.dataset / "shards").glob("*")):
            (self.dataset / "run.json").unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            (self.dataset / "logs").rmdir()
            self.dataset.rmdir()


def launch_name(scheduler: str) -> str:
    """Of a launch's folder, which has its time."""
    return f"{scheduler}-{time.strftime('%Y-%m-%dT%H-%M-%S')}"


def settle(
    config: Config, given: Given, nobodys: Callable[[Sequence[Unit]], Sequence[Unit]]
) -> Planned | None:
    """Check the job and plan it; None: every shard is there. Nothing is written.

    Args:
        config: validated.
        given: the command.
        nobodys: of the units of a dataset that are missing, those that no task of an earlier launch
            will make.

    Raises:
        UserError: the job is not sound.
    """
    launcher, dataset = config.launcher, given.cwd / config.output.dir
    now = datetime.now(timezone.utc)
    words, tasks = task_words(given, config, now), _most_tasks(config)
    plan, table = plan_elsewhere(config, planned_precision(config), tasks * max(1, launcher.gpus))
    todo = None
    if read_run(dataset) is not None:
        left = units_left(plan, ShardStore(dataset), retry_failed=config.retry_failed)
        todo = sorted({unit.shard for unit in nobodys(left)})
        if not todo:
            return None
    tasks = min(tasks, plan.shards if todo is None else len(todo))
    created = now.isoformat(timespec="seconds")
    launch = Launch(resubmission(given, launcher.name), str(given.cwd), tasks, todo, table, created)
    return Planned(
        plan, dataset, launch, words, given.cwd, config.resume.value, config.retry_failed
    )


def _most_tasks(config: Config) -> int:
    launcher = config.launcher
    if launcher.tasks != "auto":
        return launcher.tasks
    if launcher.max_parallel is None:
        raise UserError("launcher.tasks: auto is launcher.max_parallel, which is null; give one")
    return launcher.max_parallel
