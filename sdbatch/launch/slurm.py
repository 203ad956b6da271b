"""Slurm's commands, asked in the ways that versions from 20.11 on understand.

What only informs (squeue, sacct, scontrol) may fail, or not be there: then nothing is known. What
changes something must succeed.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sdbatch.errors import UserError, one_line

_WAIT_S = 60
DEFAULT_MAX_ARRAY_SIZE = 1001
"""Slurm's own, where the cluster cannot be asked."""


@dataclass(frozen=True)
class TaskState:
    """One task of an array, as Slurm sees it.

    Attributes:
        job, task: the array's number, and its own in it.
        state: RUNNING, PENDING, FAILED, TIMEOUT, ...
        reason: why it waits: Resources, PartitionConfig, ...; empty if it does not.
    """

    job: str
    task: int
    state: str
    reason: str = ""


def submit(script: Path, *options: str) -> str:
    """Submit a script; returns the job's id.

    Raises:
        UserError: with what sbatch says against it.
    """
    given = _ask("sbatch", "--parsable", *options, str(script))
    # "4123", or "4123;cluster" where there are several; plug-ins of a site may print lines before.
    match = re.search(r"^(\d+)(;\S+)?$", given, re.MULTILINE)
    if match is None:
        raise UserError(f"sbatch: expected a job's number, found {one_line(given)!r}")
    return match[1]


def cancel(jobs: Sequence[str]) -> None:
    """End jobs; those that have ended are no error."""
    if jobs:
        _ask_politely("scancel", *jobs)


def max_array_size() -> int:
    """The cluster's MaxArraySize: a task's index is below it."""
    text = _ask_politely("scontrol", "show", "config") or ""
    match = re.search(r"^MaxArraySize\s*=\s*(\d+)", text, re.MULTILINE)
    return int(match[1]) if match else DEFAULT_MAX_ARRAY_SIZE


def queued(jobs: Sequence[str]) -> list[TaskState] | None:
    """Tasks of these jobs that wait or run; None: Slurm cannot be asked.

    A job without an array is its task 0.
    """
    if not jobs:
        return []
    try:
        text = _ask(
            "squeue", "--noheader", "--array", f"--jobs={','.join(jobs)}", "--format=%F %K %T %r"
        )
    except UserError as error:
        return [] if "Invalid job id" in str(error) else None  # Slurm forgets jobs after a while
    found = re.findall(r"^\s*(\d+)\s+(\d+|N/A)\s+(\w+) *(\S*)", text, re.MULTILINE)
    wanted = set(jobs)
    return [
        TaskState(
            job, 0 if task == "N/A" else int(task), state, reason.replace("None", "").rstrip(",")
        )
        for job, task, state, reason in found
        if job in wanted
    ]


def history(jobs: Sequence[str]) -> list[TaskState]:
    """How tasks of these jobs ended, as far as accounting knows; nothing where there is none."""
    if not jobs:
        return []
    text = _ask_politely(
        "sacct", "--allocations", "--noheader", "--parsable2", "--format=JobID,State",
        f"--jobs={','.join(jobs)}",
    )  # fmt: skip
    # "4123_7|CANCELLED by 0"; tasks that have not begun are one line: "4123_[8-15%4]|PENDING".
    found = re.findall(r"^(\d+)(?:_(\d+))?\|([A-Z_]+)", text or "", re.MULTILINE)
    return [TaskState(job, int(task or 0), state) for job, task, state in found]


def _ask(*command: str) -> str:
    """What a command prints.

    Raises:
        UserError: it is not there, does not answer, or refuses.
    """
    name = command[0]
    if shutil.which(name) is None:
        raise UserError(
            f"launcher: slurm: {name} is not on this machine's PATH; run this on a login node, or "
            "see the scripts with launcher.dry_run=true"
        )
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_WAIT_S)
    except subprocess.TimeoutExpired as error:
        raise UserError(f"{name}: no answer within {_WAIT_S} s") from error
    except OSError as error:
        raise UserError(f"{name}: {error.strerror}") from error
    if done.returncode:
        lines = (done.stderr or done.stdout).splitlines() or [f"exit {done.returncode}"]
        said = [one_line(line).removeprefix(f"{name}: ").removeprefix("error: ") for line in lines]
        raise UserError(f"{name}: {'; '.join(filter(None, said))}")
    return done.stdout


def _ask_politely(*command: str) -> str | None:
    """The same, or None."""
    try:
        return _ask(*command)
    except UserError:
        return None
