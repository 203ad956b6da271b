"""Pictures on their way to the disk: judged, written, told of; bounded; a fault ends its unit."""

import hashlib
import threading
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from sdbatch.config.choices import ImageFormatName, LabelName
from sdbatch.dataset.images import blurred, to_bytes
from sdbatch.dataset.writer import ShardCorrupt
from sdbatch.engine.device import Device
from sdbatch.labels import found_in, produce_id
from sdbatch.runner.batches import Made
from sdbatch.runner.judges import Judges
from sdbatch.runner.judging import Judging, Opinion
from sdbatch.runner.messages import Unit
from sdbatch.runner.writing import UNCOMMITTED, WAITING, OpenUnit, Writing
from sdbatch.scoring.files import JudgeFiles
from sdbatch.stopwatch import Stopwatch
from tests.examples import a_picture
from tests.runner.conftest import begun
from tests.runner.painter import Painter

MANY = 200
THREADS = 2
PATIENCE_S = 60


class Threads:
    """Writes with real threads; keeps what was told, and what each unit was when it was closed.

    `gate` holds up every encoder before its picture counts as written.
    """

    def __init__(self, job, judging=None):
        self.job = job
        self.store = begun(job)
        self.images = job.plan.images_of(job.table.read(0, job.table.rows))
        self.told: list[tuple] = []
        self.closed: list[OpenUnit] = []
        self.rows: list[dict] = []
        self.gate, self.close_gate = threading.Event(), threading.Event()
        self.gate.set()
        self.close_gate.set()
        self.writing = Writing(
            job, Device("cpu", "fp32"), Painter(), THREADS, self._written, self._close, judging
        )

    def open(self, name: str = "00000", attempts=None) -> OpenUnit:
        folder = ExitStack()
        writer = folder.enter_context(self.store.begin(name))
        order = [image.image_id for image in self.images]
        unit = Unit(int(name[:5]), name)
        return OpenUnit(unit, name[:5], folder, writer, order, attempts or {}, Stopwatch())

    def add(self, unit: OpenUnit, number: int = 0, pixels=None, error=None) -> None:
        if pixels is None and error is None:
            pixels = a_picture(16, 32)
        self.writing.add(unit, Made(self.images[number], pixels, error, 1, 0.5))

    def _written(self, unit, image, status, size):
        assert self.gate.wait(PATIENCE_S)
        self.told.append((unit.unit.name, image, status, size))

    def _close(self, unit):
        assert self.close_gate.wait(PATIENCE_S)
        self.closed.append(unit)
        if unit.rows.keys() == set(unit.order):
            unit.writer.commit([unit.rows[image] for image in unit.order], self.job.schema, {})
        unit.folder.close()


@contextmanager
def running(job, judging=None):
    """Everything is finished when the block ends."""
    threads = Threads(job, judging)
    yield threads
    for gate in (threads.gate, threads.close_gate):
        gate.set()
    threads.writing.end()


@pytest.fixture
def threads(job):
    with running(job) as threads:
        yield threads


@pytest.fixture
def many(make_job):
    """The same, of a table with many rows."""
    with running(make_job(prompt=["a star"] * MANY)) as threads:
        yield threads


def outcome(threads, **made) -> dict:
    """The row of one image."""
    unit = threads.open()
    threads.add(unit, **made)
    threads.writing.drain(unit)
    assert unit.error is None
    return unit.rows[threads.images[0].image_id]


