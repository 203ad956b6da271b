"""What is still to be made, as the folder tells: shards not there, and rows without a picture."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdbatch.dataset.shard import DamagedShard, ShardStore
from sdbatch.runner.messages import Unit
from sdbatch.runner.units import units_left
from tests.dataset.making import a_plan, begin, make

PLAN = a_plan(rows=7, shard_size=2)
OK = {"0-000": "ok", "1-000": "ok"}
MIXED = {"0-000": "ok", "1-000": "failed"}


def names(store, **options) -> list[str]:
    units = units_left(PLAN, store, **options)
    assert all(unit.name.startswith(PLAN.shard_name(unit.shard)) for unit in units)
    return [unit.name for unit in units]


def test_at_first_every_shard(tmp_path):
    assert units_left(PLAN, begin(tmp_path, PLAN)) == [Unit(n, f"0000{n}") for n in range(4)]


def test_a_dataset_that_was_not_begun_is_as_empty_as_one(tmp_path):
    assert len(names(ShardStore(tmp_path / "new"), retry_failed=True)) == 4


def test_rows_without_a_picture_only_where_they_are_asked_for(tmp_path):
    store = begin(tmp_path, PLAN)
    make(store, "00000", OK)
    make(store, "00002", MIXED)
    assert names(store) == ["00001", "00003"]
    assert names(store, retry_failed=True) == ["00001", "00003", "00002.r1"]


def test_repairs_go_on_until_every_row_has_a_picture(tmp_path):
    store = begin(tmp_path, PLAN)
    make(store, "00001", {"2-000": "nan", "3-000": "oom"})
    numbers = []
    for outcome in ({"2-000": "ok", "3-000": "oom"}, {"3-000": "failed"}, {"3-000": "ok"}):
        numbers.append(names(store, retry_failed=True)[-1])
        make(store, numbers[-1], outcome)
    assert numbers == ["00001.r1", "00001.r2", "00001.r3"]
    assert names(store, retry_failed=True) == ["00000", "00002", "00003"]


def test_pictures_that_were_dropped_for_what_they_show_are_not_tried_again(tmp_path):
    store = begin(tmp_path, PLAN)
    make(store, "00000", {"0-000": "unsafe", "1-000": "ok"})
    make(store, "00001", {"2-000": "unsafe", "3-000": "oom"})
    assert names(store, retry_failed=True) == ["00002", "00003", "00001.r1"]
    make(store, "00001.r1", {"3-000": "ok"})
    assert names(store, retry_failed=True) == ["00002", "00003"]


def test_a_damaged_shard_is_the_users_to_mend(tmp_path):
    store = begin(tmp_path, PLAN)
    make(store, "00000", MIXED)
    (tmp_path / "shards" / "00000" / "metadata.parquet").write_bytes(b"")
    assert names(store) == ["00001", "00002", "00003"]  # nothing of it is read
    with pytest.raises(DamagedShard):
        units_left(PLAN, store, retry_failed=True)


statuses = st.sampled_from(["ok", "failed", "blank"])


@settings(deadline=None, max_examples=40)
@given(
    shards=st.lists(st.none() | st.tuples(statuses, statuses), min_size=4, max_size=4),
    repairs=st.lists(st.integers(0, 3), max_size=4),
    data=st.data(),
)
def test_nothing_is_forgotten_and_nothing_made_twice(shards, repairs, data):
    """Whatever shards and repairs are there: a model of which rows have a picture agrees."""
    with TemporaryDirectory() as folder:
        store = begin(Path(folder), PLAN)
        without, count = {}, {}
        for number, outcomes in enumerate(shards):
            if outcomes is not None:
                rows = {f"{2 * number + n}-000": status for n, status in enumerate(outcomes)}
                make(store, f"{number:05d}", rows)
                without[number] = {row for row, status in rows.items() if status != "ok"}
        for number in repairs:
            if without.get(number):
                rows = {row: data.draw(statuses) for row in sorted(without[number])}
                count[number] = count.get(number, 0) + 1
                make(store, f"{number:05d}.r{count[number]}", rows)
                without[number] = {row for row, status in rows.items() if status != "ok"}
        missing = [f"{n:05d}" for n in range(4) if shards[n] is None]
        failed = [f"{n:05d}.r{count.get(n, 0) + 1}" for n in sorted(without) if without[n]]
        assert names(store) == missing
        assert names(store, retry_failed=True) == missing + failed
