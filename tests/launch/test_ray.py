"""Tasks on a real Ray cluster of two small nodes on this machine."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from sdbatch.errors import EXIT_DONE, EXIT_INTERRUPTED, EXIT_USER_ERROR
from tests.composing import refusal
from tests.launch.test_cluster import a_shard_is_there, slow, worker_processes
from tests.runner import runs


@pytest.fixture
def cluster(monkeypatch) -> Iterator[Cluster]:
    """A head that takes no work, and two nodes that take a task each."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    # At Ray's own niceness of 15 tasks get next to nothing while other tests run beside them.
    monkeypatch.setenv("RAY_worker_niceness", "0")
    memory = 80 * 2**20
    running = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "object_store_memory": memory, "include_dashboard": False},
    )
    try:
        for _ in range(2):
            running.add_node(num_cpus=1, object_store_memory=memory)
        yield running
    finally:
        running.shutdown()


def start(table: Path, data: Path, address: str, *more: str) -> subprocess.Popen:
    given = [
        *runs.overrides(table, data), "launcher=ray", f"launcher.address='{address}'",
        "launcher.gpus=0", "launcher.cpus=1", "launcher.tasks=2", "max_hours=1", *more,
    ]  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-m", "sdbatch", *given], cwd=runs.ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def output(data: Path) -> str:
    return "".join(path.read_text() for path in sorted(data.glob("logs/ray-*/*.out")))


def test_actors_make_what_a_local_run_makes(cluster, table, data, expected):
    ended = runs.ended(start(table, data, cluster.address))
    assert (ended.code, ended.stdout) == (EXIT_DONE, f"{data}\n")
    assert runs.contents(data) == expected
    assert len(list(data.glob("logs/ray-*/*.out"))) == 2


def test_a_lost_node_takes_nothing_with_it(cluster, tmp_path, table, data, expected):
    launched = start(table, data, cluster.address, slow(tmp_path, 0.5))
    runs.wait_until(lambda: a_shard_is_there(data), "the first shard")
    cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
    ended = runs.ended(launched)
    assert ended.code == EXIT_DONE
    assert "was lost" in ended.stderr
    assert runs.contents(data) == expected
    runs.wait_until(lambda: not worker_processes(data), "the tasks' end", 10)


def test_a_task_that_is_killed_is_started_again(cluster, tmp_path, table, data, expected):
    launched = start(table, data, cluster.address, slow(tmp_path, 0.2))
    runs.wait_until(lambda: a_shard_is_there(data), "the first shard")
    os.kill(min(worker_processes(data)), signal.SIGKILL)
    ended = runs.ended(launched)
    assert ended.code == EXIT_DONE
    assert "was lost (exit -9) and is started again" in ended.stderr
    assert runs.contents(data) == expected


def test_a_stop_ends_all_tasks_in_order_and_the_same_command_goes_on(
    cluster, tmp_path, table, data, expected
):
    launched = start(table, data, cluster.address, slow(tmp_path, 0.3), "grace_s=0")
    runs.wait_until(lambda: a_shard_is_there(data), "the first shard")
    launched.send_signal(signal.SIGTERM)
    ended = runs.ended(launched)
    assert (ended.code, ended.complaint) == (
        EXIT_INTERRUPTED, "interrupted; the same command goes on from here",
    )  # fmt: skip
    assert "SIGUSR1: stopping" in output(data)
    runs.wait_until(lambda: not worker_processes(data), "the tasks' end", 10)
    assert runs.ended(start(table, data, cluster.address)).code == EXIT_DONE
    assert runs.contents(data) == expected


def test_what_a_task_is_refused_for_is_told(cluster, tmp_path, table, data):
    program = tmp_path / "python"
    program.write_text("#!/bin/bash\necho 'sdbatch: error: no GPU here' >&2\nexit 1\n")
    program.chmod(0o755)
    ended = runs.ended(start(table, data, cluster.address, f"launcher.python={program}"))
    assert ended.code == EXIT_USER_ERROR
    assert ended.complaint in ("task 0: no GPU here", "task 1: no GPU here")


def test_without_an_address_the_machine_itself_is_the_cluster(table, data, expected):
    given = [*runs.overrides(table, data), "launcher=ray", "launcher.gpus=0", "launcher.cpus=1",
             "launcher.tasks=2", "max_hours=1"]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "sdbatch", *given], cwd=runs.ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"},
    )  # fmt: skip
    assert runs.ended(process).code == EXIT_DONE
    assert runs.contents(data) == expected


def test_where_no_cluster_answers_is_one_line(table, data):
    ended = runs.ended(start(table, data, "127.0.0.1:1"))
    assert (ended.code, ended.complaint) == (
        EXIT_USER_ERROR, "launcher.address: 127.0.0.1:1: no Ray cluster answers there",
    )  # fmt: skip
    assert not data.exists()


def test_keys_of_slurm_are_not_for_ray():
    assert refusal("launcher=ray", "launcher.partition=gpu") == (
        "launcher.partition: gpu: not for launcher=ray; expected launcher=slurm"
    )
    assert refusal("launcher=slurm", "launcher.address=auto") == (
        "launcher.address: auto: not for launcher=slurm; expected launcher=ray"
    )
