"""`--multirun`: real sweeps, here and through submitit."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sdbatch.errors import EXIT_DONE, EXIT_INTERRUPTED, EXIT_USER_ERROR
from tests.conftest import ROOT
from tests.runner import runs

COMMON = ("engine=random", "workers=1", "width=64", "height=64", "output.shard_size=4")


@pytest.fixture
def table(tmp_path) -> Path:
    return runs.a_table(tmp_path, 8)


def start(folder: Path, *words: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "sdbatch", "--multirun", *COMMON, *words],
        cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def sweep(folder: Path, *words: str) -> tuple[int, list[str], str]:
    """Exit code, the lines of stdout, stderr."""
    process = start(folder, *words)
    stdout, stderr = process.communicate(timeout=240)
    assert "Traceback" not in stderr, stderr
    return process.returncode, stdout.splitlines(), stderr


def test_each_job_has_a_dataset_of_its_own_and_nothing_else_is_left(tmp_path, table):
    code, folders, _ = sweep(tmp_path, f"prompts.path={table}", "scheduler=ddim,euler", "seed=1,2")
    assert code == EXIT_DONE
    names = [f"scheduler-{name},seed-{seed}" for name in ("ddim", "euler") for seed in (1, 2)]
    assert folders == [f"outputs/rows8-sweep/{name}" for name in names]
    for folder in folders:
        assert len(runs.contents(tmp_path / folder)) == 8
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outputs", table.name]
    assert [path.name for path in (tmp_path / "outputs").iterdir()] == ["rows8-sweep"]


def test_a_sweep_that_grew_finds_what_was_made(tmp_path, table):
    here = [f"prompts.path={table}", "output.dir=out"]
    sweep(tmp_path, *here, "seed=1,2")
    before = (tmp_path / "out" / "seed-2" / "shards" / "00000").stat().st_mtime_ns
    code, folders, stderr = sweep(tmp_path, *here, "seed=3,2")
    assert (code, folders) == (EXIT_DONE, ["out/seed-3", "out/seed-2"])
    assert "0 shards to do" in stderr
    assert (tmp_path / "out" / "seed-2" / "shards" / "00000").stat().st_mtime_ns == before


def test_a_job_that_is_refused_does_not_stop_the_others(tmp_path, table):
    code, folders, stderr = sweep(tmp_path, f"prompts.path={table}", "output.dir=out", "steps=0,4")
    assert (code, folders) == (EXIT_USER_ERROR, ["out/steps-4"])
    assert "sdbatch: error: steps: expected 1 or more, found 0" in stderr


def test_datasets_do_not_meet_in_folders_that_are_swept(tmp_path, table):
    code, folders, _ = sweep(tmp_path, f"prompts.path={table}", "output.dir=a,b", "seed=1,2")
    assert code == EXIT_DONE
    assert folders == ["a/seed-1", "a/seed-2", "b/seed-1", "b/seed-2"]


def test_a_job_without_a_table_is_refused_and_the_others_are_made(tmp_path):
    code, folders, stderr = sweep(tmp_path, "prompts=file,shapes", "prompts.limit=2")
    assert (code, folders) == (EXIT_USER_ERROR, ["outputs/shapes-sweep/prompts-shapes"])
    assert "sdbatch: error: prompts.path: required, but not given" in stderr
    assert "Error executing job" not in stderr


@pytest.mark.parametrize("word", ["steps=[", "stepz=1,2", "steps=0,-1"])
def test_what_is_refused_leaves_no_trace(tmp_path, word):
    code, folders, stderr = sweep(tmp_path, "seed=1", word)
    assert (code, folders) == (EXIT_USER_ERROR, [])
    assert "sdbatch: error: " in stderr
    assert list(tmp_path.iterdir()) == []


def test_a_word_that_cannot_be_read_is_one_line(tmp_path):
    code, folders, stderr = sweep(tmp_path, "seed=1,2", "steps=[")
    assert (code, folders) == (EXIT_USER_ERROR, [])
    assert [line for line in stderr.splitlines() if "sdbatch: error:" in line] == [
        stderr.splitlines()[-1]
    ]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_stops_the_whole_sweep_and_the_same_command_goes_on(tmp_path, number):
    table = runs.a_table(tmp_path, 600)
    words = (f"prompts.path={table}", "output.dir=out", "seed=1,2", "grace_s=0",
             "width=256", "height=256")  # fmt: skip
    process = start(tmp_path, *words)
    first = tmp_path / "out" / "seed-1"
    runs.wait_until(lambda: any((first / "shards").glob("*")), "a shard")
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (EXIT_INTERRUPTED, "")
    assert "Traceback" not in stderr
    assert 0 < len(list((first / "shards").iterdir())) < 150
    assert not (tmp_path / "out" / "seed-2").exists()


def test_submitit_runs_the_jobs_in_processes_of_their_own(tmp_path, table):
    words = (f"prompts.path={table}", "output.dir=out", "seed=1,2", "hydra/launcher=submitit_local")
    code, folders, _ = sweep(tmp_path, *words)
    assert (code, folders) == (EXIT_DONE, ["out/seed-1", "out/seed-2"])
    for folder in folders:
        assert len(runs.contents(tmp_path / folder)) == 8
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "outputs", table.name]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_at_the_command_stops_jobs_of_submitit_and_waits_for_them(tmp_path, number):
    table = runs.a_table(tmp_path, 600)
    words = (f"prompts.path={table}", "output.dir=out", "seed=1,2", "grace_s=0",
             "width=256", "height=256", "hydra/launcher=submitit_local")  # fmt: skip
    process = start(tmp_path, *words)
    jobs = [tmp_path / "out" / f"seed-{seed}" for seed in (1, 2)]
    runs.wait_until(lambda: all(any((job / "shards").glob("*")) for job in jobs), "two shards")
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (EXIT_INTERRUPTED, "")
    assert "Traceback" not in stderr
    assert [list((job / "_tmp").iterdir()) for job in jobs] == [[], []]
    assert not any((job / "summary.json").exists() for job in jobs)


def test_a_job_of_submitit_that_is_killed_is_told_and_the_others_are_made(tmp_path):
    table = runs.a_table(tmp_path, 200)
    words = (f"prompts.path={table}", "output.dir=out", "seed=1,2", "width=256", "height=256",
             "hydra/launcher=submitit_local")  # fmt: skip
    process = start(tmp_path, *words)
    runs.wait_until(lambda: any(tmp_path.glob("out/*/shards/*")), "a shard")
    controller = next(pid for pid in runs.children(process.pid) if runs.children(pid))
    (job,) = runs.children(controller)
    os.kill(job, signal.SIGKILL)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == EXIT_INTERRUPTED
    assert "sdbatch: error: a job ended without a word" in stderr
    (made,) = stdout.splitlines()
    assert len(runs.contents(tmp_path / made)) == 200


def test_submitit_tells_of_a_job_that_is_refused(tmp_path, table):
    words = (
        f"prompts.path={table}",
        "output.dir=out",
        "steps=0,4",
        "hydra/launcher=submitit_local",
    )
    code, folders, stderr = sweep(tmp_path, *words)
    assert (code, folders) == (EXIT_USER_ERROR, ["out/steps-4"])
    assert "sdbatch: error: out/steps-0: steps: expected 1 or more, found 0" in stderr


def test_on_slurm_each_job_tells_how_it_alone_is_submitted_again(tmp_path, table, monkeypatch):
    sbatch = tmp_path / "bin" / "sbatch"
    sbatch.parent.mkdir()
    sbatch.write_text("#!/bin/sh\necho 7\n")
    sbatch.chmod(0o755)
    monkeypatch.setenv("PATH", f"{sbatch.parent}{os.pathsep}{os.environ['PATH']}")
    words = (f"prompts.path={table}", "output.dir=out", "seed=1,2", "launcher=slurm",
             "launcher.gpus=0", "launcher.tasks=1")  # fmt: skip
    code, folders, _ = sweep(tmp_path, *words)
    assert (code, len(folders)) == (EXIT_DONE, 2)
    for seed in (1, 2):
        (record,) = tmp_path.glob(f"out/seed-{seed}/logs/slurm-*/launch.json")
        command = json.loads(record.read_text())["command"]
        assert [word for word in command if "output.dir" in word] == [f"output.dir=out/seed-{seed}"]
        assert f"seed={seed}" in command
