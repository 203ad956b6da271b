"""What is settled before work begins: the job, its devices, and the dataset it may go on with."""

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdbatch.dataset.images import ImageFormat
from sdbatch.errors import UserError
from sdbatch.inputs import ImageLimits
from sdbatch.run_record import adopt_run
from sdbatch.runner.prepare import Prepared, auto_shard_size, prepare
from tests.composing import folder, job  # noqa: F401
from tests.conftest import ROOT


@pytest.fixture
def prepared(folder, write_table):  # noqa: F811
    """`prepared(*overrides)`: what a job of five rows is made into; rehearsed, if not said."""
    table = write_table(prompt=["a", "b", "c", "d", "e"], topic=[1, 2, 3, 4, 5])

    def call(*overrides: str) -> Prepared:
        given = ("engine=random", f"prompts.path={table}", "output.dir=dataset", *overrides)
        return prepare(job(*given))

    return call


class TestAutomaticShards:
    @given(st.integers(1, 10**7), st.integers(1, 20), st.integers(1, 64), st.integers(1, 128))
    def test_hold_at_most_256_images_and_at_least_two_batches(self, rows, each, workers, batch):
        size = auto_shard_size(rows, each * rows, workers, batch)
        assert 2 * batch <= size * each <= max(256, 2 * batch + each - 1)

    def test_of_a_long_table_are_of_256_images(self):
        assert auto_shard_size(rows=10**7, images=10**7, workers=8, batch_size=4) == 256
        assert auto_shard_size(rows=10**7, images=4 * 10**7, workers=8, batch_size=4) == 64

    def test_of_a_short_table_are_32_for_each_worker(self):
        assert auto_shard_size(rows=6400, images=6400, workers=2, batch_size=4) == 100

    def test_of_a_very_short_table_are_of_two_batches(self):
        assert auto_shard_size(rows=64, images=64, workers=2, batch_size=4) == 8

    def test_of_a_few_rows_are_one(self):
        assert auto_shard_size(rows=5, images=5, workers=64, batch_size=4) >= 5

    def test_of_rows_with_many_images_are_of_a_row(self):
        assert auto_shard_size(rows=10, images=5000, workers=1, batch_size=4) == 1


def settings(prepared: Prepared):
    return prepared.job.plan.settings


class TestJob:
    def test_nothing_is_written(self, prepared):
        before = sorted(Path.cwd().rglob("*"))
        prepared()
        assert sorted(Path.cwd().rglob("*")) == before

    def test_can_be_handed_to_a_worker(self, prepared):
        sent = prepared("steps=7", "output.image_format=jpeg").job
        found = pickle.loads(pickle.dumps(sent))
        assert found.plan == sent.plan
        assert found.schema.equals(sent.schema, check_metadata=True)
        assert found.table.read(0, 5) == sent.table.read(0, 5)
        assert (found.folder, found.engine, found.batch_size) == (
            Path("dataset"),
            sent.engine,
            4,
        )
        assert found.image_format == sent.image_format
        assert found.model.settings("fp32") == sent.model.settings("fp32")

    def test_has_the_size_the_model_was_trained_at_unless_another_is_asked_for(self, prepared):
        assert (settings(prepared()).width, settings(prepared()).height) == (128, 128)
        asked = settings(prepared("width=64", "height=32"))
        assert (asked.width, asked.height) == (64, 32)

    def test_counts_rows_and_images(self, prepared):
        plan = prepared("images_per_prompt=3", "prompts.limit=4", "output.shard_size=3").job.plan
        assert (plan.rows, plan.images, plan.shards) == (4, 12, 2)

    @pytest.mark.parametrize(("override", "size"), [("batch_size=auto", 4), ("batch_size=9", 9)])
    def test_has_a_batch_size(self, prepared, override, size):
        assert prepared(override).job.batch_size == size

    def test_has_limits_of_pictures_in_bytes_and_pixels(self, prepared):
        job = prepared("max_input_mb=3", "max_input_megapixels=5").job
        assert job.input_limits == ImageLimits(max_bytes=3_000_000, max_pixels=5_000_000)

    def test_carries_the_tables_own_columns(self, prepared):
        assert prepared().job.schema.names[-1] == "topic"


