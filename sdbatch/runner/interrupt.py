"""Stop on request: the first signal asks, the second (but SIGUSR1) ends everything at once.

The parent hears signals; workers ignore them, since a terminal sends Ctrl-C to both, and are told
by the parent how much time is left.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from types import FrameType

from sdbatch.errors import EXIT_INTERRUPTED

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class StopRequest:
    """Listens for SIGTERM, SIGINT and SIGUSR1 (Slurm's usual warning before the time limit)."""

    def __init__(self) -> None:
        self.requested = False
        self.at_once: Callable[[], None] = lambda: None
        """What the second signal does before the process ends."""

    def listen(self) -> None:
        """Install the handlers."""
        global _listening
        _listening = self
        for number in _SIGNALS:
            signal.signal(number, self._handle)

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self.requested and number == signal.SIGUSR1:
            return  # a warning, which a scheduler may give twice; impatience has other signals
        if self.requested:
            self.at_once()
            os._exit(EXIT_INTERRUPTED)
        self.requested = True
        name = signal.Signals(number).name
        os.write(2, f"\nsdbatch: {name}: stopping; once more to stop at once\n".encode())


_listening: StopRequest | None = None


def heard() -> bool:
    """Whether this process was asked to stop, by now or in an earlier run of it."""
    return _listening is not None and _listening.requested


def ignore_signals() -> None:
    """For workers; to be called again after Paddle's import, which installs its own handlers."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


class Interrupted(Exception):
    """The worker was asked to stop, and what is in hand would not be done in time."""


class TimeLeft:
    """How long a worker may go on: forever, until it is told otherwise."""

    def __init__(self) -> None:
        self._until = float("inf")

    def limit(self, seconds: float) -> None:
        """From now on there are so many seconds left, or fewer."""
        self._until = min(self._until, time.monotonic() + seconds)

    @property
    def limited(self) -> bool:
        """Whether a stop was asked for."""
        return self._until < float("inf")

    def check(self, seconds_needed: float) -> None:
        """Go on, unless `seconds_needed` are more than are left.

        Raises:
            Interrupted: there is no time left for it.
        """
        if self.limited and time.monotonic() + seconds_needed > self._until:
            raise Interrupted
