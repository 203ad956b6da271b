"""The worker processes: started, listened to, ended. What they shall do is decided elsewhere."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from sdbatch.engine.device import Device
from sdbatch.runner.batches import Engine
from sdbatch.runner.messages import EXIT_DEVICE_LOST, NoMore, Stop
from sdbatch.runner.prepare import Job

log = logging.getLogger("sdbatch")


@dataclass(frozen=True)
class Died:
    """A worker's process has ended; `how` says by what, `words` is the last line it printed."""

    how: str
    words: str

    def __str__(self) -> str:
        return f"{self.how} (its last line: {self.words})" if self.words else self.how


class WorkerProcess:
    """One spawned worker, and what is known of it.

    Attributes:
        number: its place among the workers; a replacement has the same.
        sign: when it was last heard of (monotonic seconds).
        ready: its model is loaded.
        wanting: it could take another unit.
        ending: it was told that no more will come.
    """

    def __init__(
        self,
        number: int,
        device: Device,
        job: Job,
        load: Callable[[Job, Device], Engine],
    ):
        self.number, self.device = number, device
        self.sign = time.monotonic()
        self.ready = self.wanting = self.ending = False
        self._killed_for: str | None = None
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sdbatch.runner.worker", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=device.environment(dict(os.environ)),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        self.connection = Connection(ours.detach())
        self._words: deque[str] = deque(maxlen=50)
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        self.send((number, device))
        self.send((job, load))

    def send(self, message: Any) -> None:
        """Tell the worker; that it died meanwhile is learned when it is listened to."""
        try:
            self.connection.send(message)
        except OSError:
            log.debug("worker %d: did not take %s", self.number, type(message).__name__)

    def end(self) -> None:
        """No more units will come; one still loading has nothing to finish."""
        if self.ending:
            return
        self.ending = True
        if self.ready:
            self.send(NoMore())
        else:
            self.kill("nothing was left for it to do")

    def kill(self, why: str) -> None:
        """End the process at once."""
        self._killed_for = why
        self.process.kill()

    def bury(self) -> Died:
        """Wait for the process, whose connection is closed, and say how it ended."""
        self.connection.close()
        try:
            code = self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.kill("it closed its connection and did not end")
            code = self.process.wait()
        self._listener.join(timeout=5)
        return Died(self._killed_for or _cause(code), self._words[-1] if self._words else "")

    def _listen(self) -> None:
        """What libraries print goes to the log file, and the last line is kept."""
        for line in self.process.stdout:
            text = line.decode(errors="replace").rstrip()
            if text:
                self._words.append(text)
                log.debug("worker %d printed: %s", self.number, text)


class Pool:
    """Workers, one for each device, replaced on request.

    Args:
        job: what all of them work on.
        devices: one for each.
        load: makes a worker's engine, in its process; a function that can be pickled.
    """

    def __init__(self, job: Job, devices: Sequence[Device], load: Callable[[Job, Device], Engine]):
        self._job, self._load = job, load
        self.workers = [WorkerProcess(n, d, job, load) for n, d in enumerate(devices)]

    def receive(self, timeout: float) -> Iterator[tuple[WorkerProcess, Any]]:
        """Messages that have come, or come within `timeout` seconds; a dead worker's last is
        `Died`, and it is no longer among `workers`."""
        by_connection = {worker.connection: worker for worker in self.workers}
        for connection in wait(list(by_connection), timeout):
            worker = by_connection[connection]
            worker.sign = time.monotonic()
            try:
                for message in connection.recv():
                    yield worker, message
            except (EOFError, OSError):
                self.workers.remove(worker)
                yield worker, worker.bury()

    def replace(self, worker: WorkerProcess) -> None:
        """Start another worker in the place of a dead one."""
        self.workers.append(WorkerProcess(worker.number, worker.device, self._job, self._load))

    def stop(self, seconds: float) -> None:
        """Ask workers to end within so many seconds; one still loading has nothing to finish."""
        for worker in self.workers:
            if worker.ready:
                worker.send(Stop(seconds))
            else:
                worker.kill("it was stopped while loading")

    def kill(self) -> None:
        """End all workers at once."""
        for worker in self.workers:
            worker.kill("the run was ended")


def _cause(code: int) -> str:
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    if code == EXIT_DEVICE_LOST:
        return "it lost its device"
    return f"it exited with code {code}"