class TestOutcome:
    def test_a_picture_is_a_file_of_its_pixels(self, threads, job):
        unit = threads.open()
        threads.add(unit)
        threads.writing.drain(unit)
        row = unit.rows["星-000"]
        path = next((job.folder / "_tmp").glob("*/images/星-000.png"))
        data = path.read_bytes()
        assert (row["status"], row["format"], row["file_name"]) == (
            "ok", "png", "shards/00000/images/星-000.png",
        )  # fmt: skip
        assert (row["bytes"], row["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
        with Image.open(path) as image:
            assert np.array_equal(np.asarray(image), to_bytes(a_picture(16, 32)))
            assert image.text["parameters"].startswith("a star\nSteps: 20, ")
        assert threads.told == [("00000", "星-000", "ok", len(data))]

    def test_bytes_of_an_engine_that_rounds_are_taken_as_they_are(self, threads, job):
        pixels = to_bytes(a_picture(16, 32))
        assert outcome(threads, pixels=pixels)["status"] == "ok"
        with Image.open(next((job.folder / "_tmp").glob("*/images/*.png"))) as image:
            assert np.array_equal(np.asarray(image), pixels)

    @pytest.mark.parametrize(
        ("value", "status"), [(np.nan, "nan"), (np.inf, "nan"), (-np.inf, "nan"), (0.5, "blank")]
    )
    def test_pixels_that_are_no_picture_are_said_to_be_so(self, threads, value, status):
        pixels = np.full((16, 32, 3), 0.5, np.float32)
        pixels[3, 4, 1] = value
        row = outcome(threads, pixels=pixels)
        assert row["status"] == status
        assert "error_type" not in row
        assert threads.told == [("00000", "星-000", status, 0)]

    @pytest.mark.parametrize(
        ("error", "status"),
        [
            (RuntimeError("the kernel failed"), "failed"),
            (MemoryError("out of memory"), "oom"),
            (RuntimeError("ResourceExhaustedError: Out of memory"), "oom"),
        ],
    )
    def test_an_image_that_was_not_made_says_why(self, threads, error, status):
        row = outcome(threads, error=error)
        assert (row["status"], row["error_type"]) == (status, type(error).__name__)

    @pytest.mark.parametrize("made", [{"pixels": np.zeros((16, 32, 3))}, {"error": ValueError()}])
    def test_without_a_picture_there_is_no_file(self, threads, job, made):
        row = outcome(threads, **made)
        assert {"file_name", "format", "bytes", "sha256"}.isdisjoint(row)
        assert list((job.folder / "_tmp").glob("*/images/*")) == []

    def test_attempts_are_counted_over_all_runs(self, threads):
        unit = threads.open("00000.r1", attempts={"星-000": 2})
        for number in range(2):
            threads.add(unit, number)
        threads.writing.drain(unit)
        assert [unit.rows[name]["attempts"] for name in ("星-000", "星-001")] == [3, 1]
        assert unit.rows["星-000"]["shard_id"] == "00000"
        assert unit.rows["星-000"]["file_name"].startswith("repairs/00000.r1/images/")

    def test_jpeg_is_written_where_it_is_asked_for(self, make_job):
        job = make_job(output={"image_format": ImageFormatName.jpeg}, prompt=["a"])
        with running(job) as threads:
            row = outcome(threads)
        assert (row["format"], row["file_name"]) == ("jpeg", "shards/00000/images/0-000.jpg")


class TestLabels:
    def test_are_in_the_file_and_in_the_row(self, make_job):
        job = make_job(label=LabelName.gb45438, prompt=["a"])
        with running(job) as threads:
            row = outcome(threads)
            found = found_in(next((job.folder / "_tmp").glob("*/images/*.png")).read_bytes())
        assert (found.ContentProducer, found.ProduceID) == ("sdbatch", row["aigc_produce_id"])
        assert row["aigc_produce_id"] == produce_id(row["fingerprint"], row["image_id"])
        assert row["aigc_label"] == "gb45438"

    def test_leave_the_digest_of_the_pixels_alone(self, make_job, tmp_path):
        digest = hashlib.sha256(to_bytes(a_picture(16, 32)).tobytes()).hexdigest()
        for name, there in ((LabelName.gb45438, True), (LabelName.none, False)):
            job = replace(make_job(prompt=["a"], label=name), folder=tmp_path / name.value)
            with running(job) as threads:
                row = outcome(threads)
            assert row["pixels_sha256"] == digest
            assert ("aigc_label" in row) == there


class TestJudges:
    """Of pictures that are `a_picture`, by a checker that objects to all of them."""

    @pytest.fixture
    def judged(self, make_job):
        """`judged(policy)`: the row of a picture, and the file if there is one."""

        def run(policy: str, flagged: bool = True, **judges):
            job = make_job(prompt=["a star"])
            checker = mock.Mock(spec=JudgeFiles)
            job = replace(job, judges=Judges(checker=checker, policy=policy, **judges))
            asked = []

            def look(pictures, texts):
                asked.extend(texts)
                return [Opinion(flagged=flagged, safety_score=0.2, clip_score=0.3)] * len(texts)

            with running(job, Judging(look)) as threads:
                row = outcome(threads)
                file = next((job.folder / "_tmp").glob("*/images/*.png"), None)
                pixels = file and np.asarray(Image.open(file))
            assert asked == ["a star"]
            return row, pixels

        return run

    def test_who_only_flags_leaves_the_picture(self, judged):
        row, pixels = judged("flag")
        assert (row["status"], row["safety_flagged"], row["safety_action"]) == ("ok", True, "flag")
        assert np.array_equal(pixels, to_bytes(a_picture(16, 32)))

    def test_who_blurs_leaves_no_detail(self, judged):
        row, pixels = judged("blur")
        assert (row["status"], row["safety_action"]) == ("ok", "blur")
        assert np.array_equal(pixels, blurred(to_bytes(a_picture(16, 32))))
        assert row["pixels_sha256"] == hashlib.sha256(pixels.tobytes()).hexdigest()

    def test_who_drops_leaves_no_file(self, judged):
        row, pixels = judged("drop")
        assert (row["status"], row["safety_action"]) == ("unsafe", "drop")
        assert pixels is None
        assert "file_name" not in row

    def test_a_picture_that_nobody_minds_is_left_alone(self, judged):
        row, pixels = judged("drop", flagged=False)
        assert (row["status"], row["safety_flagged"], row.get("safety_action")) == (
            "ok",
            False,
            None,
        )
        assert np.array_equal(pixels, to_bytes(a_picture(16, 32)))

    def test_what_goes_wrong_ends_the_unit(self, make_job):
        def look(pictures, texts):
            raise RuntimeError("no judge")

        job = replace(make_job(prompt=["a"]), judges=Judges(checker=mock.Mock(spec=JudgeFiles)))
        with running(job, Judging(look)) as threads:
            unit = threads.open()
            threads.add(unit)
            threads.writing.drain(unit)
        assert "no judge" in str(unit.error)


class TestUnits:
    @settings(deadline=None, max_examples=20, suppress_health_check=list(HealthCheck))
    @given(order=st.permutations(range(6)))
    def test_rows_are_all_there_whatever_the_order_in_which_images_were_made(self, job, order):
        with running(job) as threads:
            name = f"{len(threads.store.done()):05d}"
            unit = threads.open(name)
            for number in order:
                threads.add(unit, number)
            threads.writing.finish(unit)
        rows = threads.store.read_metadata(name).to_pylist()
        assert [row["image_id"] for row in rows] == [image.image_id for image in threads.images]

    def test_are_closed_in_order_when_all_their_images_are_written(self, many):
        units = [many.open(f"{n:05d}") for n in range(4)]
        for number in range(40):
            many.add(units[number // 10], number)
            if number % 10 == 9:
                many.writing.finish(units[number // 10])
        many.writing.end()
        assert many.closed == units
        assert [len(unit.rows) for unit in units] == [10, 10, 10, 10]

    def test_nothing_is_lost_at_the_end(self, many):
        """Ended with pictures still waiting."""
        many.gate.clear()
        unit = many.open()
        for number in range(2 * WAITING):
            many.add(unit, number)
        many.writing.finish(unit)
        end = threading.Thread(target=many.writing.end)
        end.start()
        many.gate.set()
        end.join(PATIENCE_S)
        assert len(many.told) == len(unit.rows) == 2 * WAITING
        assert many.closed == [unit]


class TestFault:
    def test_of_a_file_ends_its_unit_and_spares_the_others(self, threads):
        broken, sound = threads.open("00000"), threads.open("00001")
        threads.add(broken)
        threads.writing.drain(broken)
        threads.add(broken)  # a second image of this name
        threads.writing.drain(broken)
        threads.add(broken, 1)
        threads.add(sound, 1)
        for unit in (broken, sound):
            threads.writing.finish(unit)
        threads.writing.end()
        assert isinstance(broken.error, ShardCorrupt)
        assert broken.rows.keys() == {"星-000"}  # later images are not even tried
        assert (sound.error, sound.rows.keys()) == (None, {"星-001"})
        assert threads.closed == [broken, sound]
        assert [(unit, image) for unit, image, *_ in threads.told] == [
            ("00000", "星-000"), ("00001", "星-001"),
        ]  # fmt: skip

    def test_of_pixels_that_no_encoder_takes(self, threads):
        unit = threads.open()
        seven_channels = np.arange(16 * 32 * 7, dtype=np.uint8).reshape(16, 32, 7)
        threads.add(unit, pixels=seven_channels)
        threads.writing.finish(unit)
        threads.writing.end()
        assert unit.error is not None
        assert threads.closed == [unit]

    def test_gives_its_place_back(self, many):
        """More faults than places: nobody waits for ever."""
        unit = many.open()
        unit.folder.close()
        for number in range(MANY):
            many.add(unit, number)
        many.writing.finish(unit)
        many.writing.end()
        assert many.closed == [unit]


class TestBackPressure:
    def test_a_slow_disk_holds_up_the_device_at_so_many_pictures(self, many):
        many.gate.clear()
        unit, bound = many.open(), WAITING * THREADS
        added, full = [], threading.Event()

        def make():
            for number in range(bound + 20):
                many.add(unit, number)
                added.append(number)
                if len(added) == bound:
                    full.set()

        device = threading.Thread(target=make)
        device.start()
        assert full.wait(PATIENCE_S)
        device.join(0.2)  # would be ample time for one more
        assert len(added) == bound
        many.gate.set()
        device.join(PATIENCE_S)
        many.writing.drain(unit)
        assert len(added) == len(unit.rows) == bound + 20

    def test_units_that_cannot_be_committed_hold_it_up_as_well(self, many):
        many.close_gate.clear()
        units = [many.open(f"{n:05d}") for n in range(UNCOMMITTED + 4)]
        finished, full = [], threading.Event()

        def make():
            for unit in units:
                many.writing.finish(unit)
                finished.append(unit)
                if len(finished) == UNCOMMITTED + 1:  # and one is being committed
                    full.set()

        device = threading.Thread(target=make)
        device.start()
        assert full.wait(PATIENCE_S)
        device.join(0.2)
        assert len(finished) == UNCOMMITTED + 1
        many.close_gate.set()
        device.join(PATIENCE_S)
        many.writing.end()
        assert many.closed == units
