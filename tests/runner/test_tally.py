"""What came in so far: images that are lost again do not count, what they taught does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdbatch.runner.messages import Unit
from sdbatch.runner.progress import Progress
from sdbatch.runner.tally import Tally

SHARD, OTHER, REPAIR = Unit(0, "00000"), Unit(1, "00001"), Unit(0, "00000.r1")


@pytest.fixture
def tally() -> Tally:
    """Of 20 images, of which 8 in 2 shards were made before this run."""
    return Tally(Progress(20, 8), shards_done=2)


def test_at_first_there_is_what_earlier_runs_made(tally):
    assert (tally.earlier, tally.images_left, tally.shards_done) == (8, 12, 2)
    assert (tally.files, tally.bytes, tally.proven) == (0, 0, False)
    assert (tally.work.device_busy, tally.last_image_at) == (None, None)


class TestWritten:
    def test_counts_outcomes_and_what_is_left(self, tally):
        for number, status in enumerate(["ok", "failed", "ok"]):
            tally.written(SHARD, f"{number}-000", status, 1000 if status == "ok" else 0)
        assert tally.statuses == {"ok": 2, "failed": 1}
        assert (tally.earlier, tally.images_left) == (8, 9)

    def test_only_a_picture_is_a_file(self, tally):
        tally.written(SHARD, "0-000", "failed", 0)
        assert (tally.files, tally.bytes, tally.last_image_at) == (0, 0, None)
        tally.written(SHARD, "1-000", "ok", 1000)
        assert (tally.files, tally.bytes) == (1, 1000)
        assert tally.last_image_at is not None

    @pytest.mark.parametrize("status", ["failed", "nan", "blank", "oom"])
    def test_only_a_picture_proves_that_pictures_can_be_made(self, tally, status):
        tally.written(SHARD, "0-000", status, 0)
        assert not tally.proven
        tally.written(SHARD, "1-000", "ok", 1000)
        tally.written(SHARD, "2-000", status, 0)
        assert tally.proven


class TestLost:
    def test_images_are_to_be_made_again(self, tally):
        for unit in (SHARD, OTHER):
            tally.written(unit, "0-000", "ok", 1000)
            tally.written(unit, "1-000", "nan", 0)
        tally.lost(SHARD)
        assert tally.images_left == 10
        assert +tally.statuses == {"ok": 1, "nan": 1}

    def test_but_they_have_shown_their_size_and_that_they_can_be_made(self, tally):
        tally.written(SHARD, "0-000", "ok", 1000)
        tally.lost(SHARD)
        assert (tally.files, tally.bytes, tally.proven) == (1, 1000, True)

    def test_a_unit_of_which_nothing_was_written_changes_nothing(self, tally):
        tally.lost(SHARD)
        assert tally.images_left == 12


class TestCommitted:
    def test_sums_up_what_shards_took(self, tally):
        stages = {"denoise": 6.0, "decode": 1.0, "wait": 2.0}
        tally.committed(SHARD, {"seconds": 10.0, "stages": stages, "peak_memory_mb": 900})
        stages = {"denoise": 2.0, "text": 1.0, "encode": 50.0}
        tally.committed(OTHER, {"seconds": 10.0, "stages": stages, "peak_memory_mb": 700})
        assert tally.shards_done == 4
        assert (tally.work.device_seconds, tally.work.peak_memory_mb) == (20.0, 900)
        assert tally.work.stages["denoise"] == 8.0
        assert tally.work.device_busy == 0.5

    def test_a_repair_is_no_further_shard(self, tally):
        tally.committed(REPAIR, {})
        assert tally.shards_done == 2

    def test_says_how_many_images_a_unit_had_once(self, tally):
        tally.written(SHARD, "0-000", "ok", 1000)
        tally.written(SHARD, "1-000", "failed", 0)
        tally.committed(SHARD, {})
        assert (tally.images_of(SHARD), tally.images_of(SHARD)) == (2, 0)

    def test_what_is_committed_is_never_lost(self, tally):
        tally.written(SHARD, "0-000", "ok", 1000)
        tally.committed(SHARD, {})
        tally.lost(SHARD)
        assert (tally.statuses, tally.images_left) == ({"ok": 1}, 11)


def test_a_shard_that_another_runner_made_is_done(tally):
    tally.elsewhere(SHARD)
    tally.elsewhere(REPAIR)
    assert tally.shards_done == 3


events = st.lists(
    st.one_of(
        st.tuples(
            st.just("written"), st.sampled_from("abc"), st.integers(0, 5),
            st.sampled_from(["ok", "failed", "nan"]),
        ),
        st.tuples(st.sampled_from(["lost", "committed"]), st.sampled_from("abc")),
    )
)  # fmt: skip


@given(events)
def test_counts_are_those_of_the_images_that_were_not_lost(events):
    tally = Tally(Progress(1000, 0), 0)
    kept, open_units = [], {name: {} for name in "abc"}
    for what, name, *image in events:
        unit = Unit(ord(name), name)
        if what == "written":
            number, status = image
            if number not in open_units[name]:  # a worker writes each image once
                open_units[name][number] = status
                tally.written(unit, str(number), status, 10)
            continue
        if what == "committed":
            kept += open_units[name].values()
            tally.committed(unit, {})
        else:
            tally.lost(unit)
        open_units[name] = {}
    statuses = kept + [status for images in open_units.values() for status in images.values()]
    assert +tally.statuses == {s: statuses.count(s) for s in set(statuses)}
    assert tally.images_left == 1000 - len(statuses)
