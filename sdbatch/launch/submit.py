"""`launcher=slurm`: plan once, write the scripts beside the dataset, submit them.

From here on only the folder counts. Tasks find the launch's record in it, the merge job decides
from the shards that are there, and this process can end.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from sdbatch.config import Config, quoted
from sdbatch.config.schema import LauncherConfig
from sdbatch.errors import UserError
from sdbatch.launch import slurm
from sdbatch.launch.arrays import Slice, split
from sdbatch.launch.command import Given
from sdbatch.launch.planned import Planned, launch_name, settle
from sdbatch.launch.scripts import Scene, array_script, merge_script
from sdbatch.launch.tasks import waiting_tasks
from sdbatch.launch_record import Array, Launch, read_launches
from sdbatch.run_record import read_run
from sdbatch.runner.messages import Unit
from sdbatch.runner.share import owner


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
    if launcher.resubmit and read_run(dataset) is None:
        raise UserError(
            f"launcher.resubmit: {dataset}: no dataset there (no run.json); expected one that "
            "an earlier launch began"
        )
    planned = settle(config, given, partial(_nobodys, dataset, launcher))
    if planned is None:
        return Submitted(dataset, None, {})
    launch = planned.launch
    arrays = split(launch.tasks, launcher.max_parallel, slurm.max_array_size())
    if launcher.dry_run:
        folder = dataset / "logs" / launch_name("slurm")
        return Submitted(dataset, launch, _scripts(launcher, planned, folder, arrays))
    folder = planned.begin("slurm")
    scripts = _scripts(launcher, planned, folder, arrays)
    try:
        launch = _hand_over(folder, launch, scripts, arrays)
    except BaseException:
        planned.take_back(folder)
        raise
    return Submitted(dataset, launch, scripts)


def _nobodys(dataset: Path, launcher: LauncherConfig, units: Sequence[Unit]) -> Sequence[Unit]:
    """Without those that tasks in the queue will make."""
    for folder, launch in read_launches(dataset):
        waiting = _waiting(folder, launch, resubmit=launcher.resubmit)
        units = [u for u in units if owner(u.shard, launch.tasks, launch.todo) not in waiting]
    return units


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


def _scripts(
    launcher: LauncherConfig, planned: Planned, folder: Path, arrays: Sequence[Slice]
) -> dict[str, str]:
    scene = Scene(
        launcher,
        planned.dataset,
        None if planned.repairs else planned.plan.shards,  # repairs are not counted
        folder,
        planned.cwd,
        launcher.job_name or f"sdbatch-{planned.dataset.name}",
        planned.launch.created_at,
    )
    words = [*planned.words, f"launcher.record={quoted(str(folder))}"]
    names = [f"array-{n}.sbatch" for n in range(len(arrays))] if arrays[1:] else ["array.sbatch"]
    scripts = {
        name: array_script(scene, words, planned.launch.tasks, array)
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
