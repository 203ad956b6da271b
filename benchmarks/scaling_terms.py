"""What scaling.py is told (the work, the cluster, what its tasks do), and what it finds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Work:
    """What is to be made.

    Attributes:
        images: in all.
        shard_rows: rows of a shard.
        images_per_row: of each.
        seconds_per_image: the median, on a device of full speed.
    """

    images: int = 10_000_000
    shard_rows: int = 256
    images_per_row: int = 1
    seconds_per_image: float = 1.0

    def durations(self, spread: Sequence[float], dice: np.random.Generator) -> list[float]:
        """Seconds of each shard on a device of full speed.

        Args:
            spread: seconds over their median, of measured shards; each shard draws one.
            dice: drawn from.
        """
        full = self.shard_rows * self.images_per_row
        images = np.full(-(-self.images // full), full)
        images[-1] = self.images - full * (len(images) - 1)
        return (images * self.seconds_per_image * dice.choice(spread, len(images))).tolist()


@dataclass(frozen=True)
class Cluster:
    """Where. Delays are lognormal, moments of trouble memoryless.

    Attributes:
        tasks: with one device each.
        start_s: median delay before a task starts for the first time, in seconds.
        requeue_s: the same for each further time, from the moment that the scheduler knows.
        delay_sigma: of the logarithm of both.
        detect_s: until the scheduler knows that a machine is lost.
        load_s: from a task's start until its model is loaded.
        losses_per_hour: machines that vanish, of each running task.
        preemptions_per_hour: of each running task, with a warning.
        limit_s: of a task's time, from its start.
        warning_s: so long before the limit it is warned.
        grace_s: after a warning a shard is finished if the rest of it fits into so many seconds.
        slow_share: of the devices, 0 to 1.
        slow_factor: how much longer those take.
    """

    tasks: int = 1000
    start_s: float = 30.0
    requeue_s: float = 120.0
    delay_sigma: float = 0.8
    detect_s: float = 300.0
    load_s: float = 30.0
    losses_per_hour: float = 0.0
    preemptions_per_hour: float = 0.0
    limit_s: float = math.inf
    warning_s: float = 120.0
    grace_s: float = 100.0
    slow_share: float = 0.0
    slow_factor: float = 2.0


@dataclass(frozen=True)
class Policy:
    """What tasks do.

    Attributes:
        helps: make others' shards when its own are done.
        in_order: helpers take the first free shard, and not a random one.
        own_first: repeat own shards that others have in hand before helping, and not after.
        repeats: helpers that find nothing free make what one other has in hand once more.
        gives_up: an attempt is dropped at once when another at the same shard was faster.
        silent_s: lost machines' attempts count as in hand for so long.
        visible_s: until others see that a shard is in hand.
    """

    helps: bool = True
    in_order: bool = False
    own_first: bool = True
    repeats: bool = True
    gives_up: bool = True
    silent_s: float = 900.0
    visible_s: float = 2.0


@dataclass
class Account:
    """Where the time of all devices went, in seconds, from the beginning to the last task's end."""

    useful: float = 0.0
    lost: float = 0.0
    """In shards that were in hand when their task was lost or stopped."""
    twice: float = 0.0
    """In shards that another attempt finished first."""
    loading: float = 0.0
    away: float = 0.0
    """Between a task's asking for a device and its start."""
    idle: float = 0.0
    """After a task's end."""


@dataclass(frozen=True)
class Result:
    """What became of it; times in seconds from the beginning.

    Attributes:
        ideal_s: all work, shared evenly by devices that never wait.
        first_start_s: mean delay until a task could begin its first shard.
        last_shard_s: when every shard was there.
        end_s: when the last task ended.
        made_by: of each shard the task whose attempt won.
        helped: shards that were won by others than their owners.
        stops: losses, pre-emptions and time limits that hit a running task.
        listings: the most directory listings in a second.
        entries: the most entries that were listed in a second.
        all_entries: how many were listed in all.
        account: of all devices' time.
    """

    ideal_s: float
    first_start_s: float
    last_shard_s: float
    end_s: float
    made_by: Sequence[int]
    helped: int
    stops: int
    listings: int
    entries: int
    all_entries: int
    account: Account
