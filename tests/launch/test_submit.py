"""`launcher=slurm`: what is written, and what Slurm is asked."""

import json
import shutil
from pathlib import Path

import pytest

from sdbatch.errors import UserError
from sdbatch.launch.command import Given
from sdbatch.launch.submit import Submitted, submit
from sdbatch.launch_record import read_launch
from tests.composing import job
from tests.runner import runs

ROWS = 12


@pytest.fixture
def slurm(fakes):
    """A cluster that takes everything and has nothing to do."""
    fakes.says("sbatch", "41\n", "42\n", "43\n", "44\n", "45\n")
    fakes.says("scontrol", "MaxArraySize = 1001\n")
    fakes.says("squeue", "")
    fakes.says("scancel", "")
    return fakes


@pytest.fixture
def table(tmp_path) -> Path:
    return runs.a_table(tmp_path, ROWS)


def launch(table: Path, data: Path, *more: str) -> Submitted:
    given = [*runs.overrides(table, data), "launcher=slurm", "launcher.gpus=0", *more]
    return submit(job(*given), Given(given, [], runs.ROOT))


def made(table: Path, data: Path, *shards: str) -> None:
    """A dataset of which these shards are there."""
    runs.run(table, data)
    for shard in (data / "shards").iterdir():
        if shard.name not in shards:
            shutil.rmtree(shard)


class TestASubmission:
    def test_is_an_array_and_a_merge_job_after_all_of_it(self, slurm, table, data):
        submitted = launch(table, data)
        folder = next((data / "logs").iterdir())
        assert slurm.calls("sbatch") == [
            ["--parsable", str(folder / "array.sbatch")],
            ["--parsable", "--dependency=afterany:41", str(folder / "merge.sbatch")],
        ]
        assert "#SBATCH --array=0-2%3\n" in (folder / "array.sbatch").read_text()
        assert submitted.dataset == data
        assert submitted.line().startswith("submitted 3 tasks (job 41) for all shards")

    def test_leaves_the_plan_and_a_record_for_the_tasks(self, slurm, table, data):
        submitted = launch(table, data)
        assert json.loads((data / "run.json").read_text())["shards"] == 3
        folder = next((data / "logs").iterdir())
        assert read_launch(folder) == submitted.launch
        assert submitted.launch.table.rows == ROWS
        assert sorted(path.name for path in data.iterdir()) == ["logs", "run.json"]

    def test_is_split_where_the_cluster_takes_shorter_arrays_only(self, slurm, table, data):
        slurm.says("scontrol", "MaxArraySize = 2\n")
        submitted = launch(table, data)
        folder = next((data / "logs").iterdir())
        (first, second, merge) = slurm.calls("sbatch")
        assert first[-1] == str(folder / "array-0.sbatch")
        assert "index=$SLURM_ARRAY_TASK_ID\n" in (folder / "array-0.sbatch").read_text()
        assert second[-1] == str(folder / "array-1.sbatch")
        assert "index=$((2 + SLURM_ARRAY_TASK_ID))\n" in (folder / "array-1.sbatch").read_text()
        assert "--dependency=afterany:41:42" in merge
        assert [(array.job, array.first, array.tasks) for array in submitted.launch.arrays] == [
            ("41", 0, 2),
            ("42", 2, 1),
        ]
        assert submitted.launch.merge == "43"

    def test_has_no_more_tasks_than_shards(self, slurm, table, data):
        assert launch(table, data, "launcher.tasks=100").launch.tasks == 3

    def test_needs_a_number_of_tasks_where_nothing_limits_it(self, slurm, table, data):
        with pytest.raises(UserError, match=r"^launcher.tasks: auto is launcher.max_parallel"):
            launch(table, data, "launcher.max_parallel=null")
        assert not data.exists()

    def test_of_a_job_that_is_not_sound_never_reaches_slurm(self, slurm, tmp_path, data):
        with pytest.raises(UserError, match="no such file"):
            launch(tmp_path / "none.parquet", data)
        assert slurm.calls("sbatch") == []
        assert not data.exists()


