"""Which shards are whose: every one has one owner, whatever is to be made."""

from hypothesis import given
from hypothesis import strategies as st

from sdbatch.runner.messages import Unit
from sdbatch.runner.share import Share

TODO = st.none() | st.sets(st.integers(0, 60)).map(sorted)


def units(count: int = 64) -> list[Unit]:
    return [Unit(shard, f"{shard:05d}") for shard in range(count)]


def shards(share: Share) -> list[int]:
    return [unit.shard for unit in units() if share.owns(unit)]


def test_a_share_is_a_stride():
    assert shards(Share(1, 3))[:4] == [1, 4, 7, 10]


def test_a_share_of_what_is_missing_is_a_stride_over_that():
    assert shards(Share(1, 3, [0, 5, 6, 9, 20])) == [5, 20]


def test_a_single_run_has_all():
    assert shards(Share(0, 1)) == list(range(64))


def test_a_repair_is_its_shards_owners():
    assert Share(1, 3).owns(Unit(4, "00004.r1"))
    assert not Share(1, 3, [0, 5]).owns(Unit(4, "00004.r1"))


@given(st.integers(1, 70), TODO)
def test_every_shard_that_is_asked_for_has_one_owner(count, todo):
    shares = [Share(index, count, todo) for index in range(count)]
    for unit in units():
        owners = sum(share.owns(unit) for share in shares)
        wanted = todo is None or unit.shard in todo
        assert owners == wanted
        assert all(share.asked_for(unit) is wanted for share in shares)


@given(st.integers(1, 70), TODO)
def test_shares_differ_by_a_shard_at_most(count, todo):
    sizes = [len(shards(Share(index, count, todo))) for index in range(count)]
    assert max(sizes) - min(sizes) <= 1
