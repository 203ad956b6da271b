"""How far a dataset is, from what is on its disk."""

import json
import os
import shutil
from collections import Counter
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdbatch.dataset.merge import merge
from sdbatch.dataset.shard import DamagedShard
from sdbatch.dataset.status import SlowShard, collect
from sdbatch.errors import UserError
from tests.dataset.making import a_plan, begin, make, make_all

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
OUTCOMES = st.sampled_from(["ok", "failed", "nan", "blank", "oom"])


@pytest.fixture
def store(tmp_path):
    return begin(tmp_path / "dataset")


def span(start_s: float, seconds: float) -> dict:
    """What a record tells of a shard that began so many seconds after noon."""
    started = NOON + timedelta(seconds=start_s)
    return {
        "started_at": started.isoformat(timespec="seconds"),
        "finished_at": (started + timedelta(seconds=seconds)).isoformat(timespec="seconds"),
        "seconds": float(seconds),
    }


def ids(shard: int, images: int = 4) -> list[str]:
    return [f"{row}-000" for row in range(4 * shard, 4 * shard + images)]


@st.composite
def chains(draw) -> list[dict[str, str]]:
    """Outcomes of a shard, and of repairs that try some of what has no picture, or all of it."""
    chain = [draw(st.fixed_dictionaries(dict.fromkeys(ids(0), OUTCOMES)))]
    without = set(ids(0))
    for _ in range(draw(st.integers(0, 3))):
        without -= {name for name, status in chain[-1].items() if status == "ok"}
        tried = without and draw(st.sets(st.sampled_from(sorted(without)), min_size=1))
        if tried:
            chain.append({name: draw(OUTCOMES) for name in sorted(tried)})
    return chain


class TestProgress:
    def test_of_a_dataset_that_was_only_begun(self, store):
        status = collect(store.folder)
        assert (status.planned, status.images_done, status.counts) == (10, 0, {})
        assert (status.shards, status.shards_done) == (3, 0)
        assert (status.rate, status.seconds_left, status.last_finished_at) == (None, None, None)
        assert (status.slowest, status.unfinished, status.merged) == ((), (), False)
        assert not status.done and not status.all_ok

    def test_half_way(self, store):
        make(store, "00001", dict.fromkeys(ids(1), "ok") | {"5-000": "failed"})
        status = collect(store.folder)
        assert (status.images_done, status.shards_done) == (4, 1)
        assert status.counts == {"ok": 3, "failed": 1}
        assert status.errors == {"BadImage": 1}
        assert not status.done

    def test_at_the_end(self, store):
        make_all(store, a_plan(), ["ok"] * 10)
        status = collect(store.folder)
        assert status.done and status.all_ok and not status.merged
        merge(store, a_plan())
        assert collect(store.folder).merged

    def test_at_the_end_with_failures(self, store):
        make_all(store, a_plan(), ["ok"] * 9 + ["blank"])
        status = collect(store.folder)
        assert status.done and not status.all_ok

    def test_does_not_count_what_is_not_planned(self, store):
        make(store, "00099", {"396-000": "ok"})
        make(store, "00001.r1", {"4-000": "ok"})  # its shard is not there
        status = collect(store.folder)
        assert (status.shards_done, status.images_done) == (0, 0)


class TestRepairs:
    def test_count_as_what_they_mended(self, store):
        make_all(store, a_plan(), ["ok", "failed", "blank", "oom"] + ["ok"] * 6)
        make(store, "00000.r1", {"1-000": "ok", "2-000": "failed", "3-000": "oom"})
        make(store, "00000.r2", {"2-000": "ok", "3-000": "oom"})
        status = collect(store.folder)
        assert status.counts == {"ok": 9, "oom": 1}
        assert status.errors == {"MemoryError": 1}
        assert status.images_done == 10

    @given(chains())
    @settings(deadline=None, max_examples=30)
    def test_leave_the_counts_that_the_rows_have(self, tmp_path_factory, chain):
        folder = tmp_path_factory.mktemp("dataset")
        store = begin(folder, a_plan(rows=4))
        names = ["00000", *(f"00000.r{number}" for number in range(1, len(chain)))]
        for name, outcomes in zip(names, chain, strict=True):
            make(store, name, outcomes)
        rows = store.current("00000", names[1:])
        status = collect(folder)
        assert status.counts == Counter(rows.column("status").to_pylist())
        assert status.errors == Counter(rows.column("error_type").drop_null().to_pylist())
        shutil.rmtree(folder)


