"""What a task can do when its own share is done: make what nobody has in hand, or just one other.

At the very end all wait for a shard in slow hands, or in those of a machine that is lost; so it is
made twice, and whoever is later drops it (docs/scaling.md has what that is worth).

Best effort. That every shard is made is never helpers' business: each has an owner, who makes it
unless it is there.
"""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass, field

from sdbatch.dataset.shard import ShardStore
from sdbatch.plan import Plan
from sdbatch.runner.messages import Unit
from sdbatch.runner.share import Share
from sdbatch.runner.units import units_left

SILENT_S = 900.0
"""An attempt that shows no new file for so long is taken for a dead machine's."""


@dataclass(frozen=True)
class Helper:
    """Finds shards that somebody else owns, and that nobody makes now.

    Attributes:
        plan, store: of the dataset.
        share: whose work is done.
        dice: helpers that looked in the same order would all begin the same shard.
    """

    plan: Plan
    store: ShardStore
    share: Share
    dice: random.Random = field(default_factory=random.Random)

    def find(self, known: Collection[str]) -> Unit | None:
        """A shard to be made, or None; by two directory listings.

        Repairs are left to their owners: a row that fails again would be repaired for ever.

        Args:
            known: names of those that this task has in hand, or has tried already.
        """
        left = [
            unit
            for unit in units_left(self.plan, self.store)
            if self.share.asked_for(unit) and unit.name not in known
        ]
        if not left:
            return None
        claimed = self.store.claimed()
        wanted = [unit for unit in left if not claimed[unit.name]]
        if not wanted:
            claimed = self.store.claimed(silent_s=SILENT_S)
            fewest = min(claimed[unit.name] for unit in left)
            wanted = [unit for unit in left if claimed[unit.name] == fewest < 2]
        return self.dice.choice(wanted) if wanted else None
