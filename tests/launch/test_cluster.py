"""A real Slurm runs real tasks; whatever happens to them, the dataset is that of a local run."""

import os
import pickle
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sdbatch.errors import EXIT_DONE, EXIT_INTERRUPTED
from tests.launch.cluster import Cluster, cluster, lacking
from tests.runner import runs
from tests.runner.faults import Faulty, Load, Pause

ROWS = 48
SMALL = ("launcher.gpus=0", "launcher.cpus=1", "launcher.memory=500M", "launcher.merge_memory=500M")


@pytest.fixture(scope="module")
def slurm(tmp_path_factory) -> Iterator[Cluster]:
    """One for all tests of this process."""
    if missing := lacking():
        text = f"{', '.join(missing)}: not installed; tools/setup_programs.sh installs Slurm"
        if os.environ.get("SDBATCH_PROGRAMS") == "required":
            pytest.fail(text)
        pytest.skip(text)
    with cluster(tmp_path_factory.mktemp("slurm")) as running:
        yield running


@pytest.fixture
def data(tmp_path) -> Path:
    return tmp_path / "my data"


def slow(tmp_path: Path, seconds: float) -> str:
    """`launcher.python=...`: sdbatch with an engine that takes its time over each picture."""
    load: Load = Faulty({"": Pause(seconds)})
    program = tmp_path / "slow-python"
    python = shlex.quote(sys.executable)
    program.write_text(
        f"#!/bin/bash\n"
        f'[ "$2" = sdbatch ] || exec {python} "$@"\n'
        f'exec {python} -m tests.runner.runs {pickle.dumps(load).hex()} "${{@:3}}"\n'
    )
    program.chmod(0o755)
    return f"launcher.python={program}"


