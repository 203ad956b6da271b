"""The jobs of a sweep, here or in other processes: how they are begun, stopped and heard of.

Jobs may run in this process one after another, or elsewhere (hydra/launcher=submitit_local or
submitit_slurm); what they leave in the sweep's own folder is how the command learns of them.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

from sdbatch.sweep.names import fixed_keys

_FOLDER = "SDBATCH_SWEEP"
"""The environment variable with the sweep's own folder, as jobs in other processes read it."""


@dataclass(frozen=True)
class Ended:
    """How a job of the sweep ended.

    Attributes:
        code: its exit code.
        folder: where its dataset is, or would have been.
        complaint: its line of error, if there was one.
        process: host and number of the one that ran it.
    """

    code: int
    folder: str
    complaint: str | None
    process: str

    @property
    def elsewhere(self) -> bool:
        """Whether another process ran it."""
        return self.process != _this_process()


def is_sweep(arguments: Sequence[str]) -> bool:
    """Whether the command line asks for one. Flags may be shortened."""
    return any(
        word in ("-m", "hydra.mode=MULTIRUN") or (len(word) > 2 and "--multirun".startswith(word))
        for word in arguments
    )


def begin(arguments: Sequence[str]) -> list[str]:
    """What to add to the command line of a sweep; its own folder is settled as well.

    Hydra's `override_dirname` is told which keys are the same in all jobs, and so do not belong
    into a folder's name; like this jobs in other processes know it too.
    """
    name = f"{time.strftime('%Y-%m-%dT%H-%M-%S')}-{os.getpid()}"
    os.environ[_FOLDER] = str(Path("outputs", "sweeps", name).absolute())
    # Stdout is ours alone; and a time limit's warning is the signal that every job understands.
    os.environ.setdefault("SUBMITIT_LOG_LEVEL", "CRITICAL")
    os.environ.setdefault("SUBMITIT_PREEMPT_SIGNAL", "USR1")
    keys = ",".join(fixed_keys(arguments))
    return [f"hydra.job.config.override_dirname.exclude_keys=[{keys}]"]


def note(code: int, folder: str, complaint: str | None, job: int) -> None:
    """Leave a job's end for the command that began the sweep; nothing where there is none."""
    if _FOLDER in os.environ:
        place = Path(os.environ[_FOLDER], "jobs")
        place.mkdir(parents=True, exist_ok=True)
        ended = Ended(code, folder, complaint, _this_process())
        (place / f"{job:05d}.json").write_text(json.dumps(asdict(ended)), encoding="utf-8")


def ended() -> list[Ended]:
    """All jobs that have ended, in their order."""
    places = sorted(Path(os.environ[_FOLDER], "jobs").glob("*.json"))
    return [Ended(**json.loads(place.read_text(encoding="utf-8"))) for place in places]


def listen() -> None:
    """SIGINT, SIGTERM and SIGUSR1 at the command end jobs elsewhere too; raises KeyboardInterrupt.

    A job in this process listens for itself as soon as it runs.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, _stop)


def stopped() -> bool:
    """Whether the sweep was stopped before this job began to listen."""
    return _FOLDER in os.environ and Path(os.environ[_FOLDER], "stopped").exists()


def _stop(number: int, _: FrameType | None) -> None:
    jobs = _submitted()
    if jobs:
        Path(os.environ[_FOLDER], "stopped").touch()
    for job in filter(_is_child, jobs):
        os.kill(int(job), signal.SIGTERM)
    others = [job for job in jobs if not _is_child(job)]
    if others and shutil.which("scancel"):
        for how in ("--state=PENDING", "--signal=TERM"):
            subprocess.run(["scancel", how, *others], capture_output=True, timeout=60)
    raise KeyboardInterrupt


def wait() -> None:
    """Until jobs in processes of this command have ended, however it learnt that it ends itself."""
    for job in filter(_is_child, _submitted()):
        with contextlib.suppress(ChildProcessError):
            os.waitpid(int(job), 0)


def tidy() -> None:
    """Take away the sweep's folder, unless jobs elsewhere left their output in it."""
    folder = Path(os.environ[_FOLDER])
    if not (folder / ".submitit").exists():
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # not empty, or not there
            for parent in (folder.parent, folder.parent.parent):
                parent.rmdir()


def lost(error: Exception) -> str | None:
    """One line about a job that ended without a word (killed, say), if that is the error."""
    if type(error).__name__ != "UncompletedJobError":  # submitit need not be installed
        return None
    job = re.match(r"Job (\S+) ", str(error))
    place = Path(os.environ[_FOLDER], ".submitit", job[1] if job else "")
    return f"a job ended without a word; what it printed is in {place}; the same command goes on"


def _submitted() -> list[str]:
    """Submitit's names of jobs: numbers of processes (its controllers), or of Slurm's jobs."""
    places = Path(os.environ[_FOLDER], ".submitit").glob("*")
    return sorted(place.name for place in places if place.is_dir())


def _is_child(job: str) -> bool:
    """Whether it is a process of ours that still runs."""
    try:
        return os.waitpid(int(job), os.WNOHANG) == (0, 0)
    except (ValueError, ChildProcessError):
        return False


def _this_process() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"
