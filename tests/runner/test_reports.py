"""What the parent looks after: room on the disk, asked for once; metrics, now and then."""

import logging
import re
import time
from types import SimpleNamespace

import pytest

from sdbatch.config import Config
from sdbatch.errors import UserError
from sdbatch.runner.messages import Unit
from sdbatch.runner.progress import Progress
from sdbatch.runner.reports import Reports
from sdbatch.runner.tally import Tally
from tests.runner.conftest import begun

SHARD = Unit(0, "00000")
WORKERS = SimpleNamespace(workers=["one", "two"])
PETABYTE = 10**15


@pytest.fixture
def tally() -> Tally:
    return Tally(Progress(total=1_000_000, done=100), shards_done=1)


@pytest.fixture
def reports(job):
    """`reports(check_space=False, ...)`: of a run that has begun."""
    begun(job)
    return lambda **changes: Reports(Config(**changes), job, WORKERS)


def write(tally: Tally, images: int, size: int = PETABYTE) -> None:
    for number in range(images):
        tally.written(SHARD, f"{number}-000", "ok" if size else "failed", size)


class TestSpace:
    def test_that_will_not_do_ends_the_run_as_soon_as_it_is_seen(self, reports, tally, job):
        looked = reports()
        write(tally, 7)
        looked.look(tally)
        write(tally, 1)
        with pytest.raises(UserError) as error:
            looked.look(tally)
        line = str(error.value)
        assert line.startswith(f"output.dir: {job.folder}: 999,892 images of about 1,000 TB need ")
        assert line.endswith(
            " are free; make room, or go on until the disk is full with check_space=false"
        )
        assert len(line.splitlines()) == 1

    def test_is_not_looked_at_again(self, reports, tally):
        looked = reports()
        write(tally, 8, size=1)
        looked.look(tally)
        write(tally, 8)
        looked.look(tally)

    def test_is_not_looked_at_where_nobody_wants_it(self, reports, tally):
        write(tally, 100)
        reports(check_space=False).look(tally)

    def test_cannot_be_told_from_images_that_are_none(self, reports, tally):
        looked = reports()
        write(tally, 100, size=0)
        looked.look(tally)
        write(tally, 8)
        with pytest.raises(UserError):
            looked.look(tally)


def values(path) -> dict[str, str]:
    """Metric -> number, of those with no label but the dataset's; labels after the name else."""
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    return dict(re.sub(r'\{dataset="[^"]*",?', "{", line).rsplit(" ", 1) for line in lines)


class TestMetrics:
    @pytest.fixture
    def path(self, tmp_path):
        return tmp_path / "sdbatch.prom"

    def test_tell_how_far_the_run_is(self, reports, tally, path, job):
        write(tally, 2, size=1000)
        tally.written(SHARD, "9-000", "failed", 0)
        tally.written(Unit(1, "00001"), "a-000", "nan", 0)
        tally.lost(Unit(1, "00001"))
        record = {"seconds": 8.0, "stages": {"denoise": 6.0}, "peak_memory_mb": 900}
        tally.committed(SHARD, record)
        tally.restarts = 1
        reports(metrics=str(path)).write(tally)
        found = values(path)
        images = {name: number for name, number in found.items() if "status" in name}
        assert images == {
            'sdbatch_images{status="earlier"}': "100",
            'sdbatch_images{status="ok"}': "2",
            'sdbatch_images{status="failed"}': "1",
        }
        assert found["sdbatch_images_planned{}"] == str(job.plan.images)
        assert found["sdbatch_shards_done{}"] == "2"
        assert found["sdbatch_workers{}"] == "2"
        assert found["sdbatch_worker_restarts_total{}"] == "1"
        assert found['sdbatch_stage_seconds_total{stage="denoise"}'] == "6.0"
        assert found["sdbatch_device_busy_ratio{}"] == "0.75"
        assert found["sdbatch_peak_memory_bytes{}"] == "900000000"
        assert f'dataset="{job.folder.name}"' in path.read_text()

    def test_are_written_at_once_and_then_every_15_seconds(self, reports, tally, path, monkeypatch):
        now = [1000.0]
        monkeypatch.setattr(time, "monotonic", lambda: now[0])
        looked, written = reports(metrics=str(path)), []
        for _ in range(60):
            looked.look(tally)
            if path.exists():
                written.append(now[0])
                path.unlink()
            now[0] += 1
        assert written == [1000.0, 1015.0, 1030.0, 1045.0]

    def test_are_not_written_where_nobody_wants_them(self, reports, tally, tmp_path):
        before = sorted(tmp_path.rglob("*"))
        reports().look(tally)
        assert sorted(tmp_path.rglob("*")) == before

    def test_that_cannot_be_written_cost_a_line_and_not_the_run(
        self, reports, tally, tmp_path, caplog
    ):
        path = tmp_path / "nowhere" / "sdbatch.prom"
        with caplog.at_level(logging.WARNING, logger="sdbatch"):
            reports(metrics=str(path)).look(tally)
        assert caplog.messages == [f"metrics: {path}: No such file or directory"]
