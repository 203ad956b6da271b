"""What a run is of a whole launch."""

import pytest

from sdbatch.config.choices import LauncherName
from sdbatch.config.schema import LauncherConfig
from sdbatch.errors import UserError
from sdbatch.launch_record import Launch
from sdbatch.runner.share import Share
from sdbatch.runner.task import Task
from tests.dataset.making import a_plan, begin, make
from tests.test_launch_record import TABLE

PLAN = a_plan(rows=4, shard_size=2)


def a_task(index: int, count: int, record=None) -> Task:
    name = record and str(record)
    return Task.of(LauncherConfig(LauncherName.task, index=index, count=count, record=name))


@pytest.fixture
def launched(tmp_path):
    Launch([], "/", 4, [0, 2, 5], TABLE, "now").write(tmp_path)
    return tmp_path


def test_a_local_run_is_all_of_it(tmp_path):
    task = Task.of(LauncherConfig())
    assert (task.share, task.launch) == (Share(0, 1), None)
    assert task.merges(begin(tmp_path, PLAN), PLAN)


def test_a_task_of_a_launch_has_its_part_of_what_was_missing_and_a_log_of_its_own(launched):
    task = a_task(3, 4, launched)
    assert task.share == Share(3, 4, [0, 2, 5])
    assert task.launch.table == TABLE
    assert task.log_folder == launched / "00003"


def test_a_launch_has_a_job_that_merges(launched, tmp_path):
    store = begin(tmp_path / "data", PLAN)
    for shard in range(2):
        make(store, f"0000{shard}", {f"{2 * shard + n}-000": "ok" for n in range(2)})
    assert not a_task(0, 4, launched).merges(store, PLAN)


def test_without_a_launch_whoever_finds_every_shard_merges(tmp_path):
    store, task = begin(tmp_path, PLAN), a_task(0, 2)
    make(store, "00000", {"0-000": "ok", "1-000": "ok"})
    assert not task.merges(store, PLAN)
    make(store, "00001", {"2-000": "ok", "3-000": "ok"})
    assert task.merges(store, PLAN)


def test_another_count_than_the_launchs_is_refused(launched):
    with pytest.raises(UserError, match=r"^launcher.count: 3: expected 4, as .* was launched for"):
        a_task(0, 3, launched)


def test_a_record_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"launch.json: no such file"):
        a_task(0, 1, tmp_path)
