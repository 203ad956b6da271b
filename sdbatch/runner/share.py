"""Which shards are one task's, where several tasks make a dataset together.

A fixed stride: task i of n has the i-th, (i + n)-th, ... of the shards to be made. No task needs
to know which others there are, or whether they run.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from sdbatch.runner.messages import Unit


@dataclass(frozen=True)
class Share:
    """One task's part of the work.

    Attributes:
        index: of the task, from 0.
        count: of tasks.
        todo: numbers of the shards to be made, ascending, as they were when the tasks were planned;
            None: all shards. It is not looked up again, for a task that starts later would find
            fewer, and stride over them otherwise.
    """

    index: int
    count: int
    todo: Sequence[int] | None = None

    def owns(self, unit: Unit) -> bool:
        """Whether the unit, of a shard that is to be made, is this task's."""
        return owner(unit.shard, self.count, self.todo) == self.index

    def asked_for(self, unit: Unit) -> bool:
        """Whether the unit's shard is any task's."""
        return owner(unit.shard, self.count, self.todo) is not None


def owner(shard: int, count: int, todo: Sequence[int] | None) -> int | None:
    """The task that has a shard in its share; None: nobody was asked for it.

    Args:
        shard: its number.
        count, todo: see `Share`.
    """
    if todo is None:
        return shard % count
    place = bisect_left(todo, shard)
    return place % count if place < len(todo) and todo[place] == shard else None
