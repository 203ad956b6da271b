"""Which unit a worker gets next, and what a worker's death means. Decisions only, no processes.

A unit in hand when its worker dies is made again. The images that the worker had begun but not
written are suspects: next time each is made alone, so that a second death names one. An image that
two workers died on is given up: it gets a row that says so, and the job goes on.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from sdbatch.runner.messages import Assignment, Unit

DEATHS_OF_AN_IMAGE = 2
"""An image is given up when so many workers died on it."""
FAILURES_OF_A_UNIT = 3
"""A unit is given up, for this run, when it failed so often with no image to blame."""


@dataclass
class _History:
    """What is remembered of one unit that did not go well."""

    deaths: Counter[str] = field(default_factory=Counter)
    given_up: dict[str, str] = field(default_factory=dict)
    failures: int = 0


class Schedule:
    """The units that are still to be made, in order.

    `given_up` holds the units that failed too often, each with the last reason.
    """

    def __init__(self, units: Iterable[Unit]):
        self._todo = deque(units)
        self._histories: dict[str, _History] = {}
        self.given_up: dict[Unit, str] = {}

    @property
    def left(self) -> int:
        """Units that nobody has in hand."""
        return len(self._todo)

    def next(
        self, elsewhere: Collection[str], *, proven: bool, shared: bool = False
    ) -> Assignment | None:
        """The next unit, or None.

        Args:
            elsewhere: names of units that another runner seems to have in hand; they come last.
            proven, shared: see `Assignment`.
        """
        if not self._todo:
            return None
        position = next((n for n, u in enumerate(self._todo) if u.name not in elsewhere), 0)
        unit = self._todo[position]
        del self._todo[position]
        history = self._histories.get(unit.name, _History())
        return Assignment(
            unit,
            alone=frozenset(history.deaths.keys() - history.given_up.keys()),
            given_up=dict(history.given_up),
            proven=proven or unit.is_repair,
            shared=shared,
        )

    def add(self, unit: Unit) -> None:
        """One more to be made, after all others."""
        self._todo.append(unit)

    def returned(self, unit: Unit) -> None:
        """A unit comes back untouched, and is the next to be made."""
        self._todo.appendleft(unit)

    def failed(self, unit: Unit, why: str) -> None:
        """A unit could not be finished, and no image is to blame."""
        history = self._histories.setdefault(unit.name, _History())
        history.failures += 1
        if history.failures >= FAILURES_OF_A_UNIT:
            self.given_up[unit] = why
        else:
            self._todo.appendleft(unit)

    def died(self, unit: Unit, images: Collection[str], how: str) -> list[str]:
        """The worker that made this unit is dead.

        Args:
            unit: what it had in hand.
            images: those that it had begun and not written.
            how: what it died of, for the rows.

        Returns:
            The images that are given up from now on.
        """
        if not images:
            self.failed(unit, how)
            return []
        history = self._histories.setdefault(unit.name, _History())
        history.deaths.update(images)
        lost = [image for image in images if history.deaths[image] >= DEATHS_OF_AN_IMAGE]
        history.given_up.update(dict.fromkeys(lost, how))
        self._todo.appendleft(unit)
        return lost
