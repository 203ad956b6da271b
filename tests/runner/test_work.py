"""One shard of work: what shares a batch, what a failure costs, and what the rows then say."""

import hashlib
import os
import signal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sdbatch.config.schema import Config, ModelConfig, OutputConfig, PromptsConfig
from sdbatch.dataset.images import to_bytes
from sdbatch.dataset.shard import ShardStore
from sdbatch.inputs import BadImage
from sdbatch.plan import PlannedImage, plan_image
from sdbatch.runner.inputs import NOT_LOADED, LoadedInputs
from sdbatch.runner.interrupt import Interrupted, StopRequest
from sdbatch.runner.prepare import prepare
from sdbatch.runner.work import make_batch, make_rows, micro_batches
from sdbatch.text import ReadPrompt
from tests.conftest import ASSETS
from tests.examples import a_picture, a_row, some_settings


def no_inputs(_) -> LoadedInputs:
    return NOT_LOADED


class Painter:
    """Stands in for the pipeline: a prompt's first word says what becomes of it.

    `memory` is how many pictures fit into one batch.
    """

    def __init__(self, memory: int = 1000):
        self.memory = memory
        self.batches: list[list[str]] = []

    def batch_key(self, request):
        return request.batch_key

    def read(self, prompt) -> ReadPrompt:
        return ReadPrompt(chunks=1, tokens=len(prompt.split()), truncated=None)

    def generate(self, requests, inputs) -> np.ndarray:
        assert len(inputs) == len(requests)
        self.batches.append([request.prompt for request in requests])
        if len(requests) > self.memory:
            raise MemoryError("out of memory:\n  no room")
        return np.stack([self.paint(request) for request in requests])

    def paint(self, request) -> np.ndarray:
        pixels = a_picture(request.height, request.width)
        match request.prompt.split()[0]:
            case "broken":
                raise RuntimeError("the kernel failed:\n  line two")
            case "huge":
                raise MemoryError("out of memory")
            case "overflow":
                pixels[0, 0, 0] = np.nan
            case "flat":
                pixels[:] = 0.25
        return pixels


def images(*prompts: str, **changes):
    """A planned image of each prompt; `changes` are overrides of their rows."""
    settings = some_settings(width=16, height=8)
    return [
        plan_image(settings, a_row(id=str(n), index=n, prompt=prompt, **changes), 0)
        for n, prompt in enumerate(prompts)
    ]


planned = st.lists(
    st.builds(
        lambda index, **changes: plan_image(some_settings(), a_row(id=str(index), **changes), 0),
        st.integers(),
        width=st.sampled_from([None, 64, 128]),
        steps=st.sampled_from([None, 5]),
        guidance_scale=st.sampled_from([None, 1.0, 3.0]),
        init_image=st.sampled_from([None, "a.png"]),
        strength=st.sampled_from([None, 0.5]),
    ),
    max_size=30,
)


def cut(images, size) -> list[list[PlannedImage]]:
    """Micro-batches of what can be made together by the requests alone."""
    return list(micro_batches(images, size, lambda request: request.batch_key))


