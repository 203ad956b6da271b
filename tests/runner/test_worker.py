"""A worker's threads in this process: what it tells its parent, and what it leaves on the disk."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from typing import Any

import pytest

from sdbatch.runner.batches import DeviceLost
from sdbatch.runner.messages import (
    Assignment,
    Committed,
    Dropped,
    Refused,
    Said,
    Started,
    Unit,
    UnitFailed,
    Wanting,
    Written,
)
from tests.examples import a_picture
from tests.runner.office import SHARD, Office, of
from tests.runner.painter import Painter


class Stopping(Painter):
    """Is told how many seconds are left while it makes a batch."""

    def __init__(self, at: int, seconds: float):
        super().__init__()
        self.at, self.seconds = at, seconds

    def generate(self, *arguments):
        if len(self.batches) == self.at:
            self.office.parent.time_left.limit(self.seconds)
        return super().generate(*arguments)


@pytest.fixture
def ten(make_job):
    """Ten images in two shards, two to a batch."""
    return make_job(batch_size=2, prompt=list("abcdefghij"))


class TestShard:
    def test_rows_stand_in_plan_order_though_sizes_are_made_one_after_the_other(self, job):
        office = Office(job)
        office.make(SHARD)
        rows = office.rows()
        assert [(row["image_id"], row["status"], row["error_type"]) for row in rows] == [
            ("星-000", "ok", None),
            ("星-001", "ok", None),
            ("b-000", "failed", "RuntimeError"),
            ("c-000", "ok", None),
            ("d-000", "nan", None),
            ("e-000", "oom", "MemoryError"),
        ]
        assert office.engine.batches[-1] == ["a heart"]
        assert [row["topic"] for row in rows] == ["x", "x", None, "y", "z", None]

    def test_every_image_is_told_of_once_and_every_failure_in_a_line(self, job):
        office = Office(job)
        written = of(Written, office.make(SHARD))
        assert sorted(message.image for message in written) == sorted(office.statuses())
        assert {message.image: message.status for message in written} == office.statuses()
        assert all((message.bytes > 0) == (message.status == "ok") for message in written)
        assert [message.text for message in of(Said, office.said)] == [
            "shard 00000: b-000: RuntimeError: the kernel failed: line two",
            "shard 00000: e-000: MemoryError: out of memory",
        ]

    def test_it_is_committed_with_a_record_of_the_work(self, ten):
        office = Office(ten)
        (told,) = of(Committed, office.make(SHARD))
        assert (told.unit, told.won) == (SHARD, True)
        record = office.store.read_record("00000")
        assert told.record.items() <= record.items()
        assert (record["images"], record["counts"]) == (5, {"ok": 5})
        assert (record["device"], record["worker"]) == ("cpu", 3)
        assert record["stages"].keys() == {
            "wait", "text", "inputs", "denoise", "encode", "write",
        }  # fmt: skip
        assert record["seconds"] >= record["stages"]["denoise"]
        assert record["started_at"] <= record["finished_at"]
        assert record["peak_memory_mb"] > 0
        assert record["peak_device_memory_mb"] is None
        assert office.leftovers() == []

    def test_of_a_shard_that_another_runner_made_first_nothing_is_left(self, ten):
        office = Office(ten)
        office.make(SHARD)
        (told,) = of(Committed, Office(ten).make(SHARD))
        assert (told.won, office.leftovers()) == (False, [])

    def test_the_next_unit_is_asked_for_when_the_last_batch_begins(self, ten):
        office = Office(ten)
        said = of(Started | Wanting, office.make(SHARD, Unit(1, "00001")))
        assert "".join(type(message).__name__[0] for message in said) == "SSSWSSSW"
        assert office.store.done() == {"00000", "00001"}


class TestDeaths:
    def test_images_that_were_given_up_have_a_row_that_says_why_and_are_not_tried(self, ten):
        office = Office(ten)
        work = Assignment(SHARD, given_up={"1-000": "killed by SIGSEGV"})
        said = office.make(work)
        assert ["b"] not in office.engine.batches
        assert [image for message in of(Started, said) for image in message.images] == [
            "0-000", "2-000", "3-000", "4-000",
        ]  # fmt: skip
        row = office.rows()[1]
        assert (row["status"], row["error_type"], row["error_message"]) == (
            "failed", "WorkerDied", "killed by SIGSEGV",
        )  # fmt: skip

    def test_with_suspects_each_batch_begins_when_all_before_it_is_written(self, ten):
        """So that whatever the worker dies of is that batch's doing."""
        said = Office(ten).make(Assignment(SHARD, alone=frozenset({"2-000", "3-000"})))
        batches = [message.images for message in of(Started, said)]
        assert batches == [("0-000", "1-000"), ("2-000",), ("3-000",), ("4-000",)]
        begun, written = set(), set()
        for message in said:
            if isinstance(message, Started):
                assert written == begun
                begun.update(message.images)
            elif isinstance(message, Written):
                written.add(message.image)

    def test_a_lost_device_is_told_by_what_was_in_hand(self, make_job):
        """And what was finished before is on the disk."""
        office = Office(make_job(batch_size=1, prompt=["a", "b", "c", "d", "e", "f", "lost"]))
        with pytest.raises(DeviceLost):
            office.make(SHARD, Unit(1, "00001"))
        assert office.store.done() == {"00000"}
        assert office.leftovers() == []
        in_hand = {image for message in of(Started, office.said) for image in message.images}
        assert in_hand - {message.image for message in of(Written, office.said)} == {"6-000"}
        assert [message.unit for message in of(Committed, office.said)] == [SHARD]
        assert of(Dropped, office.said) == []


