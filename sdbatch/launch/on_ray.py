"""`launcher=ray`: the tasks of a launch as actors on a Ray cluster, started again when lost.

Ray gives each a place with its GPUs; what it runs there is the worker's contract, a command like
any other scheduler's (docs/slurm.md). Which shards are made where is settled on the disk.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from sdbatch.command import say
from sdbatch.config import Config, quoted
from sdbatch.config.schema import LauncherConfig
from sdbatch.dataset.existing import open_dataset
from sdbatch.dataset.merge import merge
from sdbatch.errors import (
    EXIT_INTERRUPTED,
    EXIT_USER_ERROR,
    Interruption,
    UserError,
    one_line,
)
from sdbatch.launch.command import Given
from sdbatch.launch.planned import Planned, settle
from sdbatch.launch.tasks import last_words
from sdbatch.runner.interrupt import StopRequest

_LOOK_S = 1.0
_TELL_S = 30.0
_LINGER_S = 20.0
"""Seconds for tasks to end in after the last shard, or beyond the grace of a stop."""


class Runner:
    """An actor: runs a task's command, and ends it in order when it is asked to."""

    def __init__(self) -> None:
        self._process: subprocess.Popen | None = None
        self._stopped = False

    def run(self, python: str | None, words: Sequence[str], cwd: str, output: str) -> int:
        """Run `PYTHON WORDS`, both of its outputs appended to a file; returns the exit code."""
        if self._stopped:
            return EXIT_INTERRUPTED
        with Path(output).open("ab") as file:
            self._process = subprocess.Popen(
                [python or sys.executable, *words], cwd=cwd, stdout=file, stderr=file,
                stdin=subprocess.DEVNULL, preexec_fn=_die_with_parent,
            )  # fmt: skip
        return self._process.wait()

    def stop(self) -> None:
        """Have it finish what fits, and exit."""
        self._stopped = True
        if self._process is not None:
            self._process.send_signal(signal.SIGUSR1)


