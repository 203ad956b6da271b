"""Full, read-only and vanishing disks, and files that were damaged. Real file systems."""

import shutil
from pathlib import Path

import pytest

from sdbatch.errors import EXIT_DONE, EXIT_INTERRUPTED, EXIT_USER_ERROR
from tests.runner import runs
from tests.runner.faults import Faulty, Pause

FULL = "{}: No space left on device; make room and run the same command again"
SLOW = Faulty({"": Pause(0.1)})


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory) -> runs.Reference:
    return runs.undisturbed(tmp_path_factory.getbasetemp())


@pytest.fixture
def command(undisturbed):
    """`command(folder, ...)`: the real command, image by image; how it ended."""

    def run(data: Path, *overrides: str, load=SLOW) -> runs.Ended:
        more = ("batch_size=1", *overrides)
        return runs.ended(runs.start(undisturbed.table, data, *more, load=load))

    return run


@pytest.fixture
def goes_on(undisturbed):
    """The same command again makes what an undisturbed run makes."""

    def check(data: Path) -> None:
        assert runs.run(undisturbed.table, data).exit_code == EXIT_DONE
        assert runs.contents(data) == undisturbed.contents

    return check


# Two of the three shards fit. A shard: four pictures of 13 kB, and 20 kB beside them; 8 files.
@pytest.mark.parametrize("options", ["size=200k", "size=4m,nr_inodes=32"], ids=["bytes", "files"])
class TestADiskThatIsTooSmall:
    def test_keeps_what_is_done_until_there_is_room(self, disk, command, goes_on, options):
        data = disk(options) / "data"
        ended = command(data, "check_space=false")
        assert ended.code == EXIT_INTERRUPTED
        assert ended.complaint == FULL.format(data)
        assert ended.stdout == ""
        assert runs.shards(data) == {"00000", "00001"}
        assert list((data / "_tmp").iterdir()) == []
        assert not (data / "metadata.parquet").exists()
        disk("size=4m,nr_inodes=1000")
        goes_on(data)

    def test_is_told_after_the_first_images(self, disk, command, goes_on, options):
        data = disk(options) / "data"
        ended = command(data)
        assert ended.code == EXIT_USER_ERROR
        assert ended.complaint.startswith(f"output.dir: {data}: 4 images ")
        assert ended.complaint.endswith(
            "; make room, or go on until the disk is full with check_space=false"
        )
        assert {"00000"} <= runs.shards(data) <= {"00000", "00001"}
        assert list((data / "_tmp").iterdir()) == []
        disk("size=4m,nr_inodes=1000")
        goes_on(data)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param("size=276k", id="for the merge"),
        pytest.param("size=8k", id="for the log"),
        pytest.param("size=4m,nr_inodes=3", id="for the folders"),
    ],
)
def test_no_room_in_the_parents_hands_is_told_likewise(disk, command, goes_on, options):
    data = disk(options) / "data"
    ended = command(data, "check_space=false", load=Faulty())
    assert ended.code == EXIT_INTERRUPTED
    assert ended.complaint == FULL.format(data)
    assert not (data / "metadata.parquet").exists()
    disk("size=4m,nr_inodes=1000")
    goes_on(data)


def test_a_read_only_folder_is_refused(disk, command):
    data = disk("size=1m") / "data"
    disk("ro")
    ended = command(data)
    assert ended.code == EXIT_USER_ERROR
    assert ended.complaint == f"{data}: Read-only file system"
    assert ended.stderr.count("\n") == 1


def test_a_dataset_that_is_deleted_under_way_does_not_come_back(tmp_path, undisturbed):
    data, begun = tmp_path / "data", tmp_path / "begun"
    load = Faulty({"": Pause(0.2), "row 5": Pause(0, begun)})
    run = runs.start(undisturbed.table, data, "batch_size=1", load=load)
    runs.wait_until(begun.exists, "the second shard")
    while data.exists():
        shutil.rmtree(data, ignore_errors=True)
    ended = runs.ended(run)
    assert ended.code == EXIT_USER_ERROR
    assert ended.complaint == f"{data}: the dataset folder or its run.json is gone"
    assert ended.stdout == ""
    assert not data.exists()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def overwrite(path: Path) -> None:
    path.write_bytes(b"\x00garbage")


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("metadata.parquet", cut),
        ("metadata.parquet", Path.unlink),
        ("shard.json", overwrite),
    ],
)
def test_a_damaged_shard_is_told_with_what_mends_it(
    tmp_path, undisturbed, command, goes_on, sdbatch, file, damage
):
    data = tmp_path / "data"
    shutil.copytree(undisturbed.folder, data)
    damaged = data / "shards" / "00001" / file
    damage(damaged)
    ended = command(data)
    assert ended.code == EXIT_USER_ERROR
    assert ended.complaint.startswith(f"{damaged}: ")
    advice = f"run `python -m sdbatch.verify {data} --discard`, and then the job again"
    assert ended.complaint.endswith(advice)
    sdbatch(str(data), "--discard", module="sdbatch.verify")
    assert runs.shards(data) == {"00000", "00002"}
    goes_on(data)
