"""What is still to be made of a dataset, as its folder tells."""

from __future__ import annotations

from collections.abc import Sequence

from sdbatch.dataset.schema import SETTLED
from sdbatch.dataset.shard import ShardStore
from sdbatch.plan import Plan
from sdbatch.runner.messages import Unit


def units_left(plan: Plan, store: ShardStore, *, retry_failed: bool = False) -> list[Unit]:
    """Shards that are not there, in order; one directory listing, whatever their number.

    Args:
        plan: of the dataset.
        store: its folder.
        retry_failed: also the next repair of every shard that has rows without a picture; to find
            them, each shard's record is read.

    Raises:
        DamagedShard: a finished shard cannot be read.
    """
    done = store.done()
    names = map(plan.shard_name, range(plan.shards))
    left = [Unit(shard, name) for shard, name in enumerate(names) if name not in done]
    return left + (_repairs(plan, store, done) if retry_failed else [])


def _repairs(plan: Plan, store: ShardStore, done: set[str]) -> list[Unit]:
    repairs, units = store.repairs_by_shard(), []
    for shard in range(plan.shards):
        name = plan.shard_name(shard)
        if name not in done or SETTLED.issuperset(store.read_record(name).get("counts", "?")):
            continue
        earlier = repairs.get(name, [])
        if _has_failures(store, name, earlier):
            number = int(earlier[-1].rpartition(".r")[2]) + 1 if earlier else 1
            units.append(Unit(shard, f"{name}.r{number}"))
    return units


def _has_failures(store: ShardStore, name: str, repairs: Sequence[str]) -> bool:
    statuses = store.current(name, repairs).column("status").to_pylist()
    return not SETTLED.issuperset(statuses)
