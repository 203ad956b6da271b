"""Worker processes by themselves: what they are given, what they tell, and how they end."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from sdbatch.engine.device import Device
from sdbatch.engine.random import RandomPixels
from sdbatch.runner.messages import EXIT_DEVICE_LOST, Ready, Refused
from sdbatch.runner.pool import Died, Pool, WorkerProcess
from sdbatch.runner.prepare import Job, prepare
from tests.composing import job as composed
from tests.runner import faults, runs
from tests.runner.faults import Faulty


@pytest.fixture
def job(tmp_path) -> Job:
    table = runs.a_table(tmp_path, 4)
    return prepare(composed(*runs.overrides(table, tmp_path / "data"))).job


@pytest.fixture
def start(job, monkeypatch):
    """`start(load, Device(...), ...)`: a pool; by default of one worker."""
    monkeypatch.setenv("PYTHONPATH", str(runs.ROOT))
    pools = []

    def run(load: Callable, *devices: Device) -> Pool:
        pools.append(Pool(job, devices or (Device("cpu", "none"),), load))
        return pools[-1]

    yield run
    for pool in pools:
        pool.kill()
        while pool.workers:
            list(pool.receive(1))


def heard(pool: Pool, kind: type) -> tuple[WorkerProcess, object]:
    """The next message of a kind, and who sent it."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        for worker, message in pool.receive(1):
            if isinstance(message, kind):
                return worker, message
    raise AssertionError(f"waited 60 s for a {kind.__name__}")


@dataclass(frozen=True)
class Tell:
    """Writes what it finds in its process, and loads."""

    file: Path

    def __call__(self, job: Job, device: Device) -> RandomPixels:
        cores = sorted(os.sched_getaffinity(0))
        self.file.write_text(f"{cores} {os.environ['OMP_NUM_THREADS']} {device.name}")
        return RandomPixels()


def leave_loading_as_lost(job: Job, device: Device) -> RandomPixels:
    os._exit(EXIT_DEVICE_LOST)


def crash_loading(job: Job, device: Device) -> RandomPixels:
    faults.crash()


class TestAWorker:
    def test_tells_when_its_model_is_loaded(self, start):
        _, message = heard(start(Faulty()), Ready)
        assert 0 <= message.seconds < 60

    def test_keeps_to_its_cores(self, start, tmp_path):
        last = max(os.sched_getaffinity(0))
        heard(start(Tell(tmp_path / "told"), Device("cpu", "none", (last,))), Ready)
        assert (tmp_path / "told").read_text() == f"[{last}] 1 cpu"

    def test_without_cores_of_its_own_may_use_all(self, start, tmp_path):
        cores = sorted(os.sched_getaffinity(0))
        heard(start(Tell(tmp_path / "told")), Ready)
        assert (tmp_path / "told").read_text() == f"{cores} {len(cores)} cpu"

    def test_ends_by_itself_when_there_is_no_more(self, start):
        pool = start(Faulty())
        worker, _ = heard(pool, Ready)
        worker.ready = True
        worker.end()
        assert heard(pool, Died) == (worker, Died("it exited with code 0", ""))
        assert pool.workers == []

    def test_is_ended_while_loading_when_there_is_no_more(self, start):
        pool = start(faults.hang_loading)
        pool.workers[0].end()
        assert heard(pool, Died)[1] == Died("nothing was left for it to do", "")

    def test_tells_what_the_user_can_mend_as_it_is(self, start):
        pool = start(faults.refuse_loading)
        assert heard(pool, Refused)[1].text == "weights.bin: expected 4 tensors,\n found 3"
        assert heard(pool, Died)[1] == Died("it exited with code 0", "")

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
    def test_leaves_signals_to_its_parent(self, start, number):
        pool = start(Faulty())
        worker, _ = heard(pool, Ready)
        worker.process.send_signal(number)
        worker.ready = True
        worker.end()
        assert heard(pool, Died)[1].how == "it exited with code 0"

    def test_ends_when_its_parent_hears_no_more(self, start):
        pool = start(Faulty())
        worker, _ = heard(pool, Ready)
        pool.workers.remove(worker)
        worker.connection.close()
        assert worker.process.wait(timeout=30) == 75


class TestADeath:
    @pytest.mark.parametrize(
        ("load", "death"),
        [
            (faults.leave_loading, Died("it exited with code 9", "the last words")),
            (faults.break_loading, Died("it exited with code 1", "RuntimeError: no such driver")),
            (leave_loading_as_lost, Died("it lost its device", "")),
            (crash_loading, Died("killed by SIGSEGV", "")),
        ],
    )
    def test_is_told_with_its_cause_and_the_last_words(self, start, load, death):
        assert heard(start(load), Died)[1] == death

    def test_reads_as_one_line(self):
        assert str(Died("killed by SIGKILL", "")) == "killed by SIGKILL"
        assert str(Died("it exited with code 1", "boom")) == (
            "it exited with code 1 (its last line: boom)"
        )

    def test_makes_room_for_a_worker_of_the_same_number_and_device(self, start):
        pool = start(faults.leave_loading, Device("cpu", "none", (0,)), Device("cpu", "none", (0,)))
        dead, _ = heard(pool, Died)
        assert dead not in pool.workers
        pool.replace(dead)
        new = pool.workers[-1]
        assert (new.number, new.device) == (dead.number, dead.device)
        assert new.process.pid != dead.process.pid

    def test_by_our_own_hand_is_told_with_our_reason(self, start):
        pool = start(faults.hang_loading)
        pool.workers[0].kill("it slept")
        assert heard(pool, Died)[1].how == "it slept"


class TestAPool:
    def test_that_is_stopped_ends_those_that_load_and_asks_the_others(self, start, tmp_path):
        load = faults.FirstLoads(Faulty(), faults.hang_loading, tmp_path / "first")
        pool = start(load, Device("cpu", "none"), Device("cpu", "none"))
        ready, _ = heard(pool, Ready)
        ready.ready = True
        pool.stop(60)
        how = {}
        while pool.workers:
            worker, death = heard(pool, Died)
            how[worker is ready] = death.how
        assert how == {True: "it exited with code 0", False: "it was stopped while loading"}

    def test_that_is_killed_leaves_no_process(self, start):
        pool = start(faults.hang_loading, Device("cpu", "none"), Device("cpu", "none"))
        processes = [worker.process for worker in pool.workers]
        pool.kill()
        assert [process.wait(timeout=30) for process in processes] == [-signal.SIGKILL] * 2
