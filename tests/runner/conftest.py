"""Shared by the runner's tests."""

import signal

import pytest

from sdbatch.runner.interrupt import StopRequest


@pytest.fixture
def listening():
    """`listening(grace_s)`: a stop request that hears real signals until the test ends."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    before = {number: signal.getsignal(number) for number in numbers}

    def listen(grace_s: float) -> StopRequest:
        stop = StopRequest(grace_s)
        stop.listen()
        return stop

    yield listen
    for number, handler in before.items():
        signal.signal(number, handler)
