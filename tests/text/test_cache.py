"""A cache keeps what was used last, and never more bytes than it may."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdbatch.text.cache import ByteCache


@pytest.fixture
def cache():
    """Of ten bytes, for texts as long as they are large."""
    return ByteCache(10, len)


def never():
    raise AssertionError("is there already")


def test_a_value_is_made_once(cache):
    assert cache.get("a", lambda: "xxx") == "xxx"
    assert cache.get("a", never) == "xxx"
    assert cache.used == 3


def test_the_one_unused_for_longest_goes_first(cache):
    for key in "abc":
        cache.get(key, lambda: "xxx")
    cache.get("a", never)
    cache.get("d", lambda: "xxx")  # "b" goes
    for key in "acd":
        cache.get(key, never)
    assert cache.get("b", lambda: "new") == "new"


def test_a_value_that_is_too_large_is_given_but_not_kept(cache):
    cache.get("a", lambda: "xxx")
    assert cache.get("b", lambda: "x" * 11) == "x" * 11
    assert cache.used == 3
    cache.get("a", never)
    assert cache.get("b", lambda: "again") == "again"


def test_a_cache_of_nothing_keeps_nothing():
    cache = ByteCache(0, len)
    assert [cache.get("a", lambda: "xxx"), cache.used] == ["xxx", 0]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 12))))
def test_it_is_never_over_its_limit(calls):
    cache = ByteCache(10, len)
    for key, size in calls:
        cache.get(key, lambda size=size: "x" * size)
        assert cache.used <= 10