def command(slurm: Cluster, module: str, *arguments: str) -> runs.Ended:
    """The real command, where Slurm's commands talk to this cluster."""
    return runs.ended(
        subprocess.Popen(
            [sys.executable, "-m", module, *arguments], cwd=runs.ROOT, text=True,
            env={**os.environ, **slurm.environment},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
    )  # fmt: skip


def launch(slurm: Cluster, table: Path, data: Path, *more: str) -> str:
    """Submit; returns the array's id."""
    given = [*runs.overrides(table, data), "launcher=slurm", *SMALL, "max_hours=1", *more]
    ended = command(slurm, "sdbatch", *map(quoted, given))
    assert (ended.code, ended.stdout) == (EXIT_DONE, f"{data}\n")
    return re.search(r"\(job (\d+)\)", ended.stderr)[1]


def quoted(override: str) -> str:
    key, equals, value = override.partition("=")
    return f"{key}='{value}'" if equals and " " in value else override


def output(data: Path) -> str:
    """All that tasks and merge jobs said."""
    return "".join(path.read_text() for path in sorted(data.glob("logs/slurm-*/*.out")))


def a_shard_is_there(data: Path) -> bool:
    return any((data / "shards").glob("*"))


def worker_processes(data: Path) -> list[int]:
    """The Python processes of tasks that make this dataset."""
    found = []
    for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = cmdline.read_bytes().split(b"\0")
        except OSError:
            continue
        own = any(str(data).encode() in word for word in words)
        if own and any(word.startswith(b"launcher.index=") for word in words):
            found.append(int(cmdline.parent.name))
    return found


def test_eight_tasks_two_at_a_time_make_the_demo(slurm, tmp_path, data):
    table = runs.a_table(tmp_path, 16)
    demo = ("engine=auto", "steps=2", "output.shard_size=1")
    assert runs.run(table, tmp_path / "local", *demo).exit_code == EXIT_DONE
    job = launch(slurm, table, data, *demo, "launcher.tasks=8", "launcher.max_parallel=2")
    most = 0
    while queue := slurm.queue():
        most = max(most, sum(name.startswith(f"{job}_") and state == "RUNNING"
                             for name, state in queue))  # fmt: skip
    assert most == 2
    assert runs.contents(data) == runs.contents(tmp_path / "local")
    assert "16 planned = 16 ok" in output(data)


def test_a_warning_makes_a_task_queue_again_and_go_on(slurm, tmp_path, table, data, expected):
    job = launch(slurm, table, data, slow(tmp_path, 0.3), "launcher.tasks=1")
    runs.wait_until(lambda: a_shard_is_there(data), "the first shard")
    slurm.ask("scancel", "--batch", "--signal=USR1", f"{job}_0")
    slurm.wait_until_empty()
    assert "the time is up: this task queues again" in output(data)
    assert runs.contents(data) == expected
    # One log, with both runs of the task in it.
    (log,) = data.glob("logs/slurm-*/00000/sdbatch.log")
    assert log.read_text().count("48 prompts, 48 images") == 2


def test_tasks_that_are_preempted_go_on_when_they_run_again(slurm, tmp_path, table, data, expected):
    job = launch(slurm, table, data, slow(tmp_path, 0.3), "launcher.tasks=2")
    runs.wait_until(lambda: a_shard_is_there(data), "the first shard")
    slurm.ask("scontrol", "requeue", f"{job}_0")
    slurm.ask("scontrol", "requeue", f"{job}_1")
    slurm.wait_until_empty()
    assert runs.contents(data) == expected


def test_the_others_do_the_share_of_a_task_that_was_killed(slurm, tmp_path, table, data, expected):
    launch(slurm, table, data, slow(tmp_path, 0.3), "launcher.tasks=3")
    runs.wait_until(lambda: a_shard_is_there(data), "the first shard")
    os.kill(min(worker_processes(data)), signal.SIGKILL)
    slurm.wait_until_empty()
    assert runs.contents(data) == expected


def test_a_lost_node_takes_nothing_with_it(slurm, tmp_path, table, data, expected):
    job = launch(slurm, table, data, slow(tmp_path, 0.3), "launcher.tasks=1")
    runs.wait_until(lambda: a_shard_is_there(data), "the first shard")
    node = slurm.ask("squeue", "--noheader", "--format=%N", f"--jobs={job}_0").strip()
    slurm.lose(node)
    slurm.wait_until_empty()
    assert runs.contents(data) == expected
    assert output(data).count("48 prompts, 48 images") == 2
    assert f"Nodes {node} not responding" in (slurm.folder / "slurmctld.log").read_text()


def test_a_time_limit_is_no_end(slurm, tmp_path, data):
    """Slurm's shortest limit is a minute, and its warning may come a minute early."""
    table = runs.a_table(tmp_path, 200)
    more = ("launcher.tasks=1", "launcher.time=0:01:00", "launcher.warning_s=30", "grace_s=10")
    launch(slurm, table, data, slow(tmp_path, 0.3), *more)
    slurm.wait_until_empty(400)
    assert "the time is up: this task queues again" in output(data)
    assert len(runs.contents(data)) == 200


def test_what_is_missing_is_told_and_can_be_submitted_alone(slurm, tmp_path, table, data, expected):
    job = launch(slurm, table, data, slow(tmp_path, 0.3), "launcher.tasks=2")
    runs.wait_until(lambda: a_shard_is_there(data), "the first shard")
    slurm.ask("scancel", f"{job}")
    slurm.wait_until_empty()
    assert re.search(r"sdbatch: error: .*: \d+ of 12 shards are missing: 000", output(data))
    assert not (data / "metadata.parquet").exists()
    there = runs.shards(data)

    shown = subprocess.run(
        [sys.executable, "-m", "sdbatch.status", str(data)], cwd=runs.ROOT, text=True,
        env={**os.environ, **slurm.environment}, capture_output=True,
    )  # fmt: skip
    assert shown.returncode == EXIT_INTERRUPTED
    lines = {line[:14].strip(): line[15:] for line in shown.stdout.splitlines()}
    assert lines["tasks"] == "none in the queue"
    assert re.search("CANCELLED AT|error: interrupted", lines["failed task"])

    resubmit = lines["resubmit"].replace("python", shlex.quote(sys.executable), 1)
    subprocess.run(["bash", "-c", resubmit], env={**os.environ, **slurm.environment}, check=True)
    slurm.wait_until_empty()
    assert runs.contents(data) == expected
    newest = max(data.glob("logs/slurm-*/launch.json"), key=lambda path: path.stat().st_mtime)
    todo = re.search(r'"todo": \[([\d,\s]*)\]', newest.read_text())[1]
    assert {f"{int(shard):05d}" for shard in todo.split(",")}.isdisjoint(there)


def test_arrays_longer_than_the_cluster_takes_are_split(slurm, tmp_path, data):
    table = runs.a_table(tmp_path, 130)
    more = ("output.shard_size=1", "launcher.tasks=130", "launcher.max_parallel=4")
    launched = command(slurm, "sdbatch", *map(quoted, [
        *runs.overrides(table, data), "launcher=slurm", *SMALL, "max_hours=1", *more
    ]))  # fmt: skip
    assert re.search(r"130 tasks \(job \d+ \d+\)", launched.stderr)
    slurm.wait_until_empty()
    assert len(runs.contents(data)) == 130


@pytest.mark.parametrize("more", [
    ("launcher.gpus=2", "launcher.gpu_type=a100", "launcher.partition=night"),
    ("launcher.gpus=1", "launcher.job_name=新闻 tonight", "launcher.time='1-00:00:00'"),
    (),
])  # fmt: skip
def test_slurm_accepts_every_script(slurm, tmp_path, table, data, more):
    folder = tmp_path / "100% 新闻" / "data"
    given = [*runs.overrides(table, folder), "launcher=slurm", *SMALL, *more,
             "launcher.dry_run=true"]  # fmt: skip
    shown = command(slurm, "sdbatch", *map(quoted, given)).stdout
    scripts = re.split(r"^# \S+\.sbatch\n", shown, flags=re.MULTILINE)[1:]
    assert len(scripts) == 2
    for text in scripts:
        done = subprocess.run(
            ["sbatch", "--test-only"], input=text, text=True, capture_output=True,
            env={**os.environ, **slurm.environment},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "to start at" in done.stderr


def test_the_template_makes_the_same_dataset(slurm, tmp_path, table, data, expected):
    given = [*map(quoted, runs.overrides(table, data)), "max_hours=1"]
    environment = {**os.environ, **slurm.environment}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    subprocess.run(
        ["sbatch", "--array=0-3%2", "--cpus-per-task=1", "--mem=500M", "--gres=none",
         f"--output={tmp_path}/%A_%a.out", "slurm/array.sbatch", *given],
        cwd=runs.ROOT, env=environment, check=True, capture_output=True,
    )  # fmt: skip
    slurm.wait_until_empty()
    assert runs.contents(data) == expected


def test_a_sweep_through_submitit_has_a_job_for_each_dataset(slurm, tmp_path, table, expected):
    given = ["--multirun", "hydra/launcher=submitit_slurm", "hydra.launcher.partition=night",
             "hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=1", "seed=0,1",
             *runs.overrides(table, tmp_path / "out")]  # fmt: skip
    ended = runs.ended(
        subprocess.Popen(
            [sys.executable, "-m", "sdbatch", *given], cwd=tmp_path, text=True,
            env={**os.environ, **slurm.environment, "PYTHONPATH": str(runs.ROOT)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
    )  # fmt: skip
    folders = [tmp_path / "out" / f"seed-{seed}" for seed in (0, 1)]
    assert (ended.code, ended.stdout.splitlines()) == (EXIT_DONE, list(map(str, folders)))
    assert runs.contents(folders[0]) == expected
    assert len(runs.contents(folders[1])) == ROWS
