"""What Slurm's commands answer, in the forms of many versions and sites."""

import pytest

from sdbatch.errors import UserError
from sdbatch.launch import slurm
from sdbatch.launch.slurm import TaskState


@pytest.fixture
def script(tmp_path):
    return tmp_path / "array.sbatch"


class TestSubmit:
    @pytest.mark.parametrize(
        "answer", ["4123\n", "4123;night\n", "Welcome to the cluster!\n4123\n", "4123"]
    )
    def test_returns_the_number(self, fakes, script, answer):
        fakes.says("sbatch", answer)
        assert slurm.submit(script, "--dependency=afterany:7") == "4123"
        assert fakes.calls("sbatch") == [["--parsable", "--dependency=afterany:7", str(script)]]

    def test_without_sbatch_says_where_to_go(self, fakes, script):
        with pytest.raises(
            UserError, match=r"^launcher: slurm: sbatch is not on this machine's PATH"
        ):
            slurm.submit(script)

    def test_tells_what_sbatch_has_against_it(self, fakes, script):
        fakes.then_fails(
            "sbatch", stderr="sbatch: error: invalid partition specified: gpu\nsbatch: error: Batch"
        )
        with pytest.raises(UserError, match=r"^sbatch: invalid partition specified: gpu; Batch$"):
            slurm.submit(script)

    def test_refuses_an_answer_without_a_number(self, fakes, script):
        fakes.says("sbatch", "Submitted, thanks.\n")
        with pytest.raises(
            UserError, match=r"expected a job's number, found 'Submitted, thanks\.'"
        ):
            slurm.submit(script)


class TestMaxArraySize:
    def test_is_the_clusters(self, fakes):
        fakes.says(
            "scontrol", "Configuration data\nMaxArraySize            = 4001\nMaxDBDMsgs = 2\n"
        )
        assert slurm.max_array_size() == 4001
        assert fakes.calls("scontrol") == [["show", "config"]]

    def test_is_slurms_own_where_nobody_answers(self, fakes):
        assert slurm.max_array_size() == 1001
        fakes.then_fails("scontrol", stderr="slurm_load_ctl_conf error: Unable to contact")
        assert slurm.max_array_size() == 1001


class TestQueued:
    def test_knows_each_task_and_a_job_without_array(self, fakes):
        fakes.says("squeue", "12 0 RUNNING\n12 3 PENDING\n13 N/A PENDING\n")
        assert slurm.queued(["12", "13"]) == [
            TaskState("12", 0, "RUNNING"),
            TaskState("12", 3, "PENDING"),
            TaskState("13", 0, "PENDING"),
        ]
        assert fakes.calls("squeue") == [
            ["--noheader", "--array", "--jobs=12,13", "--format=%F %K %T %r"]
        ]

    def test_takes_columns_that_are_padded(self, fakes):
        fakes.says("squeue", "     12     7   COMPLETING  \n")
        assert slurm.queued(["12"]) == [TaskState("12", 7, "COMPLETING")]

    def test_knows_why_tasks_wait(self, fakes):
        fakes.says("squeue", "12 0 RUNNING None\n12 3 PENDING PartitionConfig\n")
        assert [task.reason for task in slurm.queued(["12"])] == ["", "PartitionConfig"]

    def test_a_job_that_slurm_has_forgotten_is_not_in_the_queue(self, fakes):
        fakes.then_fails("squeue", stderr="slurm_load_jobs error: Invalid job id specified\n")
        assert slurm.queued(["12"]) == []

    def test_nothing_is_known_without_squeue_or_without_an_answer(self, fakes):
        assert slurm.queued(["12"]) is None
        fakes.then_fails(
            "squeue", stderr="slurm_load_jobs error: Unable to contact slurm controller"
        )
        assert slurm.queued(["12"]) is None

    def test_nobody_is_asked_about_nothing(self, fakes):
        assert slurm.queued([]) == []


class TestHistory:
    def test_tells_how_tasks_ended(self, fakes):
        fakes.says(
            "sacct",
            "12_0|COMPLETED\n12_1|CANCELLED by 1000\n12_2|OUT_OF_MEMORY\n12_[3-9%4]|PENDING\n"
            "13|FAILED\n",
        )
        assert slurm.history(["12", "13"]) == [
            TaskState("12", 0, "COMPLETED"),
            TaskState("12", 1, "CANCELLED"),
            TaskState("12", 2, "OUT_OF_MEMORY"),
            TaskState("13", 0, "FAILED"),
        ]

    def test_is_empty_where_there_is_no_accounting(self, fakes):
        assert slurm.history(["12"]) == []
        fakes.then_fails("sacct", stderr="Slurm accounting storage is disabled\n")
        assert slurm.history(["12"]) == []
