"""Shared by the runner's tests: a small job, prepared as the command prepares it."""

from __future__ import annotations

import pytest

from sdbatch.config.choices import LabelName
from sdbatch.config.schema import (
    Config,
    LabelConfig,
    ModelConfig,
    OutputConfig,
    PromptsConfig,
)
from sdbatch.dataset.shard import ShardStore
from sdbatch.run_record import adopt_run
from sdbatch.runner.prepare import Job, prepare
from tests.conftest import ASSETS


@pytest.fixture
def make_job(tmp_path, write_table):
    """`make_job(batch_size=2, prompt=[...], topic=[...])`: a job of a table with these columns, for
    whose prompts see `tests.runner.painter`. Pictures are 32x16, a shard has 5 rows."""

    def make(
        batch_size: int = 3,
        output: dict | None = None,
        label: LabelName = LabelName.none,
        **columns,
    ) -> Job:
        config = Config(
            prompts=PromptsConfig(path=str(write_table(**columns))),
            model=ModelConfig(path=str(ASSETS / "demo")),
            output=OutputConfig(dir=str(tmp_path / "dataset"), shard_size=5, **output or {}),
            label=LabelConfig(label),
            width=32,
            height=16,
            batch_size=batch_size,
            device="cpu",
        )
        return prepare(config).job

    return make


@pytest.fixture
def job(make_job) -> Job:
    """Six pictures of two sizes in one shard; four of them come to nothing good."""
    return make_job(
        prompt=["a star", "broken", "a heart", "overflow", "huge"],
        id=["星", "b", "c", "d", "e"],
        width=[None, None, 16, None, None],
        images_per_prompt=[2, None, None, None, None],
        topic=["x", None, "y", "z", None],
    )


def begun(job: Job) -> ShardStore:
    """The job's dataset folder, as a run begins it."""
    adopt_run(job.folder, job.plan, {}, "2026-01-01T20:00:00+00:00")
    store = ShardStore(job.folder)
    store.create()
    return store
