"""The command of a task, from that of the job."""

from datetime import datetime, timezone
from pathlib import Path

import pytest

from sdbatch.config.choices import LauncherName
from sdbatch.launch.command import Given, planned_precision, resubmission, task_words
from tests.composing import job

NOW = datetime(2026, 11, 27, 22, 0, tzinfo=timezone.utc)


def words(*overrides: str, flags=()) -> list[str]:
    given = Given(overrides, flags, Path("/work"))
    return task_words(given, job(*overrides), NOW)


def test_it_is_the_jobs_own_with_what_tasks_would_settle_differently_settled():
    assert words("launcher=slurm", "prompts=shapes", "steps=30", "launcher.partition=gpu") == [
        "prompts=shapes", "steps=30", "output.dir=outputs/shapes", "precision=fp16", "device=gpu",
        "grace_s=100", "launcher=task",
    ]  # fmt: skip


def test_flags_are_passed_on():
    assert words("launcher=slurm", flags=["--config-dir", "my conf"])[:2] == [
        "--config-dir",
        "my conf",
    ]


def test_the_warning_decides_the_grace_unless_it_is_given():
    assert "grace_s=40" in words("launcher=slurm", "launcher.warning_s=60")
    own = words("launcher=slurm", "grace_s=10")
    assert [word for word in own if word.startswith("grace_s")] == ["grace_s=10"]


def test_a_time_of_the_day_is_the_one_after_the_submission():
    own = words("launcher=slurm", "stop_at='07:00'")
    (stop_at,) = [word for word in own if word.startswith("stop_at")]
    moment = datetime.fromisoformat(stop_at.removeprefix("stop_at=").strip("'"))
    assert moment.astimezone().strftime("%H:%M") == "07:00"
    assert 0 < (moment - NOW).total_seconds() <= 24 * 3600


def test_resume_never_was_the_submissions_to_obey():
    assert not any(word.startswith("resume") for word in words("launcher=slurm", "resume=never"))
    assert "resume=always" in words("launcher=slurm", "resume=always")


@pytest.mark.parametrize(
    ("overrides", "precision"),
    [
        ([], "fp16"),
        (["launcher.gpus=0"], "fp32"),
        (["device=cpu"], "fp32"),
        (["precision=bf16"], "bf16"),
        (["engine=random"], "none"),
        (["engine=random", "precision=fp16"], "none"),
    ],
)
def test_the_precision_is_that_of_the_machines_of_the_tasks(overrides, precision):
    assert planned_precision(job("launcher=slurm", *overrides)) == precision


def test_a_rehearsal_has_no_precision_to_pass_on():
    assert not any(w.startswith("precision") for w in words("launcher=slurm", "engine=random"))


def test_a_folder_with_blanks_and_chinese_is_quoted_for_hydra():
    assert "output.dir='out/新闻 a'" in words("launcher=slurm", "output.dir='out/新闻 a'")


def test_the_same_command_submits_what_is_missing():
    given = Given(
        ["launcher=slurm", "launcher.dry_run=true", "resume=never", "steps=3"], [], Path("/work")
    )
    kept = ["launcher=slurm", "steps=3"]
    assert resubmission(given, LauncherName.slurm) == [*kept, "launcher.resubmit=true"]
    assert resubmission(given, LauncherName.ray) == kept
