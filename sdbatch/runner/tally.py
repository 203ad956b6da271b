"""What came in so far: counts for the progress line, the metrics and the check of disk space."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from sdbatch.dataset.work import WorkDone
from sdbatch.runner.messages import Unit
from sdbatch.runner.progress import Progress


class Tally:
    """Counts of this run.

    Args:
        progress: is told of every image.
        shards_done: before this run.
        estimate: how many images a unit has, more or less.

    Attributes:
        statuses: images by outcome, in units that may still be lost.
        files, bytes: of images written, also of those that were lost again.
        proven: a picture was made.
        restarts: workers that were replaced.
        work: what committed units took.
        shards_done: now.
        last_image_at: Unix time.
    """

    def __init__(
        self,
        progress: Progress,
        shards_done: int,
        estimate: Callable[[Unit], int] = lambda unit: 0,
    ):
        self._progress, self._estimate = progress, estimate
        self._units: dict[str, dict[str, str]] = defaultdict(dict)
        self._counts: dict[str, int] = {}
        self.statuses: Counter[str] = Counter()
        self.files = self.bytes = self.restarts = 0
        self.proven = False
        self.work = WorkDone()
        self.shards_done = shards_done
        self.last_image_at: float | None = None

    @property
    def images_left(self) -> int:
        """Planned images that have no outcome yet."""
        return self._progress.left

    @property
    def earlier(self) -> int:
        """Images of finished shards when this run began."""
        return self._progress.earlier

    @property
    def rate(self) -> float:
        """Images a second, of this run."""
        return self._progress.rate

    def written(self, unit: Unit, image: str, status: str, size: int) -> None:
        """An image has an outcome."""
        self._units[unit.name][image] = status
        self.statuses[status] += 1
        self.proven = self.proven or status == "ok"
        if size:
            self.files += 1
            self.bytes += size
            self.last_image_at = time.time()
        self._advance(unit, 1)

    def committed(self, unit: Unit, record: Mapping[str, Any]) -> None:
        """A unit is on disk."""
        self._counts[unit.name] = len(self._units.pop(unit.name, {}))
        self.work.add(record, is_repair=unit.is_repair)
        self.shards_done += not unit.is_repair

    def images_of(self, unit: Unit) -> int:
        """Images of the unit that was committed last under this name."""
        return self._counts.pop(unit.name, 0)

    def lost(self, unit: Unit) -> None:
        """A unit's images must be made again."""
        images = self._units.pop(unit.name, {})
        self.statuses.subtract(images.values())
        self._advance(unit, -len(images))

    def more(self, unit: Unit) -> None:
        """A unit joins those that this run set out to make."""
        self._progress.extend(self._estimate(unit))

    def elsewhere(self, unit: Unit) -> None:
        """Another runner made the unit."""
        self.shards_done += not unit.is_repair
        self._advance(unit, self._estimate(unit))

    def _advance(self, unit: Unit, images: int) -> None:
        """Images that are repaired have counted already when their shard was made."""
        if not unit.is_repair:
            self._progress.advance(images)
