"""How many job arrays the tasks of one launch need, and how many of each may run at once."""

from __future__ import annotations

from dataclasses import dataclass

from sdbatch.errors import UserError


@dataclass(frozen=True)
class Slice:
    """Tasks that one array runs: `tasks` of them from number `first` on, `parallel` at once.

    `parallel` None: as many as the cluster likes.
    """

    first: int
    tasks: int
    parallel: int | None


def split(tasks: int, max_parallel: int | None, max_array_size: int) -> list[Slice]:
    """The fewest arrays of even length, with the limit divided among them.

    Args:
        tasks: of the launch, 1 or more.
        max_parallel: how many may run at once in all.
        max_array_size: the cluster's MaxArraySize: indices are below it.

    Raises:
        UserError: the cluster has no arrays, or the limit cannot be divided.
    """
    if max_array_size < 1:
        raise UserError("launcher: slurm: this cluster takes no job arrays (MaxArraySize is 0)")
    count = -(-tasks // max_array_size)
    if max_parallel is not None and max_parallel < count:
        raise UserError(
            f"launcher.max_parallel: {max_parallel}: {tasks} tasks need {count} arrays here "
            f"(MaxArraySize {max_array_size}), each of which runs a task at least; expected "
            f"{count} or more, or fewer launcher.tasks"
        )
    slices, first = [], 0
    for size, parallel in zip(_even(tasks, count), _even(max_parallel or 0, count), strict=True):
        slices.append(Slice(first, size, min(parallel, size) or None))
        first += size
    return slices


def _even(whole: int, parts: int) -> list[int]:
    """Whole numbers that differ by one at most, the larger ones first."""
    return [whole // parts + (part < whole % parts) for part in range(parts)]
