"""Rows that were tried again take the place of those they mend.

shards/00042/       every row of the shard
repairs/00042.r1/   rows of it that had no picture, tried again; .r2 those still without, ...
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import pyarrow as pa

_NAME = re.compile(r"(\d+)\.r([1-9]\d*)")


def is_repair(name: str) -> bool:
    """Whether a folder's name is that of a repair, not of a shard."""
    return _NAME.fullmatch(name) is not None


def by_shard(names: Iterable[str]) -> dict[str, list[str]]:
    """Names of repairs by the shard they belong to, in the order in which they were begun.

    Names that are not those of repairs are left out.
    """
    numbers: dict[str, list[int]] = {}
    for name in names:
        if match := _NAME.fullmatch(name):
            numbers.setdefault(match[1], []).append(int(match[2]))
    return {
        shard: [f"{shard}.r{number}" for number in sorted(found)]
        for shard, found in sorted(numbers.items())
    }


def repaired(shard: pa.Table, repairs: Sequence[pa.Table]) -> pa.Table:
    """The shard's rows in order: of each image the latest success, else the latest attempt.

    Args:
        shard: metadata of the whole shard.
        repairs: metadata of its repairs, in order, with the same columns.
    """
    if not repairs or not shard.num_rows:
        return shard
    tables = [shard, *repairs]
    best: dict[str, tuple[int, int]] = {}
    succeeded: set[str] = set()
    for number, table in enumerate(tables):
        names, statuses = (table.column(name).to_pylist() for name in ("image_id", "status"))
        for row, (image_id, status) in enumerate(zip(names, statuses, strict=True)):
            if status == "ok" or image_id not in succeeded:
                best[image_id] = (number, row)
            if status == "ok":
                succeeded.add(image_id)
    places = [best[image_id] for image_id in shard.column("image_id").to_pylist()]
    # Slices, because `take` does not know every type that a user's own columns may have.
    return pa.concat_tables([tables[number].slice(*span) for number, *span in _runs(places)])


def _runs(places: Iterable[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """(table, first row, rows) for each run of rows that stand together in one table."""
    runs: list[tuple[int, int, int]] = []
    for number, row in places:
        if runs and (number, row) == (runs[-1][0], runs[-1][1] + runs[-1][2]):
            runs[-1] = (number, runs[-1][1], runs[-1][2] + 1)
        else:
            runs.append((number, row, 1))
    return runs
