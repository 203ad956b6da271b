"""The dataset folder of a simulated cluster, as tasks see it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field


@dataclass
class Folder:
    """The dataset folder as tasks see it.

    Attributes:
        free: shards that are neither done nor seen in hand, in no order.
        place: of each shard in `free`, or -1.
        made_by: of each shard, or -1.
        in_hand: running attempts at each shard that has one: the tasks.
        left_behind: when the last attempt of a lost machine went silent, of shards that have one.
    """

    shards: int
    free: list[int] = field(init=False)
    place: list[int] = field(init=False)
    made_by: list[int] = field(init=False)
    in_hand: dict[int, set[int]] = field(default_factory=dict)
    left_behind: dict[int, float] = field(default_factory=dict)
    _begun: deque[tuple[float, int]] = field(default_factory=deque)
    _first: int = 0

    def __post_init__(self) -> None:
        self.free, self.place = list(range(self.shards)), list(range(self.shards))
        self.made_by = [-1] * self.shards

    def begin(self, shard: int, task: int, seen_at: float) -> None:
        """An attempt begins; others see it from `seen_at` on."""
        self.in_hand.setdefault(shard, set()).add(task)
        self._begun.append((seen_at, shard))

    def see(self, now: float) -> None:
        """Attempts that began long enough ago come into sight."""
        while self._begun and self._begun[0][0] <= now:
            shard = self._begun.popleft()[1]
            if shard in self.in_hand or shard in self.left_behind:
                self._take(shard)

    def leave(self, shard: int, task: int) -> None:
        """An attempt is over; its folder is gone unless it is left behind."""
        tasks = self.in_hand[shard]
        tasks.remove(task)
        if not tasks:
            del self.in_hand[shard]
            untouched = shard not in self.left_behind and self.made_by[shard] < 0
            if untouched and self.place[shard] < 0:
                self.place[shard] = len(self.free)
                self.free.append(shard)
                self._first = min(self._first, shard)

    def finish(self, shard: int, task: int) -> None:
        """An attempt is the first to finish the shard."""
        self.made_by[shard] = task
        self.left_behind.pop(shard, None)
        self._take(shard)

    def first_free(self) -> int:
        """The lowest number of `free`, which must not be empty."""
        while self.place[self._first] < 0:
            self._first += 1
        return self._first

    def _take(self, shard: int) -> None:
        place = self.place[shard]
        if place >= 0:
            last = self.free.pop()
            if last != shard:
                self.free[place], self.place[last] = last, place
            self.place[shard] = -1