class TestRate:
    def test_is_that_of_the_work_so_far(self, store):
        make(store, "00000", dict.fromkeys(ids(0), "ok"), **span(0, 100))
        make(store, "00001", dict.fromkeys(ids(1), "ok"), **span(100, 100))
        status = collect(store.folder)
        assert status.rate == pytest.approx(8 / 200)
        assert status.seconds_left == pytest.approx(2 / (8 / 200))
        assert status.last_finished_at == NOON + timedelta(seconds=200)

    def test_of_workers_side_by_side_is_their_sum(self, store):
        make(store, "00000", dict.fromkeys(ids(0), "ok"), **span(0, 100))
        make(store, "00001", dict.fromkeys(ids(1), "ok"), **span(0, 100))
        assert collect(store.folder).rate == pytest.approx(8 / 100)

    def test_is_that_of_the_last_hour(self, store):
        make(store, "00000", dict.fromkeys(ids(0), "ok"), **span(0, 60))  # a fast start
        make(store, "00001", dict.fromkeys(ids(1), "ok"), **span(60, 10_000))
        assert collect(store.folder).rate == pytest.approx(4 / 10_000)

    def test_leaves_out_the_pause_before_work_went_on(self, store):
        make(store, "00000", dict.fromkeys(ids(0), "ok"), **span(0, 100))
        make(store, "00001", dict.fromkeys(ids(1), "ok"), **span(50_000, 50))
        assert collect(store.folder).rate == pytest.approx(4 / 50)

    def test_can_do_without_the_time_of_the_start(self, store):
        record = span(0, 100)
        del record["started_at"]
        make(store, "00000", dict.fromkeys(ids(0), "ok"), **record)
        assert collect(store.folder).rate == pytest.approx(4 / 100)

    @pytest.mark.parametrize("record", [{}, {"seconds": 3.0}, span(0, 0), span(0, -100)])
    def test_is_not_known_where_records_do_not_tell(self, store, record):
        make(store, "00000", dict.fromkeys(ids(0), "ok"), **record)
        status = collect(store.folder)
        assert status.rate is status.seconds_left is None
        assert status.images_done == 4


class TestDetails:
    def test_the_slowest_shards_come_first(self, tmp_path):
        store = begin(tmp_path, a_plan(rows=8, shard_size=1))
        for shard, seconds in enumerate([3, 1, 4, 1, 5, 9, 2, 6]):
            make(store, f"{shard:05d}", {f"{shard}-000": "ok"}, **span(0, seconds))
        found = collect(tmp_path).slowest
        assert [one.name for one in found] == ["00005", "00007", "00004", "00002", "00000"]
        assert found[0] == SlowShard("00005", 9.0, 1)

    def test_unfinished_attempts_tell_where_and_since_when_nothing_changed(self, store):
        folder = store.tmp / "00002.r1.node_7.01234567.12.ab12"
        (folder / "images").mkdir(parents=True)
        for path, seconds in ((folder, 100), (folder / "images", 30)):
            then = NOON.timestamp() - seconds
            os.utime(path, (then, then))
        (store.tmp / "something").mkdir()
        (found,) = collect(store.folder, NOON).unfinished
        assert (found.name, found.host) == ("00002.r1", "node_7")
        assert found.age_s == pytest.approx(30)

    def test_json_holds_the_same(self, store):
        make(store, "00000", dict.fromkeys(ids(0), "ok"), **span(0, 100))
        status = collect(store.folder)
        found = json.loads(json.dumps(status.as_json()))
        assert found["last_finished_at"] == "2026-01-01T12:01:40+00:00"
        assert found["slowest"] == [{"name": "00000", "seconds": 100.0, "images": 4}]
        assert found["counts"] == {"ok": 4}

    def test_a_damaged_record_is_told(self, store):
        make(store, "00000", dict.fromkeys(ids(0), "ok"))
        (store.shards / "00000" / "shard.json").write_bytes(b"{")
        with pytest.raises(DamagedShard, match=r"00000/shard\.json"):
            collect(store.folder)

    def test_what_is_not_a_dataset_is_told(self, tmp_path):
        with pytest.raises(UserError, match="not a dataset"):
            collect(tmp_path)
