"""What a metadata row says of an image: all that was asked for, what became of it, and how."""

import hashlib
from dataclasses import replace
from datetime import datetime, timezone

import pyarrow as pa
import pytest

from sdbatch.engine.device import Device
from sdbatch.request import ImageInputs, SizeHints
from sdbatch.runner.batches import Made
from sdbatch.runner.inputs import NOT_LOADED, LoadedInputs
from sdbatch.runner.rows import metadata_row, parameters
from sdbatch.text import ReadPrompt
from sdbatch.text.chinese import Preparation

READ = ReadPrompt(chunks=1, tokens=3, truncated="the end")


@pytest.fixture
def row(job):
    """`row(number, error=..., ...)`: the row of one of the job's images."""

    def make(number: int = 0, job=job, status: str = "ok", read=READ, attempts=1, **changes):
        planned = job.plan.images_of(job.table.read(0, 5))[number]
        values = {"pixels": None, "error": None, "batch_size": 3, "latency_s": 0.123456}
        made = Made(planned, **{**values, **changes})
        return metadata_row(
            job, Device("gpu:1", "fp16"), made, status, read, shard="00007", attempts=attempts
        )

    return make


def test_it_names_the_image_and_where_it_belongs(row):
    second = row(1)
    assert (second["image_id"], second["prompt_id"], second["sample_index"]) == ("星-001", "星", 1)
    assert second["shard_id"] == "00007"


def test_it_tells_all_that_is_needed_to_make_the_image_again(row, job):
    settings = job.plan.settings
    for number, planned in enumerate(job.plan.images_of(job.table.read(0, 5))):
        found = row(number)
        for name in (
            "prompt", "negative_prompt", "seed", "width", "height", "steps", "guidance_scale",
            "guidance_rescale", "strength",
        ):  # fmt: skip
            assert found[name] == getattr(planned.request, name)
        assert found["fingerprint"] == settings.fingerprint
        assert found["weights_sha256"] == settings.weights_sha256
        assert (found["model"], found["scheduler"]) == ("demo", settings.scheduler)
        assert found["precision"] == "fp32"


def test_it_tells_how_the_image_was_made(row):
    found = row(status="blank", attempts=2)
    assert (found["status"], found["attempts"]) == ("blank", 2)
    assert (found["engine"], found["device"]) == ("inference", "gpu:1")
    assert (found["batch_size_used"], found["latency_s"]) == (3, 0.1235)
    assert found["created_at"] <= datetime.now(timezone.utc)


def test_it_names_what_reads_the_prompt(row):
    found = row()
    assert (found["text_encoder"], found["tokenizer"]) == ("clip", "clip-bpe")


def test_it_tells_what_was_read_in_place_of_the_prompts(row):
    assert row()["prompt_read"] is None
    assert row(read=replace(READ, read_as="城市"))["prompt_read"] == "城市"
    found = row(read=replace(READ, translated="a star"))
    assert (found["prompt_translated"], found["negative_prompt_translated"]) == ("a star", None)


def test_keywords_are_listed_where_they_are_asked_for(row, job):
    assert row()["prompt_keywords"] is None
    text = replace(job.model.text, preparation=Preparation(keywords=2))
    found = row(job=replace(job, model=replace(job.model, text=text)))
    assert found["prompt_keywords"] == ["star"]


def test_it_tells_how_the_prompt_was_read(row):
    assert (row()["tokens"], row()["truncated"]) == (3, "the end")
    assert (row(read=None)["tokens"], row(read=None)["truncated"]) == (None, None)


def test_it_carries_the_tables_own_columns(row):
    assert [row(number)["topic"] for number in range(6)] == ["x", "x", None, "y", "z", None]


def test_an_error_is_a_type_and_one_line_of_no_great_length(row):
    found = row(error=RuntimeError("the kernel failed:\n  line two"))
    assert (found["error_type"], found["error_message"]) == (
        "RuntimeError", "the kernel failed: line two",
    )  # fmt: skip
    assert len(row(error=ValueError("x" * 5000))["error_message"]) == 1000


def test_without_an_error_it_says_nothing_of_one(row):
    assert {"error_type", "error_message"}.isdisjoint(row())


class TestInputs:
    def test_are_named_with_what_was_read(self, make_job, row):
        job = make_job(prompt=["a star"], init_image=["in/a.png"], mask=["m.png"])
        loaded = LoadedInputs(ImageInputs(), hashlib.sha256(b"a").hexdigest(), "f" * 64)
        found = row(job=job, inputs=loaded)
        assert (found["init_image"], found["mask"]) == ("in/a.png", "m.png")
        assert found["init_image_sha256"] == hashlib.sha256(b"a").hexdigest()
        assert (found["mask_sha256"], found["strength"]) == ("f" * 64, 1.0)

    def test_given_as_bytes_have_no_name(self, make_job, row):
        found = row(job=make_job(prompt=["a star"], init_image=[b"bytes"]))
        assert found["init_image"] is None

    def test_are_null_where_there_are_none(self, row):
        found = row(inputs=NOT_LOADED)
        for name in ("init_image", "mask", "init_image_sha256", "mask_sha256", "strength"):
            assert found[name] is None


class TestSizes:
    NAMES = tuple(SizeHints.__dataclass_fields__)

    def test_are_told_where_the_network_reads_them(self, make_job, row):
        job = make_job(prompt=["a star"], original_width=[500])
        sdxl = replace(job.plan.settings, family="sdxl")
        found = row(job=replace(job, plan=replace(job.plan, settings=sdxl)))
        assert [found[name] for name in self.NAMES] == [500, 16, 0, 0, 32, 16]

    def test_and_nowhere_else(self, row):
        assert set(self.NAMES).isdisjoint(row())


@pytest.mark.parametrize("error", [None, MemoryError("out of memory")])
def test_rows_fit_the_schema(row, job, error):
    """Every column that must not be null is there, and no other column."""
    rows = [row(number, error=error) for number in range(6)]
    assert all(found.keys() <= set(job.schema.names) for found in rows)
    table = pa.Table.from_pylist(rows, schema=job.schema)
    table.validate(full=True)
    for field in job.schema:
        assert field.nullable or table.column(field.name).null_count == 0, field.name


def test_the_text_in_the_file_tells_prompt_settings_and_model(job):
    request = job.plan.images_of(job.table.read(0, 5))[0].request
    first, settings = parameters(job, request).splitlines()
    assert first == "a star"
    assert settings.startswith("Steps: 20, Sampler: ")
    for part in (
        f"Seed: {request.seed}", "Size: 32x16", "Model: demo", "RNG: CPU",
        f"Model hash: {job.plan.settings.weights_sha256[:10]}",
    ):  # fmt: skip
        assert part in settings.split(", ")
