"""`launcher=slurm`: plan once, write the scripts beside the dataset, submit them.

From here on only the folder counts. Tasks find the launch's record in it, the merge job decides
from the shards that are there, and this process can end.
"""

from __future__ import annotations

import contextlib
import shlex
import shutil
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

from sdbatch.config import Config, quoted
from sdbatch.dataset.shard import ShardStore
from sdbatch.errors import UserError
from sdbatch.launch import slurm
from sdbatch.launch.arrays import Slice, split
from sdbatch.launch.command import Given, planned_precision, resubmission, task_words
from sdbatch.launch.scripts import Scene, array_script, merge_script
from sdbatch.launch.tasks import waiting_tasks
from sdbatch.launch_record import Array, Launch, read_launches
from sdbatch.plan import Plan
from sdbatch.run_record import adopt_run, read_run
from sdbatch.runner.logs import new_folder
from sdbatch.runner.prepare import plan_elsewhere
from sdbatch.runner.share import Share
from sdbatch.runner.units import units_left
from sdbatch.versions import versions


@dataclass(frozen=True)
class Submitted:
    """What was submitted, to be told.

    Attributes:
        dataset: its folder.
        launch: None if there was nothing to submit: every shard is there.
        scripts: name and text of each; for a dry run all there is.
    """

    dataset: Path
    launch: Launch | None
    scripts: dict[str, str]

    def line(self) -> str:
        """One line for whoever submitted it."""
        if self.launch is None:
            return (
                "every shard is there, so nothing was submitted; "
                f"python -m sdbatch.merge {shlex.quote(str(self.dataset))} merges them"
            )
        jobs = " ".join(array.job for array in self.launch.arrays)
        shards = "all" if self.launch.todo is None else len(self.launch.todo)
        return (
            f"submitted {self.launch.tasks} tasks (job {jobs}) for {shards} shards, then a merge "
            f"(job {self.launch.merge}); python -m sdbatch.status "
            f"{shlex.quote(str(self.dataset))} shows how far they are"
        )


def submit(config: Config, given: Given) -> Submitted:
    """Hand the dataset that the config describes to Slurm, or what is missing of it.

    Args:
        config: validated, with `launcher=slurm`.
        given: the command.

    Raises:
        UserError: the job is not sound, tasks of an earlier launch are still in the queue, or Slurm
            refuses. Nothing is left in the queue then.
    """
    launcher, dataset = config.launcher, given.cwd / config.output.dir
    now = datetime.now(timezone.utc)
    words = task_words(given, config, now)
    tasks = _most_tasks(config)
    plan, table = plan_elsewhere(config, planned_precision(config), tasks * max(1, launcher.gpus))
    todo = _todo(config, plan, dataset)
    if todo is not None and not todo:
        return Submitted(dataset, None, {})
    tasks = min(tasks, plan.shards if todo is None else len(todo))
    created = now.isoformat(timespec="seconds")
    launch = Launch(resubmission(given), str(given.cwd), tasks, todo, table, created)
    arrays = split(tasks, launcher.max_parallel, slurm.max_array_size())
    name = f"slurm-{time.strftime('%Y-%m-%dT%H-%M-%S')}"
    if launcher.dry_run:
        scene = _scene(config, given, plan, dataset / "logs" / name, created)
        return Submitted(dataset, launch, _scripts(scene, words, launch, arrays))
    begun = read_run(dataset) is None
    plan = adopt_run(dataset, plan, versions(), created, config.resume.value)
    folder = new_folder(dataset / "logs", name)
    scene = _scene(config, given, plan, folder, created)
    scripts = _scripts(scene, words, launch, arrays)
    try:
        launch = _hand_over(folder, launch, scripts, arrays)
    except BaseException:
        _leave_no_trace(dataset, folder, begun=begun)
        raise
    return Submitted(dataset, launch, scripts)


