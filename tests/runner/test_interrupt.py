"""The first signal asks for an end, the second is one. Real signals, to real processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sdbatch.runner.interrupt import Interrupted

ROOT = Path(__file__).resolve().parent.parent.parent
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
WORKER = """
import os, signal, sys, time
from sdbatch.runner.interrupt import StopRequest
stop = StopRequest(60)
stop.listen()
print("ready", flush=True)
while not stop.requested:
    time.sleep(0.01)
print("asked", flush=True)
time.sleep(60)
print("never shown", flush=True)
"""


def test_work_goes_on_while_nobody_asks(listening):
    stop = listening(0)
    stop.check(float("inf"))
    assert not stop.requested


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
class TestFirstSignal:
    def test_is_a_request(self, listening, number, capfd):
        stop = listening(60)
        os.kill(os.getpid(), number)
        assert stop.requested
        assert capfd.readouterr().err == (
            f"\nsdbatch: {number.name}: stopping; once more to stop at once\n"
        )

    def test_lets_work_end_that_fits_the_grace_time(self, listening, number):
        stop = listening(60)
        os.kill(os.getpid(), number)
        stop.check(1)
        with pytest.raises(Interrupted):
            stop.check(61)


def test_the_grace_time_runs_out(listening):
    stop = listening(0.1)
    os.kill(os.getpid(), signal.SIGTERM)
    stop.check(0)
    time.sleep(0.11)
    with pytest.raises(Interrupted):
        stop.check(0)


def test_no_grace_time_ends_work_that_takes_any(listening):
    stop = listening(0)
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(Interrupted):
        stop.check(0.001)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (signal.SIGTERM, signal.SIGTERM),
        (signal.SIGINT, signal.SIGINT),
        (signal.SIGUSR1, signal.SIGTERM),
    ],
)
def test_the_second_signal_ends_the_process_at_once_with_code_75(first, second):
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout.readline() == "ready\n"
    process.send_signal(first)
    assert process.stdout.readline() == "asked\n"
    process.send_signal(second)
    shown, told = process.communicate(timeout=30)
    assert (process.returncode, shown) == (75, "")
    assert told == f"\nsdbatch: {first.name}: stopping; once more to stop at once\n"
