"""Memory that does not suffice: batches shrink, nothing is lost, and they grow again."""

from hypothesis import given, settings
from hypothesis import strategies as st

from sdbatch.runner.batches import GROW_AFTER, BatchSize, is_oom
from tests.runner.painter import Painter, images, made, names


class TestMemory:
    def test_what_did_not_fit_is_made_in_halves_of_the_same_images(self):
        engine = Painter(memory=2)
        found = made(engine, images(*"abcdef"), 4)
        assert engine.batches == [["a", "b", "c", "d"], ["a", "b"], ["c", "d"], ["e", "f"]]
        assert all(one.error is None and one.batch_size == 2 for one in found)

    def test_it_is_given_back_before_the_next_try(self):
        engine = Painter(memory=1)
        made(engine, images(*"abcd"), 4)
        assert engine.releases == 2  # of four, of two

    def test_one_picture_too_large_for_it_fails_alone(self):
        engine = Painter()
        found = made(engine, images("a", "huge", "c"), 2)
        assert engine.batches == [["a", "huge"], ["a"], ["huge"], ["c"]]
        assert [is_oom(one.error) for one in found] == [False, True, False]

    def test_the_smaller_size_is_kept_for_the_next_images(self):
        engine, size = Painter(memory=2), BatchSize(4)
        for _ in range(2):
            made(engine, images(*"abcd"), size)
        assert [len(batch) for batch in engine.batches] == [4, 2, 2, 2, 2]

    @settings(deadline=None)
    @given(
        kinds=st.lists(st.sampled_from(["a", "broken", "huge", "flat"]), max_size=60),
        size=st.integers(1, 32),
        memory=st.integers(1, 32),
    )
    def test_every_image_comes_to_one_end_and_nothing_is_tried_twice(self, kinds, size, memory):
        engine = Painter(memory)
        found = made(engine, images(*(f"{kind} {n}" for n, kind in enumerate(kinds))), size)
        assert names(one.planned for one in found) == [f"{n}-000" for n in range(len(kinds))]
        for kind, one in zip(kinds, found, strict=True):
            expected = {"broken": RuntimeError, "huge": MemoryError}.get(kind)
            assert (one.error is None) == (expected is None)
            assert expected is None or isinstance(one.error, expected)
            assert one.batch_size <= min(size, memory)
        tried = [tuple(batch) for batch in engine.batches]
        assert len(tried) == len(set(tried))

    @given(size=st.integers(1, 64), memory=st.integers(1, 64))
    def test_a_night_wastes_few_batches_on_tries_at_more(self, size, memory):
        """Each try that fails makes the wait for the next one twice as long."""
        batch_size, fitting, failed = BatchSize(size), 0, 0
        while fitting < 1000 * GROW_AFTER:
            if batch_size.now <= memory:
                batch_size.fitted()
                fitting += 1
            else:
                batch_size.too_large(batch_size.now)
                failed += 1
        assert 1 <= batch_size.now <= size
        assert failed <= 6 + 10  # halves of 64, then one after 8, 16, 32 ... batches


class TestGrowth:
    def test_after_some_batches_that_fit_a_halved_size_is_doubled(self):
        size = BatchSize(8)
        size.too_large(8)
        sizes = []
        for _ in range(2 * GROW_AFTER):
            sizes.append(size.now)
            size.fitted()
        assert sizes == [4] * GROW_AFTER + [8] * GROW_AFTER
        assert size.now == 8  # never beyond the limit

    def test_is_longer_in_coming_after_each_try_that_failed(self):
        size, waits = BatchSize(4), []
        for _ in range(4):
            size.too_large(size.now)
            waits.append(0)
            while size.now < 4:
                size.fitted()
                waits[-1] += 1
        assert waits == [GROW_AFTER, 2 * GROW_AFTER, 4 * GROW_AFTER, 8 * GROW_AFTER]

    def test_halving_twice_in_a_row_is_one_try(self):
        size, waits = BatchSize(8), []
        for _ in range(3):
            size.too_large(size.now)
            size.too_large(size.now)
            before = size.now
            waits.append(0)
            while size.now == before:
                size.fitted()
                waits[-1] += 1
        assert waits == [GROW_AFTER, 2 * GROW_AFTER, 4 * GROW_AFTER]

    def test_a_batch_that_does_not_fit_begins_the_count_anew(self):
        size = BatchSize(8)
        size.too_large(8)
        for _ in range(GROW_AFTER - 1):
            size.fitted()
        size.too_large(4)
        for _ in range(GROW_AFTER - 1):
            size.fitted()
        assert size.now == 2

    def test_of_an_odd_limit_ends_at_it(self):
        size = BatchSize(5)
        size.too_large(5)
        for _ in range(10 * GROW_AFTER):
            size.fitted()
        assert size.now == 5

    def test_it_is_the_batch_that_is_halved_not_the_limit(self):
        size = BatchSize(8)
        size.too_large(3)
        assert size.now == 1
        size.too_large(1)
        assert size.now == 1
