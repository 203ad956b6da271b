"""Seconds by stage, from any thread, whether a stage fails or not."""

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdbatch.stopwatch import Stopwatch


def test_nothing_was_counted_at_first():
    assert Stopwatch().seconds == {}


@given(st.lists(st.tuples(st.sampled_from(["text", "denoise"]), st.integers(0, 1000))))
def test_seconds_add_up_by_stage(added):
    watch = Stopwatch()
    for stage, seconds in added:
        watch.add(stage, seconds)
    names = {stage for stage, _ in added}
    assert watch.seconds == {n: sum(s for stage, s in added if stage == n) for n in names}


def test_a_stage_is_as_long_as_its_block():
    watch = Stopwatch()
    started = time.monotonic()
    with watch.stage("denoise"):
        time.sleep(0.02)
    whole = time.monotonic() - started
    assert 0.02 <= watch.seconds["denoise"] <= whole


def test_a_block_that_fails_counts_too():
    watch = Stopwatch()
    with pytest.raises(KeyError), watch.stage("denoise"):
        raise KeyError
    assert watch.seconds["denoise"] >= 0


def test_threads_lose_nothing_of_each_other():
    watch, threads, turns = Stopwatch(), 4, 5000
    begin = Barrier(threads)

    def count(_):
        begin.wait()
        for _ in range(turns):
            watch.add("encode", 1)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(count, range(threads)))
    assert watch.seconds == {"encode": threads * turns}


def test_what_was_told_does_not_change_afterwards():
    watch = Stopwatch()
    watch.add("text", 1)
    told = watch.seconds
    watch.add("text", 1)
    assert told == {"text": 1}


def test_a_tick_is_passed_on():
    ticks = []
    watch = Stopwatch(on_tick=lambda: ticks.append(1))
    watch.tick()
    watch.tick()
    assert len(ticks) == 2


def test_nobody_needs_to_listen():
    Stopwatch().tick()
