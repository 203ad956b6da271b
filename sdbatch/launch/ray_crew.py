"""The tasks of a launch as Ray actors: started, watched, started again, told to stop.

Imported only where Ray is installed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError

from sdbatch.errors import EXIT_DONE, EXIT_INTERRUPTED, EXIT_SOME_FAILED, one_line
from sdbatch.launch import ray_task
from sdbatch.launch.ray_cluster import Needs

log = logging.getLogger("sdbatch")

_LISTEN_S = 0.5
_LONGEST_PAUSE_S = 60.0


@dataclass
class _Member:
    """A task. Without an actor it waits for its moment; with one, for room until it has begun."""

    index: int
    actor: Any = None
    node: Any = None
    ended: Any = None
    begun: bool = False
    again: int = 0
    not_before: float = 0.0
    over: bool = False


class Crew:
    """All tasks of a launch.

    Attributes:
        refusal: what the task that refused said; None if none did.
        given_up: what the tasks that ended too often said last.
        stopped: whether they were told to stop before they were done.
    """

    def __init__(
        self,
        tasks: int,
        needs: Needs,
        arguments: Callable[[int], tuple],
        max_again: int,
        stop_s: float,
    ):
        """Nothing runs yet.

        Args:
            tasks: how many.
            needs: of each.
            arguments: of the `TaskProcess` of a task.
            max_again: how often a task is started again.
            stop_s: seconds that a task has to end in when it is told to stop.
        """
        ray.cloudpickle.register_pickle_by_value(ray_task)
        self._actor = ray.remote(ray_task.TaskProcess).options(
            num_cpus=needs.cpus, num_gpus=needs.gpus, memory=needs.memory, max_concurrency=2
        )
        self._members = [_Member(index) for index in range(tasks)]
        self._arguments, self._max_again, self._stop_s = arguments, max_again, stop_s
        self.refusal: str | None = None
        self.given_up: dict[int, str] = {}
        self.stopped = False

    def work(self) -> bool:
        """Start what is to be started, and listen for a moment; False: all tasks are over."""
        for member in self._left():
            if member.actor is None and time.monotonic() >= member.not_before:
                self._start(member)
        self._listen()
        return bool(self._left())

    def stop(self) -> None:
        """Let the tasks end in order; none is started any more."""
        if self.stopped:
            return
        self.stopped = True
        self._see_who_has_begun()
        for member in self._left():
            if member.begun:
                member.actor.stop.remote(self._stop_s)
        self.dismiss_waiting()

    def dismiss_waiting(self) -> None:
        """Tasks that have not begun, or that wait to begin again, are over."""
        for member in self._left():
            if not member.begun:
                self._release(member)
                member.over = True

    def running(self) -> int:
        """How many tasks have begun and not ended."""
        return sum(member.begun for member in self._left())

    def waiting(self) -> int:
        """How many wait for room in the cluster, or to begin again."""
        return sum(not member.begun for member in self._left())

    def _left(self) -> list[_Member]:
        return [member for member in self._members if not member.over]

    def _start(self, member: _Member) -> None:
        member.actor = self._actor.remote(*self._arguments(member.index))
        member.node = member.actor.node.remote()
        member.ended = member.actor.run.remote()

    def _listen(self) -> None:
        refs = {member.ended: member for member in self._left() if member.actor is not None}
        if not refs:
            time.sleep(_LISTEN_S)
            return
        ended, _ = ray.wait(list(refs), timeout=_LISTEN_S)
        self._see_who_has_begun()
        for ref in ended:
            self._end(refs[ref])

    def _see_who_has_begun(self) -> None:
        refs = {
            member.node: member
            for member in self._left()
            if member.actor is not None and not member.begun
        }
        if not refs:
            return
        known, _ = ray.wait(list(refs), num_returns=len(refs), timeout=0)
        for ref in known:
            member = refs[ref]
            try:
                log.info("task %d runs on %s", member.index, ray.get(ref))
            except RayError:
                continue  # it has ended as well
            member.begun = True

    def _end(self, member: _Member) -> None:
        try:
            code, words = ray.get(member.ended)
        except RayError as error:
            code, words = None, _cause(error)
        self._release(member)
        if self.stopped or code in (EXIT_DONE, EXIT_SOME_FAILED):
            member.over = True
        elif code is None or code == EXIT_INTERRUPTED or code < 0:
            why = f"killed by signal {-code}" if code is not None and code < 0 else words
            self._again(member, why)
        else:
            member.over = True
            self.refusal = f"task {member.index}: {words}"
            self.stop()

    def _again(self, member: _Member, why: str) -> None:
        if member.again >= self._max_again:
            member.over = True
            self.given_up[member.index] = why
            log.warning("task %d: %s; it is not started again", member.index, why)
            return
        # What ends at once will do so again: a full disk, a node that is not well.
        pause_s = min(2.0 ** (member.again - 1), _LONGEST_PAUSE_S) if member.again else 0.0
        member.again += 1
        member.not_before = time.monotonic() + pause_s
        log.warning(
            "task %d: %s; it is started again (%d of %d times)",
            member.index, why, member.again, self._max_again,
        )  # fmt: skip

    def _release(self, member: _Member) -> None:
        """Give back what Ray holds for it; a process that is still there dies with its actor."""
        if member.actor is not None:
            ray.kill(member.actor)
        member.actor = member.node = member.ended = None
        member.begun = False


def _cause(error: RayError) -> str:
    """The line of Ray's several that says what happened."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return one_line(next((line for line in lines if "because" in line), lines[0]))