class TestHopeless:
    BROKEN = ("broken", "broken", "broken")

    def test_a_first_shard_without_any_picture_is_not_committed(self, make_job):
        """It may be the fault of the model or the machine."""
        office = Office(make_job(prompt=self.BROKEN))
        (told,) = of(UnitFailed, office.make(SHARD))
        assert (told.unit, told.kind) == (SHARD, "hopeless")
        assert told.text == (
            "all 3 images failed, none was made in this run: "
            "RuntimeError: the kernel failed: line two"
        )
        assert (office.store.done(), office.leftovers()) == (set(), [])

    @pytest.mark.parametrize("proven", [True, False])
    def test_after_a_picture_it_is_the_fault_of_its_rows(self, make_job, proven):
        prompts = self.BROKEN if proven else ("a", *self.BROKEN, "broken", *self.BROKEN)
        office = Office(make_job(prompt=prompts))
        last = office.job.plan.shards - 1
        units = [Assignment(Unit(n, f"{n:05d}"), proven=proven) for n in range(last + 1)]
        assert len(of(Committed, office.make(*units))) == last + 1
        assert set(office.statuses(f"{last:05d}").values()) == {"failed"}

    def test_pictures_that_are_none_are_an_outcome_like_any_other(self, make_job):
        office = Office(make_job(prompt=["flat", "overflow"]))
        office.make(SHARD)
        assert list(office.statuses().values()) == ["blank", "nan"]


class TestRepair:
    def test_only_rows_without_a_picture_are_made_again_and_counted(self, make_job):
        job = make_job(prompt=["a", "broken", "flat", "b", "c"])
        Office(job).make(SHARD)

        class Mended(Painter):
            def paint(self, request):
                flat = request.prompt == "flat"
                return a_picture(16, 32) if flat else super().paint(request)

        first = Office(job, Mended())
        first.make(Unit(0, "00000.r1"))
        assert first.statuses("00000.r1") == {"1-000": "failed", "2-000": "ok"}
        assert [row["attempts"] for row in first.rows("00000.r1")] == [2, 2]
        assert {row["shard_id"] for row in first.rows("00000.r1")} == {"00000"}
        second = Office(job, Mended())
        second.make(Assignment(Unit(0, "00000.r2"), proven=True))
        assert second.statuses("00000.r2") == {"1-000": "failed"}
        assert [row["attempts"] for row in second.rows("00000.r2")] == [3]


