"""The first signal asks for an end, the second is one. Real signals, to real processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdbatch.runner.interrupt import Interrupted, StopRequest, TimeLeft

ROOT = Path(__file__).resolve().parent.parent.parent
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
PARENT = """
import sys, time
from sdbatch.runner.interrupt import StopRequest
stop = StopRequest()
stop.at_once = lambda: print("workers ended", flush=True)
stop.listen()
print("ready", flush=True)
while not stop.requested:
    time.sleep(0.01)
print("asked", flush=True)
time.sleep(60)
print("never shown", flush=True)
"""
WORKER = """
import os, signal
from sdbatch.runner.interrupt import ignore_signals
ignore_signals()
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
    os.kill(os.getpid(), number)
print("still here")
"""


@pytest.fixture
def stop():
    """A request that hears real signals until the test ends."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    stop = StopRequest()
    stop.listen()
    yield stop
    for number, handler in before.items():
        signal.signal(number, handler)


def test_nobody_asks_at_first(stop):
    assert not stop.requested


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_the_first_signal_is_a_request_and_nothing_else(stop, number, capfd):
    ended = []
    stop.at_once = lambda: ended.append(True)
    os.kill(os.getpid(), number)
    assert stop.requested
    assert ended == []
    assert capfd.readouterr().err == (
        f"\nsdbatch: {number.name}: stopping; once more to stop at once\n"
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (signal.SIGTERM, signal.SIGTERM),
        (signal.SIGINT, signal.SIGINT),
        (signal.SIGUSR1, signal.SIGTERM),
    ],
)
def test_the_second_signal_ends_workers_and_process_at_once_with_code_75(first, second):
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout.readline() == "ready\n"
    process.send_signal(first)
    assert process.stdout.readline() == "asked\n"
    process.send_signal(second)
    shown, told = process.communicate(timeout=30)
    assert (process.returncode, shown) == (75, "workers ended\n")
    assert told == f"\nsdbatch: {first.name}: stopping; once more to stop at once\n"


def test_a_worker_hears_no_signal():
    """A terminal sends Ctrl-C to the whole group; the parent says what is to be done."""
    worker = subprocess.run(
        [sys.executable, "-c", WORKER], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (worker.returncode, worker.stdout) == (0, "still here\n")


class TestTimeLeft:
    def test_is_without_end_until_there_is_a_limit(self):
        left = TimeLeft()
        assert not left.limited
        left.check(float("inf"))

    def test_lets_work_end_that_fits(self):
        left = TimeLeft()
        left.limit(60)
        assert left.limited
        left.check(1)
        with pytest.raises(Interrupted):
            left.check(61)

    def test_runs_out(self):
        left = TimeLeft()
        left.limit(0.02)
        time.sleep(0.03)
        with pytest.raises(Interrupted):
            left.check(0)

    def test_none_ends_work_that_takes_any(self):
        left = TimeLeft()
        left.limit(0)
        with pytest.raises(Interrupted):
            left.check(0.001)

    @given(st.lists(st.floats(0, 1e6), min_size=1))
    def test_only_ever_gets_shorter(self, limits):
        left = TimeLeft()
        for seconds in limits:
            left.limit(seconds)
        with pytest.raises(Interrupted):
            left.check(min(limits) + 1)
        if min(limits) > 60:
            left.check(min(limits) - 60)
