"""How the tasks of a dataset's launches are: what Slurm says, what the folder says.

A task has failed if it is not in the queue and shards of its share are not there. That needs no
accounting, which many clusters do not have; where there is one, it tells how the task ended.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sdbatch.errors import one_line
from sdbatch.launch import slurm
from sdbatch.launch_record import Array, Launch, read_launches
from sdbatch.runner.messages import Unit
from sdbatch.runner.share import owner

_TAIL = 1 << 16
"""Bytes at the end of a task's output in which its last words are looked for."""


@dataclass(frozen=True)
class FailedTask:
    """A task that ended before its share was done.

    Attributes:
        task: its number.
        output: the file that has all it said.
        state: as accounting knows it; None where there is none.
        line: its last error, or else its last line; None if it said nothing.
    """

    task: int
    output: Path
    state: str | None
    line: str | None


@dataclass(frozen=True)
class Launched:
    """What became of all launches of a dataset.

    Attributes:
        folder, launch: the newest one.
        queue: tasks of all launches that wait or run, by state; None: Slurm cannot be asked.
        reasons: why tasks wait, most of them first.
        merge: the state of the newest merge job; None: it is not in the queue.
        failed: tasks of the newest launch.
    """

    folder: Path
    launch: Launch
    queue: Mapping[str, int] | None
    reasons: tuple[str, ...]
    merge: str | None
    failed: tuple[FailedTask, ...]

    def as_json(self) -> dict[str, Any]:
        """The same as JSON takes it, with the command that submits what is missing."""
        return {
            "folder": str(self.folder),
            "tasks": self.launch.tasks,
            "jobs": [array.job for array in self.launch.arrays],
            "merge_job": self.launch.merge,
            "queue": self.queue,
            "reasons": list(self.reasons),
            "merge": self.merge,
            "failed": [{**asdict(task), "output": str(task.output)} for task in self.failed],
            "resubmit": self.launch.resubmit_command,
        }


def waiting_tasks(launch: Launch) -> dict[int, str] | None:
    """Numbers of a launch's tasks that wait or run, with their states; None: nobody knows."""
    states = slurm.queued([array.job for array in launch.arrays])
    return None if states is None else _numbered(launch.arrays, states)


def look(dataset: Path, missing: Sequence[Unit]) -> Launched | None:
    """How a dataset's tasks are; None if none were launched.

    Args:
        dataset: its folder.
        missing: the units that are not there.
    """
    launches = read_launches(dataset)
    if not launches:
        return None
    folder, newest = launches[-1]
    jobs = [array.job for _, launch in launches for array in launch.arrays]
    states = slurm.queued([*jobs, *([newest.merge] if newest.merge else [])])
    if states is None:
        return Launched(folder, newest, None, (), None, ())
    tasks = [state for state in states if state.job != newest.merge]
    queue = Counter(task.state for task in tasks)
    reasons = Counter(task.reason for task in tasks if task.state == "PENDING" and task.reason)
    merge = [state.state for state in states if state.job == newest.merge]
    return Launched(
        folder,
        newest,
        dict(queue.most_common()),
        tuple(reason for reason, _ in reasons.most_common()),
        merge[0] if merge else None,
        _failed(folder, newest, _numbered(newest.arrays, states), missing),
    )


def _failed(
    folder: Path, launch: Launch, queued: Mapping[int, str], missing: Sequence[Unit]
) -> tuple[FailedTask, ...]:
    owners = {owner(unit.shard, launch.tasks, launch.todo) for unit in missing} - {None}
    ended = sorted(owners - queued.keys())
    if not ended:
        return ()
    states = _numbered(launch.arrays, slurm.history([array.job for array in launch.arrays]))
    return tuple(_describe(folder, launch, task, states.get(task)) for task in ended)


def _describe(folder: Path, launch: Launch, task: int, state: str | None) -> FailedTask:
    array = next(one for one in launch.arrays if one.first <= task < one.first + one.tasks)
    output = folder / f"{array.job}_{task - array.first}.out"
    return FailedTask(task, output, state, last_words(output))


def last_words(output: Path) -> str | None:
    """The last error that a task printed, else its last line; None: nothing."""
    try:
        with output.open("rb") as file:
            file.seek(max(output.stat().st_size - _TAIL, 0))
            text = file.read().decode(errors="replace")
    except OSError:
        return None
    lines = [line for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "error:" in line]
    return one_line((errors or lines)[-1]) if lines else None


def _numbered(arrays: Sequence[Array], states: Sequence[slurm.TaskState]) -> dict[int, str]:
    first = {array.job: array.first for array in arrays}
    return {first[one.job] + one.task: one.state for one in states if one.job in first}
