"""Which images share a batch, what is told of them, and what a failure costs."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdbatch.inputs import BadImage
from sdbatch.plan import plan_image
from sdbatch.request import ImageInputs
from sdbatch.runner.batches import (
    BatchSize,
    DeviceLost,
    in_order,
    is_device_lost,
    is_oom,
    make,
)
from sdbatch.runner.inputs import InputsAhead, LoadedInputs
from sdbatch.stopwatch import Stopwatch
from tests.examples import a_row, some_settings
from tests.runner.painter import Painter, batches, images, made, names, prompts, read_nothing

planned = st.lists(
    st.builds(
        lambda name, **changes: plan_image(
            some_settings(width=16, height=8), a_row(id=str(name), **changes), 0
        ),
        st.integers(),
        width=st.sampled_from([None, 24, 32]),
        steps=st.sampled_from([None, 5]),
        guidance_scale=st.sampled_from([None, 1.0, 3.0]),
        init_image=st.sampled_from([None, "a.png"]),
        strength=st.sampled_from([None, 0.5]),
    ),
    max_size=30,
    unique_by=lambda image: image.image_id,
)
sizes = st.integers(1, 8)


class TestWhatSharesABatch:
    @given(planned, sizes)
    def test_every_image_is_made_exactly_once(self, images, size):
        found = [one.planned for one in made(Painter(), images, size)]
        assert sorted(names(found)) == sorted(names(images))

    @given(planned, sizes)
    def test_no_batch_is_empty_or_larger_than_asked(self, images, size):
        assert all(1 <= len(batch) <= size for batch in batches(Painter(), images, size))

    @given(planned, sizes)
    def test_it_holds_one_size_step_count_strength_and_guidance(self, images, size):
        for batch in batches(Painter(), images, size):
            assert len({one.planned.request.batch_key for one in batch}) == 1

    @given(planned, sizes)
    def test_there_are_as_few_as_can_be(self, images, size):
        keys = [image.request.batch_key for image in images]
        fewest = sum(-(-keys.count(key) // size) for key in set(keys))
        assert len(batches(Painter(), images, size)) == fewest

    @given(planned, sizes)
    def test_the_order_is_kept_within_a_kind_and_known_beforehand(self, images, size):
        found = [one.planned for one in made(Painter(), images, size)]
        assert found == in_order(images, lambda request: request.batch_key)
        for kind in {image.request.batch_key for image in images}:
            of_kind = [
                [i for i in order if i.request.batch_key == kind] for order in (found, images)
            ]
            assert of_kind[0] == of_kind[1]

    def test_what_the_engine_tells_apart_is_not_mixed(self):
        class ByWords(Painter):
            def batch_key(self, request):
                return len(request.prompt.split())

        engine = ByWords()
        made(engine, images("a", "b c", "d"), 4)
        assert engine.batches == [["a", "d"], ["b c"]]

    def test_guidance_scales_may_differ_within_a_batch(self):
        pair = [images("a", id=str(scale), guidance_scale=scale)[0] for scale in (3.0, 7.5)]
        assert len(batches(Painter(), pair, 4)) == 1


class TestWhatIsTold:
    def test_an_image_has_its_pixels_the_size_of_its_batch_and_its_share_of_the_time(self):
        class Slow(Painter):
            def paint(self, request):
                time.sleep(0.02)
                return super().paint(request)

        started = time.monotonic()
        found = made(Slow(), images("a star", "a heart"), 4)
        elapsed = time.monotonic() - started
        assert [one.batch_size for one in found] == [2, 2]
        assert all(one.pixels.shape == (8, 16, 3) and one.error is None for one in found)
        assert 0.04 <= sum(one.latency_s for one in found) <= elapsed

    def test_the_pictures_it_names_come_along(self):
        def load(request):
            return LoadedInputs(ImageInputs(), init_sha256=request.init_image.path)

        (one,) = made(Painter(), images("a star", init_image="a.png"), 4, load)
        assert one.inputs.init_sha256 == "a.png"

    def test_where_the_time_went(self):
        watch = Stopwatch()
        made(Painter(), images("a star"), 4, watch=watch)
        assert watch.seconds.keys() == {"inputs", "denoise"}

    @given(planned, sizes, st.integers(1, 4))
    def test_each_attempt_with_how_many_images_are_left_after_it(self, images, size, memory):
        engine, done, told = Painter(memory), [], []

        def begin(batch, left):
            assert left == len(images) - len(done) - len(batch)
            told.append((prompts(batch), left))

        inputs = InputsAhead(images, read_nothing, ahead=4)
        work = make(engine, images, BatchSize(size), inputs, Stopwatch(), begin=begin)
        for batch in work:
            done.extend(batch)
        inputs.close()
        assert [batch for batch, _ in told] == engine.batches
        assert not images or told[-1][1] == 0

    def test_whoever_is_told_may_end_the_work(self):
        class Enough(Exception):
            pass

        def begin(batch, left):
            if left == 0:
                raise Enough

        engine = Painter()
        with pytest.raises(Enough):
            made(engine, images("a", "b", "c"), 2, begin=begin)
        assert engine.batches == [["a", "b"]]


class TestAlone:
    def test_a_suspect_shares_no_batch(self):
        engine = Painter()
        found = made(engine, images(*"abcdef"), 4, alone={"2-000", "3-000"})
        assert engine.batches == [["a", "b"], ["c"], ["d"], ["e", "f"]]
        assert [one.batch_size for one in found] == [2, 2, 1, 1, 2, 2]

    @given(planned, sizes, st.data())
    def test_and_the_others_are_all_made(self, images, size, data):
        alone = data.draw(st.sets(st.sampled_from(names(images)))) if images else set()
        found = batches(Painter(), images, size, alone=alone)
        for batch in found:
            assert len(batch) == 1 or alone.isdisjoint(one.planned.image_id for one in batch)
        made = [one.planned for batch in found for one in batch]
        assert made == in_order(images, lambda request: request.batch_key)


class TestFailure:
    def test_images_of_a_failed_batch_are_made_one_by_one(self):
        engine = Painter()
        found = made(engine, images("a star", "broken", "a heart", "a fish"), 3)
        assert engine.batches == [
            ["a star", "broken", "a heart"], ["a star"], ["broken"], ["a heart"], ["a fish"],
        ]  # fmt: skip
        assert [one.pixels is None for one in found] == [False, True, False, False]
        assert [one.batch_size for one in found] == [1, 1, 1, 1]
        assert isinstance(found[1].error, RuntimeError)

    def test_later_batches_are_as_large_as_ever(self):
        engine = Painter()
        made(engine, images("broken", "b", *"cdef"), 2)
        assert engine.batches[-2:] == [["c", "d"], ["e", "f"]]

    def test_its_error_holds_no_memory(self):
        """A traceback would keep the batch's tensors alive."""
        (one,) = made(Painter(), images("broken"), 4)
        assert one.error.__traceback__ is None

    def test_a_picture_that_cannot_be_read_fails_alone_and_the_others_together(self):
        def load(request):
            if request.init_image.path == "1.png":
                raise BadImage("1.png: expected a picture, found no such file")
            return LoadedInputs(ImageInputs())

        planned = [images("a", id=str(n), init_image=f"{n}.png")[0] for n in range(3)]
        engine = Painter()
        found = made(engine, planned, 4, load)
        assert engine.batches == [["a", "a"]]
        assert [str(one.error or "") for one in found] == [
            "", "1.png: expected a picture, found no such file", "",
        ]  # fmt: skip
        assert [one.batch_size for one in found] == [2, 1, 2]

    def test_where_no_picture_can_be_read_the_engine_is_not_asked(self):
        def load(request):
            raise BadImage("a.png: expected a picture")

        engine = Painter()
        found = made(engine, images("a", "b", init_image="a.png"), 4, load)
        assert engine.batches == []
        assert [type(one.error) for one in found] == [BadImage, BadImage]

    def test_a_request_to_quit_is_no_failed_picture(self):
        class Quit(Painter):
            def paint(self, request):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            made(Quit(), images("a star"), 4)