def _most_tasks(config: Config) -> int:
    launcher = config.launcher
    if launcher.tasks != "auto":
        return launcher.tasks
    if launcher.max_parallel is None:
        raise UserError("launcher.tasks: auto is launcher.max_parallel, which is null; give one")
    return launcher.max_parallel


def _todo(config: Config, plan: Plan, dataset: Path) -> list[int] | None:
    """Numbers of the shards to be made, without those that tasks in the queue will make.

    None: all, of a dataset that has not begun.
    """
    resubmit = config.launcher.resubmit
    if read_run(dataset) is None:
        if resubmit:
            raise UserError(
                f"launcher.resubmit: {dataset}: no dataset there (no run.json); expected one that "
                "an earlier launch began"
            )
        return None
    units = units_left(plan, ShardStore(dataset), retry_failed=config.retry_failed)
    for folder, launch in read_launches(dataset):
        waiting = _waiting(folder, launch, resubmit=resubmit)
        shares = [Share(task, launch.tasks, launch.todo) for task in waiting]
        units = [unit for unit in units if not any(share.owns(unit) for share in shares)]
    return sorted({unit.shard for unit in units})


def _waiting(folder: Path, launch: Launch, *, resubmit: bool) -> Collection[int]:
    """Tasks in the queue, which only a resubmission works around."""
    waiting = waiting_tasks(launch)
    jobs = " ".join(array.job for array in launch.arrays)
    if resubmit:
        return waiting or ()
    if waiting is None:
        raise UserError(
            f"{folder}: squeue does not tell whether tasks of it (job {jobs}) are still in the "
            "queue; launcher.resubmit=true takes it that none are"
        )
    if waiting:
        raise UserError(
            f"{folder}: {len(waiting)} of its tasks (job {jobs}) are still in the queue; wait, or "
            f"end them (scancel {jobs}), or submit only what is not theirs "
            "(launcher.resubmit=true)"
        )
    return ()


def _scene(config: Config, given: Given, plan: Plan, folder: Path, created: str) -> Scene:
    dataset = folder.parent.parent
    return Scene(
        config.launcher,
        dataset,
        None if config.retry_failed else plan.shards,  # repairs are not counted
        folder,
        given.cwd,
        config.launcher.job_name or f"sdbatch-{dataset.name}",
        created,
    )


def _scripts(
    scene: Scene, words: Sequence[str], launch: Launch, arrays: Sequence[Slice]
) -> dict[str, str]:
    record = f"launcher.record={quoted(str(scene.folder))}"
    names = [f"array-{n}.sbatch" for n in range(len(arrays))] if arrays[1:] else ["array.sbatch"]
    scripts = {
        name: array_script(scene, [*words, record], launch.tasks, array)
        for name, array in zip(names, arrays, strict=True)
    }
    return {**scripts, "merge.sbatch": merge_script(scene)}


def _hand_over(
    folder: Path, launch: Launch, scripts: dict[str, str], arrays: Sequence[Slice]
) -> Launch:
    """Everything a task reads is there before Slurm may start one."""
    for name, text in scripts.items():
        (folder / name).write_text(text, encoding="utf-8")
    launch.write(folder)
    *names, merge = scripts
    jobs: list[str] = []
    try:
        for name in names:
            job = slurm.submit(folder / name)
            jobs.append(job)
        merge_job = slurm.submit(folder / merge, f"--dependency=afterany:{':'.join(jobs)}")
        jobs.append(merge_job)
        submitted = (
            Array(job, array.first, array.tasks) for job, array in zip(jobs, arrays, strict=False)
        )
        launch = replace(launch, arrays=tuple(submitted), merge=merge_job)
        launch.write(folder)
    except BaseException:
        slurm.cancel(jobs)
        raise
    return launch


def _leave_no_trace(dataset: Path, folder: Path, *, begun: bool) -> None:
    """A launch that Slurm refused was none; a dataset that began with it, neither."""
    shutil.rmtree(folder, ignore_errors=True)
    if begun and not any((dataset / "shards").glob("*")):
        (dataset / "run.json").unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        (dataset / "logs").rmdir()
        dataset.rmdir()