class TestEngine:
    def test_paddle_inference_is_the_default_on_a_cpu(self, prepared):
        found = prepared("engine=auto", "device=cpu")
        assert (found.job.engine.name, settings(found).precision) == ("inference", "fp32")
        assert found.job.schema.metadata[b"sdbatch.precision"] == b"fp32"

    def test_a_rehearsal_is_a_dataset_of_another_kind(self, prepared):
        found = prepared("device=gpu", "precision=fp16")  # it has neither
        assert (found.job.engine.name, settings(found).precision) == ("random", "none")
        assert {device.name for device in found.devices} == {"cpu"}
        assert settings(found).fingerprint != settings(prepared("engine=dygraph")).fingerprint

    @pytest.mark.parametrize("engine", ["random", "dygraph"])
    def test_there_is_a_device_for_each_worker(self, prepared, engine):
        found = prepared(f"engine={engine}", "device=cpu", "workers=3")
        assert len(found.devices) == 3

    def test_the_process_that_hands_out_work_imports_no_paddle(self, write_table):
        """It holds no memory on a GPU, and a fault in a driver cannot reach it."""
        table = write_table("other", prompt=["a"])
        code = (
            "import sys\n"
            "from sdbatch.runner import local\n"
            "from sdbatch.runner.prepare import prepare\n"
            "from tests.composing import job\n"
            f"prepare(job('prompts.path={table}', 'output.dir=new', 'engine=dygraph'))\n"
            "print('paddle' in sys.modules, 'paddlenlp' in sys.modules)\n"
        )
        child = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert (child.stdout, child.returncode) == ("False False\n", 0), child.stderr


class TestImageFormat:
    def test_is_png_that_loses_nothing(self, prepared):
        found = prepared("output.png_compression=1")
        assert found.job.image_format == ImageFormat("png", quality=95, compression=1)
        assert settings(found).image_format == "png"

    def test_may_be_jpeg_of_a_quality(self, prepared):
        found = prepared("output.image_format=jpeg", "output.jpeg_quality=80")
        assert found.job.image_format.name == "jpeg"
        assert settings(found).image_format == "jpeg q80"


class TestFingerprint:
    """What it covers in all is in tests/test_plan.py; this is which keys reach it."""

    @pytest.mark.parametrize(
        "override",
        [
            "steps=7", "seed=1", "guidance_scale=3", "guidance_rescale=0.5", "strength=0.5",
            "width=64", "height=64", "negative_prompt=blur", "images_per_prompt=2", "noise=philox",
            "scheduler=euler", "text=webui", "prompts.limit=4", "output.image_format=jpeg",
        ],
    )  # fmt: skip
    def test_keys_that_change_pixels_do(self, prepared, override):
        assert settings(prepared(override)).fingerprint != settings(prepared()).fingerprint

    @pytest.mark.parametrize(
        "override",
        [
            "batch_size=1", "workers=3", "output.shard_size=2", "output.png_compression=0",
            "output.jpeg_quality=50", "output.dir=elsewhere", "resume=always", "retry_failed=true",
            "grace_s=0", "stop_at='07:00'", "max_hours=1", "watchdog_s=5", "check_space=false",
            "metrics=a.prom", "max_input_mb=1", "text.cache_mb=1",
        ],
    )  # fmt: skip
    def test_keys_of_how_the_work_is_done_do_not(self, prepared, override):
        assert settings(prepared(override)) == settings(prepared())


class TestExistingFolder:
    @pytest.fixture
    def begun(self, prepared) -> Path:
        """A dataset in shards of two rows."""
        adopt_run(Path("dataset"), prepared("output.shard_size=2").job.plan, {}, "")
        return Path("dataset")

    @pytest.mark.usefixtures("begun")
    def test_a_dataset_of_the_same_settings_is_gone_on_with_in_its_shards(self, prepared):
        assert prepared("output.shard_size=4").job.plan == prepared().job.plan
        assert prepared().job.plan.shard_size == 2

    def test_one_of_other_settings_is_refused(self, prepared, begun):
        with pytest.raises(UserError) as error:
            prepared("steps=7", "output.image_format=jpeg")
        assert str(error.value) == (
            f"{begun}/run.json: the dataset was made with other settings: "
            'image_format was "png", now "jpeg q95"; steps was 20, now 7; '
            "give another output.dir, or the old settings"
        )

    @pytest.mark.usefixtures("begun")
    def test_unless_it_is_asked_for(self, prepared):
        plan = prepared("steps=7", "resume=always").job.plan
        assert (plan.settings.steps, plan.shard_size) == (7, 2)

    @pytest.mark.usefixtures("begun")
    def test_or_any_is_where_that_is_asked_for(self, prepared):
        with pytest.raises(UserError, match="there is a dataset already, and resume=never"):
            prepared("resume=never")

    @pytest.mark.parametrize("name", [None, ".run.json.0123456789abcdef"])
    def test_an_empty_folder_is_as_good_as_none(self, prepared, name):
        """So is one with what a run leaves that was killed at its very first write."""
        Path("dataset").mkdir()
        if name:
            (Path("dataset") / name).touch()
        assert prepared().job.folder == Path("dataset")

    def test_a_folder_of_other_things_is_refused(self, prepared):
        Path("dataset").mkdir()
        (Path("dataset") / "thesis.odt").touch()
        with pytest.raises(UserError) as error:
            prepared()
        assert str(error.value) == (
            "output.dir: dataset: not empty and not a dataset (no run.json); "
            "expected a new or empty folder, or a dataset to go on with"
        )

    def test_a_file_is_refused(self, prepared):
        Path("dataset").touch()
        with pytest.raises(UserError) as error:
            prepared()
        assert str(error.value) == "output.dir: dataset: expected a folder, found a file"