class TestLostDevice:
    def test_ends_the_work_at_once(self):
        """Even in a batch: no picture could be made one by one either."""
        engine, found = Painter(), []
        planned = images("a", "b", "c", "lost", "e", "f")
        inputs = InputsAhead(planned, read_nothing, ahead=4)
        with pytest.raises(DeviceLost, match=r"CUDA error\(700\)"):
            for batch in make(engine, planned, BatchSize(2), inputs, Stopwatch()):
                found += batch
        assert prompts(one.planned for one in found) == ["a", "b"]
        assert engine.batches == [["a", "b"], ["c", "lost"]]

    @pytest.mark.parametrize(
        ("error", "lost"),
        [
            (OSError("(External) CUDA error(700), an illegal memory access."), True),
            (RuntimeError("(External) CUDA error(719), unspecified launch failure."), True),
            (MemoryError("ResourceExhaustedError: after CUDA error(2), out of memory"), False),
            (RuntimeError("(ResourceExhausted) CUDA error(2), out of memory"), False),
            (RuntimeError("the kernel failed"), False),
            (ValueError("cuda"), False),
        ],
    )
    def test_is_known_by_its_message(self, error, lost):
        assert is_device_lost(error) == lost

    @pytest.mark.parametrize(
        ("error", "oom"),
        [
            (MemoryError(), True),
            (RuntimeError("ResourceExhaustedError: Out of memory error on GPU 0"), True),
            (RuntimeError("the kernel failed"), False),
            (None, False),
        ],
    )
    def test_is_not_a_full_memory(self, error, oom):
        assert is_oom(error) == oom