def _die_with_parent() -> None:
    """An actor that is killed takes its command with it."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


@dataclass
class _Running:
    """A task that was started: its actor, and what will be its exit code."""

    index: int
    actor: Any
    code: Any


@dataclass
class Tasks:
    """All tasks of a launch while they run.

    Attributes:
        ray: the module.
        planned: what they make.
        folder: of the launch: its record, and what tasks say.
        launcher: what each is given.
        complaints: the last line of each task that was refused.
    """

    ray: ModuleType
    planned: Planned
    folder: Path
    launcher: LauncherConfig
    complaints: dict[int, str] = field(default_factory=dict)
    _running: dict[Any, _Running] = field(default_factory=dict)
    _starts: dict[int, int] = field(default_factory=dict)

    def start(self, index: int) -> None:
        """Start a task, or start it again."""
        self._starts[index] = self._starts.get(index, 0) + 1
        options = {"num_cpus": self.launcher.cpus, "num_gpus": self.launcher.gpus}
        # Two threads: one waits for the command, one hears `stop`.
        actor = self.ray.remote(Runner).options(**options, max_concurrency=2).remote()
        words = [
            "-m", "sdbatch", *self.planned.words,
            f"launcher.record={quoted(str(self.folder))}",
            f"launcher.index={index}", f"launcher.count={self.planned.launch.tasks}",
        ]  # fmt: skip
        code = actor.run.remote(
            self.launcher.python, words, str(self.planned.cwd), str(self.output(index))
        )
        self._running[code] = _Running(index, actor, code)

    def output(self, index: int) -> Path:
        """The file that has all a task said."""
        return self.folder / f"{index:05d}.out"

    @property
    def left(self) -> int:
        """How many have not ended."""
        return len(self._running)

    def look(self, *, again: bool = True) -> bool:
        """Take up who has ended, and start those that were lost once more.

        Args:
            again: whether to start any.

        Returns:
            Whether one has found nothing more to do.
        """
        ended, _ = self.ray.wait(
            list(self._running), num_returns=len(self._running), timeout=_LOOK_S
        )
        codes = [self._ended(self._running.pop(reference), again) for reference in ended]
        return 0 in codes

    def _ended(self, task: _Running, again: bool) -> int:
        """The exit code of a task that has ended, or was lost with its node."""
        try:
            code = self.ray.get(task.code)
            why = f"exit {code}"
        except self.ray.exceptions.RayError as error:
            code, why = EXIT_INTERRUPTED, type(error).__name__
        self.ray.kill(task.actor)
        if code == EXIT_USER_ERROR:
            self.complaints[task.index] = last_words(self.output(task.index)) or "no output"
        elif code != 0 and again:
            self._again(task.index, why)
        return code

    def _again(self, index: int, why: str) -> None:
        if self._starts[index] > self.launcher.max_requeues:
            self.complaints[index] = f"lost {self._starts[index]} times (launcher.max_requeues)"
        else:
            say(f"task {index} was lost ({why}) and is started again")
            self.start(index)

    def stop(self) -> None:
        """Have all of them finish what fits."""
        for task in self._running.values():
            task.actor.stop.remote()

    def kill(self) -> None:
        """End all of them at once."""
        for task in self._running.values():
            self.ray.kill(task.actor)
        self._running.clear()


def make_on_ray(config: Config, given: Given) -> tuple[Path, int]:
    """Make the dataset that the config describes, or what is missing of it; merge it.

    Args:
        config: validated, with `launcher=ray`.
        given: the command.

    Returns:
        The dataset's folder, and the exit code of the contract.

    Raises:
        UserError: the job is not sound, there is no Ray, or shards are missing and tasks were
            refused.
        Interruption: it was stopped, or shards are missing.
    """
    dataset = given.cwd / config.output.dir
    planned = settle(config, given, lambda units: units)
    if planned is not None:
        with _connected(config.launcher) as ray:
            folder = planned.begin("ray")
            planned.launch.write(folder)
            _run(Tasks(ray, planned, folder, config.launcher), config.grace_s)
    summary = merge(*open_dataset(dataset))
    if not summary.complete:
        raise UserError(f"{dataset}: {summary.line()}")
    say(summary.line())
    return dataset, summary.exit_code


def _run(tasks: Tasks, grace_s: float) -> None:
    """Run all tasks to their end."""
    stop = StopRequest()
    stop.at_once = tasks.kill
    stop.listen()  # after Ray, which installs a handler of its own
    say(f"{tasks.planned.launch.tasks} tasks; what they say is in {tasks.folder}")
    try:
        for index in range(tasks.planned.launch.tasks):
            tasks.start(index)
        _watch(tasks, stop)
        tasks.stop()
        _wait(tasks, _LINGER_S + (grace_s if stop.requested else 0.0))
    finally:
        tasks.kill()
    if stop.requested:
        raise Interruption("interrupted; the same command goes on from here")
    missing = tasks.planned.missing()
    if missing and tasks.complaints:
        index, line = next(iter(tasks.complaints.items()))
        raise UserError(f"task {index}: {line.removeprefix('sdbatch: error: ')}")
    if missing:
        raise Interruption(f"{missing} shards are missing; the same command goes on from here")


def _watch(tasks: Tasks, stop: StopRequest) -> None:
    """Until all have ended, every shard is there, or it is time to stop."""
    told = time.monotonic()
    while tasks.left and not stop.requested:
        nothing_left = tasks.look()
        if nothing_left and not tasks.planned.missing():
            return  # whoever still waits for a GPU would find nothing to do
        if time.monotonic() - told > _TELL_S:
            told = time.monotonic()
            say(f"{tasks.planned.missing()} shards to do, {tasks.left} tasks run or wait")


def _wait(tasks: Tasks, seconds: float) -> None:
    end = time.monotonic() + seconds
    while tasks.left and time.monotonic() < end:
        tasks.look(again=False)


@contextlib.contextmanager
def _connected(launcher: LauncherConfig) -> Iterator[ModuleType]:
    """Ray, connected to its cluster, or to one that is started here and ended again."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # A cluster that is started here yields to nobody, as `launcher=local` does; Ray's own is 15.
    os.environ.setdefault("RAY_worker_niceness", "0")
    try:
        import ray
    except ImportError as error:
        raise UserError(
            "launcher: ray: the package ray is not installed; pip install 'sdbatch[ray]'"
        ) from error
    address = launcher.address or os.environ.get("RAY_ADDRESS")
    if address and not _answers(address):
        raise UserError(f"launcher.address: {address}: no Ray cluster answers there")
    where = {"address": address} if address else {"include_dashboard": False}
    try:
        ray.init(**where, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
        raise UserError(f"launcher.address: {address}: {one_line(error)}") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _answers(address: str) -> bool:
    """Whether anybody listens there; Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not (colon and port.isdecimal()):
        return True  # a name such as auto
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except OSError:
        return False
    return True
