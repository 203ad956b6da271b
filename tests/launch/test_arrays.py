"""Splitting a launch into arrays."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdbatch.errors import UserError
from sdbatch.launch.arrays import Slice, split


def test_one_array_where_the_cluster_takes_it():
    assert split(16, 4, 1001) == [Slice(0, 16, 4)]
    assert split(1001, 16, 1001) == [Slice(0, 1001, 16)]


def test_as_few_as_the_cluster_needs_of_even_length():
    assert split(2500, 32, 1001) == [Slice(0, 834, 11), Slice(834, 833, 11), Slice(1667, 833, 10)]


def test_no_limit_is_none_in_every_array():
    assert split(3, None, 2) == [Slice(0, 2, None), Slice(2, 1, None)]


def test_a_limit_above_what_there_is_says_no_more_than_that():
    assert split(3, 16, 1001) == [Slice(0, 3, 3)]


def test_a_limit_that_leaves_an_array_nothing_is_refused():
    with pytest.raises(UserError, match=r"^launcher.max_parallel: 2: 30 tasks need 3 arrays here"):
        split(30, 2, 10)


def test_a_cluster_without_arrays_is_refused():
    with pytest.raises(UserError, match="MaxArraySize is 0"):
        split(1, 1, 0)


@given(st.integers(1, 5000), st.none() | st.integers(1, 200), st.integers(1, 1500))
def test_every_task_is_in_one_array_and_no_limit_is_passed(tasks, limit, largest):
    try:
        slices = split(tasks, limit, largest)
    except UserError:
        assert limit < -(-tasks // largest)
        return
    assert [n for one in slices for n in range(one.first, one.first + one.tasks)] == list(
        range(tasks)
    )
    assert all(one.tasks <= largest for one in slices)
    if limit is None:
        assert all(one.parallel is None for one in slices)
    else:
        assert all(one.parallel >= 1 for one in slices)
        assert sum(one.parallel for one in slices) == min(limit, tasks) or len(slices) > 1
        assert sum(one.parallel for one in slices) <= limit
