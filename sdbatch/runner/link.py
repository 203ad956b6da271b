"""A worker's side of the connection to its parent."""

from __future__ import annotations

import os
import queue
import threading
import time
from multiprocessing.connection import Connection
from typing import Any

from sdbatch.errors import EXIT_INTERRUPTED
from sdbatch.runner.interrupt import TimeLeft
from sdbatch.runner.messages import Assignment, Beat, NoMore, Stop

_BEAT_S = 1.0
_SOON_S = 0.1
_ENOUGH = 32


class Parent:
    """The other end: what it says is sorted into a queue, its death is ours.

    Attributes:
        assignments: units to be made; None at the end.
        time_left: limited once a stop is asked for.
    """

    def __init__(self, connection: Connection):
        self.assignments: queue.SimpleQueue[Assignment | None] = queue.SimpleQueue()
        self.time_left = TimeLeft()
        self._connection = connection
        self._sending = threading.Lock()
        self._beaten = self._sent = time.monotonic()
        self._put_off: list[Any] = []

    def listen(self) -> None:
        """Receive in a thread from now on."""
        threading.Thread(target=self._receive, name="receive", daemon=True).start()

    def send(self, message: Any) -> None:
        """Tell the parent, after all that was put off; without a parent the process ends."""
        with self._sending:
            self._put_off.append(message)
            self._flush()

    def send_soon(self, message: Any) -> None:
        """Tell the parent with the next message, or when there is enough to tell."""
        with self._sending:
            self._put_off.append(message)
            now = time.monotonic()
            if len(self._put_off) >= _ENOUGH or now - self._sent >= _SOON_S:
                self._flush()

    def _flush(self) -> None:
        # One message wakes the parent once, however much it tells.
        messages, self._put_off = self._put_off, []
        self._sent = time.monotonic()
        try:
            self._connection.send(messages)
        except OSError:
            os._exit(EXIT_INTERRUPTED)

    def beat(self) -> None:
        """Tell the parent now and then that work goes on."""
        now = time.monotonic()
        if now - self._beaten >= _BEAT_S:
            self._beaten = now
            self.send(Beat())

    def _receive(self) -> None:
        while True:
            try:
                message = self._connection.recv()
            except (EOFError, OSError):
                # Nobody would take what we make: another run may be making it already.
                os._exit(EXIT_INTERRUPTED)
            match message:
                case Assignment():
                    self.assignments.put(message)
                case NoMore():
                    self.assignments.put(None)
                case Stop(seconds):
                    self.time_left.limit(seconds)
                    self.assignments.put(None)