class TestMicroBatches:
    @given(planned, st.integers(1, 8))
    def test_hold_every_image_exactly_once(self, images, size):
        batches = cut(images, size)
        assert sorted(id(image) for batch in batches for image in batch) == sorted(map(id, images))

    @given(planned, st.integers(1, 8))
    def test_are_never_empty_nor_larger_than_asked(self, images, size):
        assert all(1 <= len(batch) <= size for batch in cut(images, size))

    @given(planned, st.integers(1, 8))
    def test_hold_one_size_step_count_and_guidance(self, images, size):
        for batch in cut(images, size):
            assert len({image.request.batch_key for image in batch}) == 1

    @given(planned, st.integers(1, 8))
    def test_keep_the_order_within_a_kind(self, images, size):
        made = [image for batch in cut(images, size) for image in batch]
        for kind in {image.request.batch_key for image in images}:
            of_kind = [
                [i for i in order if i.request.batch_key == kind] for order in (made, images)
            ]
            assert list(map(id, of_kind[0])) == list(map(id, of_kind[1]))

    @given(planned, st.integers(1, 8))
    def test_are_as_few_as_can_be(self, images, size):
        keys = [image.request.batch_key for image in images]
        fewest = sum(-(-keys.count(key) // size) for key in set(keys))
        assert len(cut(images, size)) == fewest

    def test_what_the_pipeline_tells_apart_is_not_mixed(self):
        batches = list(micro_batches(images("a", "b c", "d"), 4, lambda r: len(r.prompt.split())))
        assert [[image.request.prompt for image in batch] for batch in batches] == [
            ["a", "d"],
            ["b c"],
        ]

    def test_guidance_scales_may_differ_within_a_batch(self):
        one, other = (images("a", guidance_scale=scale)[0] for scale in (3.0, 7.5))
        assert len(cut([one, other], 4)) == 1


class TestMakeBatch:
    def test_makes_all_pictures_at_once(self):
        painter = Painter()
        made = make_batch(painter, images("a star", "a heart"), no_inputs)
        assert painter.batches == [["a star", "a heart"]]
        assert [m.status for m in made] == ["ok", "ok"]
        assert [m.batch_size for m in made] == [2, 2]
        assert all(m.pixels is not None and m.error is None for m in made)

    def test_after_an_exception_makes_its_pictures_one_by_one(self):
        painter = Painter()
        made = make_batch(painter, images("a star", "broken", "a heart"), no_inputs)
        assert painter.batches[1:] == [["a star"], ["broken"], ["a heart"]]
        assert [m.status for m in made] == ["ok", "failed", "ok"]
        assert [m.batch_size for m in made] == [1, 1, 1]
        assert made[1].pixels is None
        assert isinstance(made[1].error, RuntimeError)

    def test_a_batch_too_large_for_the_memory_is_made_in_smaller_ones(self):
        made = make_batch(Painter(memory=1), images("a star", "a heart"), no_inputs)
        assert [m.status for m in made] == ["ok", "ok"]

    def test_one_picture_too_large_for_the_memory_is_oom(self):
        made = make_batch(Painter(), images("a star", "huge"), no_inputs)
        assert [m.status for m in made] == ["ok", "oom"]
        assert isinstance(made[1].error, MemoryError)

    def test_pictures_that_are_none_are_said_to_be_so(self):
        made = make_batch(Painter(), images("overflow", "a star", "flat"), no_inputs)
        assert [m.status for m in made] == ["nan", "ok", "blank"]
        assert [m.pixels is None for m in made] == [True, False, True]
        assert [m.error for m in made] == [None] * 3

    def test_results_stand_in_the_order_of_the_images(self):
        batch = images("a", "broken", "flat", "b", "overflow", "huge")
        assert [m.planned for m in make_batch(Painter(), batch, no_inputs)] == batch

    def test_a_request_to_quit_is_no_failed_picture(self):
        class Quit(Painter):
            def paint(self, request):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            make_batch(Quit(), images("a star"), no_inputs)

    def test_a_picture_that_cannot_be_read_fails_alone(self):
        def load(request) -> LoadedInputs:
            if request.prompt == "lost":
                raise BadImage("a.png: expected a picture, found no such file")
            return NOT_LOADED

        made = make_batch(Painter(), images("a star", "lost", "a heart"), load)
        assert [m.status for m in made] == ["ok", "failed", "ok"]
        assert str(made[1].error) == "a.png: expected a picture, found no such file"


class TestMakeRows:
    @pytest.fixture
    def job(self, tmp_path, write_table):
        """A job of six pictures of two sizes, as the command would prepare it."""
        table = write_table(
            prompt=["a star", "broken", "a heart", "overflow", "huge"],
            id=["星", "b", "c", "d", "e"],
            width=[None, None, 16, None, None],
            images_per_prompt=[2, None, None, None, None],
            topic=["x", None, "y", "z", None],
        )
        config = Config(
            prompts=PromptsConfig(path=str(table)),
            model=ModelConfig(path=str(ASSETS / "demo")),
            output=OutputConfig(dir=str(tmp_path / "dataset")),
            width=32,
            height=16,
            batch_size=3,
            device="cpu",
        )
        return prepare(config)

    @pytest.fixture
    def advances(self) -> list[int]:
        return []

    @pytest.fixture
    def rows(self, job, advances):
        """The rows of a shard that was committed."""
        planned = job.plan.images_of(job.table.read(0, 5))
        store = ShardStore(job.folder)
        with store.begin("00000") as writer:
            made = make_rows(job, Painter(), writer, planned, StopRequest(60), advances.append)
            writer.commit(made, job.schema, {})
        return store.read_metadata("00000").to_pylist()

    def test_stand_in_plan_order(self, rows):
        names = [row["image_id"] for row in rows]
        assert names == ["星-000", "星-001", "b-000", "c-000", "d-000", "e-000"]
        assert [row["sample_index"] for row in rows] == [0, 1, 0, 0, 0, 0]

    def test_tell_what_became_of_each_picture(self, rows):
        outcomes = [(row["status"], row["error_type"], row["error_message"]) for row in rows]
        assert outcomes == [
            ("ok", None, None),
            ("ok", None, None),
            ("failed", "RuntimeError", "the kernel failed: line two"),
            ("ok", None, None),
            ("nan", None, None),
            ("oom", "MemoryError", "out of memory"),
        ]

    def test_tell_where_the_picture_is_or_nothing(self, job, rows):
        for row in rows:
            if row["status"] != "ok":
                assert {row[n] for n in ("file_name", "format", "bytes", "sha256")} == {None}
                continue
            data = (job.folder / row["file_name"]).read_bytes()
            assert (row["bytes"], row["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
            with Image.open(job.folder / row["file_name"]) as image:
                expected = to_bytes(a_picture(row["height"], row["width"]))
                assert np.array_equal(np.asarray(image), expected)
                assert image.text["parameters"].startswith(f"{row['prompt']}\nSteps: 20, ")

    def test_tell_all_that_is_needed_to_make_it_again(self, job, rows):
        settings = job.plan.settings
        for row, image in zip(rows, job.plan.images_of(job.table.read(0, 5)), strict=True):
            for name in ("prompt", "negative_prompt", "seed", "width", "height", "steps"):
                assert row[name] == getattr(image.request, name)
            assert row["guidance_scale"] == image.request.guidance_scale
            assert row["fingerprint"] == settings.fingerprint
            assert row["weights_sha256"] == settings.weights_sha256
            assert (row["scheduler"], row["precision"]) == (settings.scheduler, "fp32")

    def test_carry_the_tables_own_columns(self, rows):
        assert [row["topic"] for row in rows] == ["x", "x", None, "y", "z", None]

    def test_progress_counts_every_picture_once(self, rows, advances):
        assert sum(advances) == len(rows) == 6

    def test_a_stop_with_no_time_left_leaves_no_shard(self, job, listening):
        stop = listening(grace_s=0)
        store = ShardStore(job.folder)
        planned = job.plan.images_of(job.table.read(0, 5))

        def stop_after_a_batch(images: int) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

        with pytest.raises(Interrupted), store.begin("00000") as writer:
            make_rows(job, Painter(), writer, planned, stop, stop_after_a_batch)
        assert store.done() == set()
        assert list((job.folder / "_tmp").iterdir()) == []
