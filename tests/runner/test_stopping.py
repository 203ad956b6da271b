"""A run that is stopped, by a signal, a deadline or a power cut, loses what was in hand at most."""

import os
import signal
import subprocess
from datetime import datetime, timedelta

import pytest

from sdbatch.errors import EXIT_DONE, EXIT_INTERRUPTED, EXIT_USER_ERROR
from tests.runner import faults, runs
from tests.runner.faults import Faulty, Pause


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory) -> runs.Reference:
    return runs.undisturbed(tmp_path_factory.getbasetemp())


@pytest.fixture
def start(tmp_path, undisturbed):
    """`start({"row 1": fault}, ...)`: the real command, image by image; killed at the end."""
    started: list[subprocess.Popen] = []

    def run(misbehaviour, *overrides: str) -> subprocess.Popen:
        load = misbehaviour if callable(misbehaviour) else Faulty(misbehaviour)
        more = ("batch_size=1", *overrides)
        process = runs.start(undisturbed.table, tmp_path / "data", *more, load=load)
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


@pytest.fixture
def goes_on(tmp_path, undisturbed):
    """The same command again makes what an undisturbed run makes."""

    def check() -> None:
        assert runs.run(undisturbed.table, tmp_path / "data").exit_code == EXIT_DONE
        assert runs.contents(tmp_path / "data") == undisturbed.contents

    return check


@pytest.fixture
def begun(tmp_path):
    """A file for `Pause`."""
    return tmp_path / "begun"


def wait_for(begun) -> None:
    runs.wait_until(begun.exists, "an image to be begun")


def left_over(folder) -> list:
    return list((folder / "_tmp").iterdir())


class TestTheFirstSignal:
    def test_lets_a_shard_end_that_fits_the_grace_time(self, start, begun, goes_on, tmp_path):
        run = start({"row 1": Pause(0.5, begun)}, "grace_s=60")
        wait_for(begun)
        run.send_signal(signal.SIGUSR1)
        ended = runs.ended(run)
        assert ended.code == EXIT_INTERRUPTED
        assert ended.complaint == "interrupted; the same command goes on from here"
        assert "sdbatch: SIGUSR1: stopping; once more to stop at once" in ended.stderr
        assert runs.shards(tmp_path / "data") == {"00000"}
        assert left_over(tmp_path / "data") == []
        goes_on()

    def test_to_the_whole_group_drops_one_that_does_not(self, start, begun, goes_on, tmp_path):
        run = start({"": Pause(0.7), "row 1": Pause(0, begun)}, "grace_s=1")
        wait_for(begun)
        os.killpg(run.pid, signal.SIGINT)
        assert runs.ended(run).code == EXIT_INTERRUPTED
        assert runs.shards(tmp_path / "data") == set()
        assert left_over(tmp_path / "data") == []
        goes_on()

    @pytest.mark.parametrize("send", [os.kill, os.killpg])
    def test_while_the_model_is_loaded_leaves_no_trace(self, start, tmp_path, send):
        run = start(faults.hang_loading, "workers=2")
        runs.wait_until(lambda: len(runs.children(run.pid)) == 2, "two workers")
        send(run.pid, signal.SIGTERM)
        assert runs.ended(run).code == EXIT_INTERRUPTED
        assert not (tmp_path / "data").exists()


def test_the_second_signal_ends_all_at_once(start, begun, goes_on):
    run = start({"": Pause(60, begun)}, "workers=2")
    wait_for(begun)
    workers = runs.children(run.pid)
    assert len(workers) == 2
    os.killpg(run.pid, signal.SIGTERM)
    while "once more to stop at once" not in run.stderr.readline():
        assert run.poll() is None
    os.killpg(run.pid, signal.SIGTERM)
    assert run.wait(timeout=20) == EXIT_INTERRUPTED
    runs.wait_for_the_end(workers)
    goes_on()


def test_workers_do_not_outlive_their_parent(start, begun, goes_on):
    run = start({"": Pause(60, begun)}, "workers=2")
    wait_for(begun)
    workers = runs.children(run.pid)
    assert len(workers) == 2
    run.kill()
    run.wait()
    runs.wait_for_the_end(workers)
    goes_on()


class TestADeadline:
    @pytest.mark.parametrize("key", ["stop_at", "max_hours"])
    def test_ends_the_run_in_time(self, start, goes_on, tmp_path, key):
        end = datetime.now() + timedelta(seconds=5)
        value = {"stop_at": f"{end:%Y-%m-%dT%H:%M:%S}", "max_hours": 3 / 3600}[key]
        ended = runs.ended(start({"": Pause(0.5)}, f"{key}={value}", "grace_s=0.5"))
        assert ended.code == EXIT_INTERRUPTED
        assert f"{key} " in ended.stderr
        assert "is near: stopping" in ended.stderr
        assert len(runs.shards(tmp_path / "data")) < 3
        assert left_over(tmp_path / "data") == []
        goes_on()

    @pytest.mark.parametrize("value", ["2020-01-01T07:00", "tonight"])
    def test_that_is_none_is_refused(self, start, tmp_path, value):
        ended = runs.ended(start({}, f"stop_at={value}"))
        assert ended.code == EXIT_USER_ERROR
        assert ended.complaint.startswith("stop_at: expected ")
        assert value in ended.complaint
        assert ended.stderr.count("\n") == 1
        assert not (tmp_path / "data").exists()
