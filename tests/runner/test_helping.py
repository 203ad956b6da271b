"""What a task makes when its own share is done."""

import os
from contextlib import ExitStack

import pytest

from sdbatch.runner.helping import Helper
from sdbatch.runner.share import Share
from tests.dataset.making import a_plan, begin, make

PLAN = a_plan(rows=8, shard_size=2)
NAMES = {"00000", "00001", "00002", "00003"}


@pytest.fixture
def store(tmp_path):
    return begin(tmp_path, PLAN)


def found(store, known=(), share=Share(0, 2), times: int = 40) -> set[str | None]:  # noqa: B008
    """Names of what a helper may find."""
    units = [Helper(PLAN, store, share).find(known) for _ in range(times)]
    return {unit and unit.name for unit in units}


def test_it_is_any_shard_that_nobody_has_in_hand(store):
    with store.begin("00001"):
        assert found(store) == NAMES - {"00001"}


def test_what_the_task_has_or_gave_up_is_not_helped_with(store):
    assert found(store, known=NAMES - {"00002"}) == {"00002"}
    assert found(store, known=NAMES) == {None}


def test_only_shards_that_were_asked_for_are_made(store):
    assert found(store, share=Share(0, 2, [1, 3])) == {"00001", "00003"}


def test_when_every_shard_is_there_nothing_is_left(store):
    for shard, name in enumerate(sorted(NAMES)):
        make(store, name, {f"{2 * shard + n}-000": "ok" for n in range(2)})
    assert found(store) == {None}


def test_at_the_end_a_shard_in_one_other_hand_is_made_as_well(store):
    make(store, "00000", {"0-000": "ok", "1-000": "ok"})
    with ExitStack() as hands:
        for name in ("00001", "00002", "00003", "00003"):
            hands.enter_context(store.begin(name))
        assert found(store) == {"00001", "00002"}


def test_no_shard_is_made_three_times(store):
    with ExitStack() as hands:
        for name in [*NAMES, *NAMES]:
            hands.enter_context(store.begin(name))
        assert found(store) == {None}


def test_an_attempt_that_is_silent_counts_for_nothing(store):
    with ExitStack() as hands:
        for name in [*NAMES, *NAMES]:
            hands.enter_context(store.begin(name))
        for folder in [*store.tmp.glob("00002.*"), *store.tmp.glob("00002.*/images")]:
            os.utime(folder, (1e9, 1e9))
        assert found(store) == {"00002"}


def test_repairs_are_their_owners(store):
    for shard, name in enumerate(sorted(NAMES)):
        make(store, name, {f"{2 * shard + n}-000": "failed" for n in range(2)})
    assert found(store) == {None}
