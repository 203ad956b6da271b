"""Stop on request: the first signal asks, the second ends the process at once."""

from __future__ import annotations

import os
import signal
import time
from types import FrameType

from sdbatch.errors import EXIT_INTERRUPTED

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class Interrupted(Exception):
    """The run was asked to stop and the shard in hand would not be done in time."""


class StopRequest:
    """Listens for SIGTERM, SIGINT and SIGUSR1 (Slurm's usual warning before the time limit)."""

    def __init__(self, grace_s: float):
        """After a signal, work that ends within `grace_s` seconds is still finished."""
        self._grace_s = grace_s
        self._since: float | None = None

    def listen(self) -> None:
        """Install the handlers. Call after Paddle's import, which installs its own."""
        for number in _SIGNALS:
            signal.signal(number, self._handle)

    @property
    def requested(self) -> bool:
        """Whether a signal has come."""
        return self._since is not None

    def check(self, seconds_needed: float) -> None:
        """Go on, unless a stop is requested and `seconds_needed` are more than are left.

        Raises:
            Interrupted: there is no time left for it.
        """
        if self._since is None:
            return
        left = self._grace_s - (time.monotonic() - self._since)
        if seconds_needed > left:
            raise Interrupted

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self._since is not None:
            os._exit(EXIT_INTERRUPTED)
        self._since = time.monotonic()
        name = signal.Signals(number).name
        os.write(2, f"\nsdbatch: {name}: stopping; once more to stop at once\n".encode())