class TestStop:
    def stopped(self, job, at: int, seconds: float, *units: Unit) -> tuple[Office, list[Any]]:
        engine = Stopping(at, seconds)
        engine.office = Office(job, engine)
        return engine.office, engine.office.make(*units)

    def test_with_no_time_left_leaves_no_shard(self, ten):
        office, said = self.stopped(ten, 1, 0.0, SHARD)
        assert of(Dropped, said) == [Dropped(SHARD)]
        assert len(office.engine.batches) == 2  # the batch in hand is finished
        assert (office.store.done(), office.leftovers()) == (set(), [])

    def test_a_shard_that_fits_is_finished_and_the_next_given_back(self, ten):
        office, said = self.stopped(ten, 1, 3600.0, SHARD, Unit(1, "00001"))
        assert [message.unit.name for message in of(Committed, said)] == ["00000"]
        assert of(Dropped, said) == [Dropped(Unit(1, "00001"))]
        assert (office.store.done(), office.leftovers()) == ({"00000"}, [])

    def test_a_shard_that_does_not_fit_is_not_begun_on_further(self, ten):
        """Five batches of a twentieth of a second do not fit into three, though one more would."""

        class Slow(Stopping):
            def generate(self, *arguments):
                pixels = super().generate(*arguments)
                time.sleep(0.05)
                return pixels

        engine = Slow(1, 0.15)
        engine.office = Office(replace(ten, batch_size=1), engine)
        assert of(Dropped, engine.office.make(SHARD)) == [Dropped(SHARD)]
        assert engine.batches == [["a"], ["b"]]


class TestDisk:
    def test_a_dataset_that_is_deleted_under_way_does_not_reappear(self, ten):
        class Deleting(Painter):
            def generate(self, *arguments):
                shutil.rmtree(ten.folder, ignore_errors=True)
                return super().generate(*arguments)

        office = Office(ten, Deleting())
        (told,) = of(UnitFailed, office.make(SHARD))
        assert (told.unit, told.kind) == (SHARD, "gone")
        assert told.text == f"{ten.folder}: the dataset folder or its run.json is gone"
        assert not ten.folder.exists()

    def test_a_unit_that_cannot_be_begun_is_told_and_another_asked_for(self, ten):
        office = Office(ten)
        (ten.folder / "run.json").unlink()
        failed, wanting = office.make(SHARD)
        assert (failed.unit, failed.kind, wanting) == (SHARD, "gone", Wanting())

    def test_a_shard_that_is_damaged_is_the_users_to_mend(self, ten):
        office = Office(ten)
        office.make(SHARD)
        (ten.folder / "shards" / "00000" / "metadata.parquet").write_bytes(b"")
        (refused,) = of(Refused, Office(ten).make(Unit(0, "00000.r1")))
        assert "metadata.parquet: is not a whole Parquet file; run `python -m " in refused.text

    def test_a_file_that_cannot_be_written_ends_the_unit_and_not_the_next(self, ten):
        class Clearing(Painter):
            def generate(self, *arguments):
                if not self.batches:
                    shutil.rmtree(next((ten.folder / "_tmp").glob("00000.*")) / "images")
                return super().generate(*arguments)

        office = Office(ten, Clearing())
        said = office.make(SHARD, Unit(1, "00001"))
        (told,) = of(UnitFailed, said)
        assert (told.unit, told.kind) == (SHARD, "error")
        assert told.text.startswith("FileNotFoundError: ")
        assert (office.store.done(), office.leftovers()) == ({"00001"}, [])
        assert of(Wanting, said) == [Wanting(), Wanting()]

    def test_of_a_unit_whose_files_cannot_be_written_no_more_is_made(self, ten):
        class Clearing(Painter):
            def generate(self, *arguments):
                for attempt in (ten.folder / "_tmp").iterdir():
                    shutil.rmtree(attempt, ignore_errors=True)
                return super().generate(*arguments)

        office = Office(replace(ten, batch_size=1), Clearing())
        # With a suspect each batch waits for the files of the one before.
        office.make(Assignment(SHARD, alone=frozenset({"4-000"})))
        assert len(office.engine.batches) <= 2