class TestADryRun:
    def test_shows_the_scripts_and_does_nothing(self, slurm, table, data):
        dry = launch(table, data, "launcher.dry_run=true")
        assert list(dry.scripts) == ["array.sbatch", "merge.sbatch"]
        assert not data.exists()
        assert slurm.calls("sbatch") == []

    def test_shows_what_would_be_submitted(self, slurm, table, data):
        dry = launch(table, data, "launcher.dry_run=true")
        real = launch(table, data)
        folder = next((data / "logs").iterdir())

        def comparable(text: str) -> list[str]:
            return [line for line in text.splitlines() if "written by" not in line]

        for name, text in dry.scripts.items():
            shown = text.replace(_folder_in(text), str(folder))
            assert comparable(shown) == comparable((folder / name).read_text())
            assert real.scripts[name] == (folder / name).read_text()

    def test_needs_no_slurm(self, fakes, table, data):
        assert (
            "#SBATCH --array=0-2%3"
            in launch(table, data, "launcher.dry_run=true").scripts["array.sbatch"]
        )


def _folder_in(script: str) -> str:
    (output,) = [line for line in script.splitlines() if line.startswith("#SBATCH --output=")]
    return output.removeprefix("#SBATCH --output=").rpartition("/")[0]


class TestARefusalBySlurm:
    def test_of_the_first_array_leaves_no_trace(self, slurm, table, data):
        slurm.then_fails("sbatch", stderr="sbatch: error: invalid partition specified: nix")
        with pytest.raises(UserError, match="invalid partition specified: nix"):
            launch(table, data)
        assert not data.exists()

    def test_of_a_later_one_takes_back_the_first(self, slurm, table, data):
        slurm.then_fails(
            "sbatch", "41\n", stderr="sbatch: error: Job violates accounting/QOS policy"
        )
        with pytest.raises(UserError, match="Job violates accounting/QOS policy"):
            launch(table, data)
        assert slurm.calls("scancel") == [["41"]]
        assert not data.exists()

    def test_leaves_a_dataset_that_was_there(self, slurm, table, data):
        made(table, data, "00000")
        before = sorted(data.rglob("*"))
        slurm.then_fails("sbatch", stderr="sbatch: error: nix")
        with pytest.raises(UserError, match="nix"):
            launch(table, data, "launcher.resubmit=true")
        assert sorted(data.rglob("*")) == before

    def test_where_slurm_is_not_there_leaves_no_trace(self, fakes, table, data):
        with pytest.raises(UserError, match="sbatch is not on this machine's PATH"):
            launch(table, data)
        assert not data.exists()


class TestAnotherSubmission:
    def test_is_of_what_is_missing(self, slurm, table, data):
        made(table, data, "00001")
        assert list(launch(table, data).launch.todo) == [0, 2]

    def test_is_none_where_nothing_is_missing(self, slurm, table, data):
        made(table, data, "00000", "00001", "00002")
        submitted = launch(table, data)
        assert submitted.launch is None
        assert submitted.line().startswith("every shard is there, so nothing was submitted")
        assert slurm.calls("sbatch") == []

    def test_is_refused_while_tasks_are_in_the_queue(self, slurm, table, data):
        launch(table, data)
        slurm.says("squeue", "41 0 RUNNING\n41 2 PENDING\n")
        with pytest.raises(UserError, match=r"2 of its tasks \(job 41\) are still in the queue"):
            launch(table, data)
        assert len(slurm.calls("sbatch")) == 2

    def test_is_refused_where_nobody_knows(self, slurm, table, data):
        launch(table, data)
        slurm.then_fails("squeue", stderr="slurm_load_jobs error: Unable to contact")
        with pytest.raises(UserError, match="squeue does not tell whether tasks"):
            launch(table, data)

    def test_with_resubmit_leaves_out_what_tasks_in_the_queue_will_make(self, slurm, table, data):
        launch(table, data)
        slurm.says("squeue", "41 1 PENDING\n")
        again = launch(table, data, "launcher.resubmit=true").launch
        assert (list(again.todo), again.tasks) == ([0, 2], 2)

    def test_takes_the_shares_of_every_launch_into_account(self, slurm, table, data):
        launch(table, data)
        slurm.says("squeue", "41 1 PENDING\n")
        launch(table, data, "launcher.resubmit=true")
        slurm.says("squeue", "41 1 PENDING\n43 1 RUNNING\n")
        again = launch(table, data, "launcher.resubmit=true").launch
        assert list(again.todo) == [0]

    def test_with_resubmit_needs_a_dataset(self, slurm, table, data):
        with pytest.raises(UserError, match=r"^launcher.resubmit: .*: no dataset there"):
            launch(table, data, "launcher.resubmit=true")
        assert not data.exists()

    def test_with_other_settings_is_refused(self, slurm, table, data):
        launch(table, data)
        with pytest.raises(UserError, match="the dataset was made with other settings: seed was 0"):
            launch(table, data, "seed=1")
