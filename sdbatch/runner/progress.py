"""Progress on stderr: a tqdm bar on a terminal, else one plain line every 30 s."""

from __future__ import annotations

import logging
import sys
import time

from tqdm import tqdm

log = logging.getLogger("sdbatch")


class Progress:
    """Counts images; those of an earlier run are done from the start, but not in the rate."""

    def __init__(self, total: int, done: int, every_s: float = 30.0):
        self._total, self._done, self.earlier = total, done, done
        self._every_s = every_s
        self._start = self._last = time.monotonic()
        self._bar: tqdm | None = None

    def begin(self) -> None:
        """Work begins now."""
        self._start = self._last = time.monotonic()
        if sys.stderr.isatty():
            self._bar = tqdm(total=self._total, initial=self._done, unit="img", dynamic_ncols=True)

    @property
    def left(self) -> int:
        """Images that are not made yet."""
        return max(self._total - self._done, 0)

    @property
    def rate(self) -> float:
        """Images a second, of this run."""
        elapsed = time.monotonic() - self._start
        return (self._done - self.earlier) / elapsed if elapsed > 0 else 0.0

    def advance(self, images: int) -> None:
        """Some more images are made; fewer than none, if some must be made again."""
        self._done += images
        if self._bar is not None:
            self._bar.update(images)
        elif time.monotonic() - self._last >= self._every_s:
            self._last = time.monotonic()
            log.info("%s", self.line())

    def extend(self, images: int) -> None:
        """More images than were planned at first."""
        self._total += images
        if self._bar is not None:
            self._bar.total = self._total

    def line(self) -> str:
        """One line: images done, images a second, time left."""
        rate = self.rate
        left = _clock(self.left / rate) if rate > 0 else "?"
        return f"{self._done}/{self._total} images, {rate:.2f} images/s, {left} left"

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.close()


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
