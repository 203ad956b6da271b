"""A dataset that is there, as `run.json` tells of it; for commands that only know its folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sdbatch.dataset.shard import ShardStore
from sdbatch.errors import UserError
from sdbatch.plan import Plan
from sdbatch.run_record import read_run, recorded_plan


def open_dataset(folder: Path) -> tuple[ShardStore, Plan]:
    """The shards of a dataset and its plan.

    Raises:
        UserError: the folder is not a dataset, or is one of another version.
    """
    record = read_run(folder)
    if record is None:
        raise UserError(f"{folder}: not a dataset: expected a folder with a run.json")
    return ShardStore(folder), recorded_plan(record, folder / "run.json")


def shard_names(plan: Plan) -> list[str]:
    """Names of all planned shards, in plan order."""
    return [plan.shard_name(shard) for shard in range(plan.shards)]


def listed(names: Sequence[str]) -> str:
    """The first five names, for a message."""
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
