"""Where the time goes, stage by stage; and a sign at every step that work goes on."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock


class Stopwatch:
    """Seconds by stage; several threads may add to it.

    Args:
        on_tick: called at every sign of progress.
    """

    def __init__(self, on_tick: Callable[[], None] = lambda: None):
        self.tick = on_tick
        self._seconds: dict[str, float] = defaultdict(float)
        self._lock = Lock()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time of the block, whether it fails or not."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.add(name, time.monotonic() - started)

    def add(self, name: str, seconds: float) -> None:
        """Count time that was measured elsewhere."""
        with self._lock:
            self._seconds[name] += seconds

    @property
    def seconds(self) -> dict[str, float]:
        """What was counted so far, by stage."""
        with self._lock:
            return dict(self._seconds)
