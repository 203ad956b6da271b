"""The launcher's keys: what is refused, in one line, before anything is asked of Slurm."""

import pytest

from tests.composing import job, refusal


def test_keys_of_slurm_are_not_for_a_run_on_this_machine():
    assert refusal("launcher.partition=gpu") == (
        "launcher.partition: gpu: not for launcher=local; expected launcher=slurm"
    )


def test_index_and_count_are_for_a_task():
    assert refusal("launcher=slurm", "launcher.index=3") == (
        "launcher.index: 3: not for launcher=slurm; expected launcher=task"
    )


def test_a_task_may_have_the_keys_of_its_launch():
    assert job("launcher=task", "launcher.partition=gpu").launcher.partition == "gpu"


def test_an_index_is_below_the_count():
    assert refusal("launcher=task", "launcher.index=3", "launcher.count=3") == (
        "launcher.index: expected 0 to 2 (launcher.count is 3), found 3"
    )


@pytest.mark.parametrize("time", ["43200", "90", "'1:00'", "tonight"])
def test_a_time_that_yaml_or_slurm_would_read_otherwise_is_refused(time):
    assert refusal("launcher=slurm", f"launcher.time={time}").startswith(
        "launcher.time: expected H:MM:SS, D-HH or D-HH:MM:SS, in quotes, found "
    )


@pytest.mark.parametrize("time", ["12:00:00", "'1-12'", "'7-00:00:00'", "UNLIMITED", "null"])
def test_a_time_as_slurm_writes_it_is_taken(time):
    job("launcher=slurm", f"launcher.time={time}")


def test_text_that_would_be_another_line_of_a_script_is_refused(tmp_path):
    (tmp_path / "launcher").mkdir()
    own = tmp_path / "launcher" / "mine.yaml"
    own.write_text('defaults: [slurm, _self_]\nsetup: ["a\\nb"]\n')
    assert refusal("launcher=mine", config_dir=tmp_path) == (
        r"launcher.setup: expected text of one line, found 'a\nb'"
    )


@pytest.mark.parametrize(
    ("override", "refused"),
    [
        ("launcher.tasks=0", "launcher.tasks: expected 1 or more, found 0"),
        ("launcher.max_parallel=0", "launcher.max_parallel: expected 1 or more, found 0"),
        ("launcher.gpus=-1", "launcher.gpus: expected 0 or more, found -1"),
        ("launcher.warning_s=5", "launcher.warning_s: expected 10 to 65535, found 5"),
        ("launcher.max_requeues=-1", "launcher.max_requeues: expected 0 or more, found -1"),
    ],
)
def test_numbers_have_their_ranges(override, refused):
    assert refusal("launcher=slurm", override) == refused


def test_the_example_is_sound():
    found = job("launcher=slurm_4h_preemptible").launcher
    assert (found.partition, found.time, found.gpus) == ("preemptible", "4:00:00", 1)
