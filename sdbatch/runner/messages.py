"""What the parent and its workers tell each other, one pickled dataclass a message."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Unit:
    """A piece of work that appears whole or not at all: a shard, or a repair of one.

    `name` is that of its folder: `00042`, or `00042.r1` for the rows of shard 42 that have no
    picture.
    """

    shard: int
    name: str

    @property
    def is_repair(self) -> bool:
        """Whether only rows without a picture are made again."""
        return ".r" in self.name


# To a worker ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Assignment:
    """Make a unit.

    Attributes:
        unit: what.
        alone: images that were in hand when a worker died: each is made and written by itself.
        given_up: images that are not tried any more, and why.
        proven: a picture was made in this run already, so that a shard without any is the rows'
            fault.
        shared: another task may make it as well; whoever is later drops it.
    """

    unit: Unit
    alone: frozenset[str] = frozenset()
    given_up: Mapping[str, str] = field(default_factory=dict)
    proven: bool = False
    shared: bool = False


@dataclass(frozen=True)
class NoMore:
    """There is nothing left to begin: finish what is in hand and end."""


@dataclass(frozen=True)
class Stop:
    """End within so many seconds: finish the micro-batch, and the shard if it fits."""

    seconds: float


# From a worker -------------------------------------------------------------------------------

EXIT_DEVICE_LOST = 70
"""What a worker exits with when its device is in a state that no other picture would survive."""


@dataclass(frozen=True)
class Ready:
    """The model is loaded."""

    seconds: float


@dataclass(frozen=True)
class Refused:
    """The job cannot be done, and it is the user's to mend."""

    text: str


@dataclass(frozen=True)
class Wanting:
    """The last micro-batch in hand has begun: time for the next unit."""


@dataclass(frozen=True)
class Started:
    """These images are in hand from now on."""

    unit: Unit
    images: tuple[str, ...]


@dataclass(frozen=True)
class Written:
    """This image has an outcome; `bytes` is the size of its file, 0 for none."""

    unit: Unit
    image: str
    status: str
    bytes: int


@dataclass(frozen=True)
class Committed:
    """The unit is on disk: ours, or (`won` false) another runner's who was faster."""

    unit: Unit
    won: bool
    record: Mapping[str, Any]


@dataclass(frozen=True)
class Dropped:
    """The unit is given back: there was no time left for it."""

    unit: Unit


@dataclass(frozen=True)
class Overtaken:
    """Another task has made the unit; ours was dropped."""

    unit: Unit


@dataclass(frozen=True)
class UnitFailed:
    """The unit could not be finished; nothing of it is left.

    `kind` is `full` (no room on the disk), `gone` (the dataset folder is), `hopeless` (every image
    failed and none was made yet) or `error`.
    """

    unit: Unit
    kind: str
    text: str


@dataclass(frozen=True)
class Said:
    """A line for the log."""

    level: int
    text: str


@dataclass(frozen=True)
class Beat:
    """Work goes on."""
