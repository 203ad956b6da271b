"""What became of a dataset's tasks, as Slurm and the folder tell, and how `status` shows it."""

import json
from pathlib import Path

import pytest

from sdbatch import status
from sdbatch.launch.tasks import look
from sdbatch.launch_record import Array, Launch
from sdbatch.runner.messages import Unit
from tests.runner import runs
from tests.test_launch_record import TABLE


def a_launch(data: Path, name: str, *arrays: Array, merge: str = "49", created: str = "1") -> Path:
    folder = data / "logs" / f"slurm-{name}"
    folder.mkdir(parents=True)
    tasks = sum(array.tasks for array in arrays)
    Launch(["launcher=slurm", "launcher.resubmit=true"], "/work", tasks, None, TABLE, created,
           arrays, merge).write(folder)  # fmt: skip
    return folder


def units(*shards: int) -> list[Unit]:
    return [Unit(shard, f"{shard:05d}") for shard in shards]


def test_a_dataset_that_was_not_launched_has_none(tmp_path, fakes):
    assert look(tmp_path, units(0)) is None


def test_the_queue_is_that_of_all_launches(tmp_path, fakes):
    a_launch(tmp_path, "a", Array("41", 0, 4), merge="42", created="1")
    newest = a_launch(tmp_path, "b", Array("43", 0, 2), merge="44", created="2")
    fakes.says("squeue", "41 3 RUNNING\n43 0 RUNNING\n43 1 PENDING\n44 N/A PENDING\n")
    found = look(tmp_path, units(0, 1))
    assert found.folder == newest
    assert (found.queue, found.merge) == ({"RUNNING": 2, "PENDING": 1}, "PENDING")


def test_a_task_has_failed_if_it_is_gone_and_its_share_is_not_there(tmp_path, fakes):
    folder = a_launch(tmp_path, "a", Array("41", 0, 2), Array("42", 2, 2))
    fakes.says("squeue", "42 1 RUNNING\n")
    (folder / "42_0.out").write_text(
        "sdbatch: task 2 of 4\nsdbatch: error: the  disk\tis full\nsdbatch: bye\n"
    )
    # Task 0 has done its share, task 3 runs; tasks 1 and 2 are neither done nor there.
    found = look(tmp_path, units(1, 2, 3))
    assert [task.task for task in found.failed] == [1, 2]
    assert [task.line for task in found.failed] == [None, "sdbatch: error: the disk is full"]
    assert found.failed[1].output == folder / "42_0.out"
    assert found.failed[1].state is None


def test_accounting_tells_how_it_ended(tmp_path, fakes):
    folder = a_launch(tmp_path, "a", Array("41", 0, 2))
    fakes.says("squeue", "")
    fakes.says("sacct", "41_0|COMPLETED\n41_1|OUT_OF_MEMORY\n")
    (folder / "41_1.out").write_text("loading\n\n")
    (failed,) = look(tmp_path, units(1)).failed
    assert (failed.task, failed.state, failed.line) == (1, "OUT_OF_MEMORY", "loading")


def test_where_slurm_does_not_answer_nobody_is_called_failed(tmp_path, fakes):
    a_launch(tmp_path, "a", Array("41", 0, 2))
    found = look(tmp_path, units(0, 1))
    assert (found.queue, found.failed) == (None, ())


def test_the_end_of_a_long_output_is_enough(tmp_path, fakes):
    folder = a_launch(tmp_path, "a", Array("41", 0, 1))
    fakes.says("squeue", "")
    (folder / "41_0.out").write_text("sdbatch: error: long ago\n" + "x" * 200_000 + "\nthe end\n")
    (failed,) = look(tmp_path, units(0)).failed
    assert failed.line == "the end"


class TestStatus:
    @pytest.fixture
    def data(self, tmp_path) -> Path:
        """A dataset of three shards with the last one missing."""
        data = tmp_path / "my data"
        runs.run(runs.a_table(tmp_path, 12), data)
        (data / "shards" / "00002").rename(tmp_path / "gone")
        (data / "metadata.parquet").unlink()
        return data

    def shown(self, capsys, data: Path, *more: str) -> str:
        with pytest.raises(SystemExit) as ended:
            status.main([str(data), *more])
        assert ended.value.code == 75
        return capsys.readouterr().out

    def test_shows_the_queue_what_failed_and_what_to_type(self, capsys, data, fakes):
        folder = a_launch(data, "a", Array("41", 0, 3))
        (folder / "41_2.out").write_text("sdbatch: error: workers die over this model\n")
        fakes.says(
            "squeue", "41 0 RUNNING None\n41 1 PENDING QOSLimit\n49 N/A PENDING Dependency\n"
        )
        lines = self.shown(capsys, data).splitlines()
        assert lines[-3:] == [
            "tasks          1 running, 1 pending (QOSLimit); merge pending",
            f"failed task    2: sdbatch: error: workers die over this model; {folder / '41_2.out'}",
            "resubmit       cd /work && python -m sdbatch launcher=slurm launcher.resubmit=true",
        ]

    def test_says_so_where_squeue_does_not_answer(self, capsys, data, fakes):
        a_launch(data, "a", Array("41", 0, 3))
        assert "tasks          not known: squeue does not answer here\n" in self.shown(capsys, data)

    def test_is_one_json_object_for_programs(self, capsys, data, fakes):
        a_launch(data, "a", Array("41", 0, 3))
        fakes.says("squeue", "41 0 RUNNING\n")
        record = json.loads(self.shown(capsys, data, "--json"))["launch"]
        assert record["queue"] == {"RUNNING": 1}
        assert [task["task"] for task in record["failed"]] == [2]
        assert record["jobs"] == ["41"]
        assert record["resubmit"].endswith("launcher.resubmit=true")

    def test_of_a_dataset_that_was_not_launched_is_as_it_was(self, capsys, data, fakes):
        assert "tasks" not in self.shown(capsys, data)
        assert json.loads(self.shown(capsys, data, "--json"))["launch"] is None
