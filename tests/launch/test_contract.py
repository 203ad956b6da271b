"""Several tasks make one dataset: real commands, whatever starts and ends them."""

import json
import os
import shutil
import signal
from pathlib import Path

from sdbatch.errors import EXIT_DONE, EXIT_INTERRUPTED, EXIT_USER_ERROR
from sdbatch.launch_record import Launch
from tests.runner import runs
from tests.runner.faults import Await, Faulty, Pause
from tests.test_launch_record import TABLE

SHARDS = 12


def part(index: int, count: int, *more: str) -> list[str]:
    return ["launcher=task", f"launcher.index={index}", f"launcher.count={count}", *more]


def makers(data: Path) -> set[str]:
    """Processes that made shards."""
    records = [json.loads(path.read_text()) for path in data.glob("shards/*/shard.json")]
    return {record["attempt"].split(".")[3] for record in records}


def test_at_once_they_make_what_a_local_run_makes(table, data, expected):
    load = Faulty({"": Await(data, "48 images in 12 shards", 3)})
    tasks = [runs.start(table, data, *part(index, 3), load=load) for index in range(3)]
    for task in tasks:
        ended = runs.ended(task)
        assert (ended.code, ended.stdout) == (EXIT_DONE, f"{data}\n")
    assert runs.contents(data) == expected
    assert len(makers(data)) == 3


def test_one_alone_does_the_others_shares_too(table, data, expected):
    ended = runs.ended(runs.start(table, data, *part(2, 3)))
    assert ended.code == EXIT_DONE
    assert "task 2 of 3" in ended.stderr
    assert runs.contents(data) == expected


def test_one_that_comes_late_finds_nothing_left(table, data, expected):
    runs.ended(runs.start(table, data, *part(0, 2)))
    ended = runs.ended(runs.start(table, data, *part(1, 2)))
    assert (ended.code, ended.stdout) == (EXIT_DONE, f"{data}\n")
    assert "0 shards to do" in ended.stderr
    assert runs.contents(data) == expected


def test_the_others_finish_the_share_of_one_that_was_killed(table, data, expected):
    slow = Faulty({"": Pause(0.1)})
    lost, other = (runs.start(table, data, *part(i, 2), load=slow) for i in range(2))
    runs.wait_until(lambda: any((data / "shards").glob("*")), "a shard")
    os.killpg(lost.pid, signal.SIGKILL)
    lost.wait()
    assert runs.ended(other).code == EXIT_DONE
    assert runs.contents(data) == expected


def test_one_that_was_stopped_goes_on_with_its_share(table, data, expected):
    slow = Faulty({"": Pause(0.1)})
    task = runs.start(table, data, *part(0, 2, "grace_s=0"), load=slow)
    runs.wait_until(lambda: any((data / "shards").glob("*")), "a shard")
    task.send_signal(signal.SIGUSR1)
    task.send_signal(signal.SIGUSR1)  # a scheduler's warning is no impatience
    assert runs.ended(task).code == EXIT_INTERRUPTED
    assert 0 < len(runs.shards(data)) < SHARDS
    assert runs.ended(runs.start(table, data, *part(0, 2))).code == EXIT_DONE
    assert runs.contents(data) == expected


def test_a_shard_in_slow_hands_is_made_by_a_helper_and_dropped_by_its_owner(
    tmp_path, table, data, expected
):
    """The first row takes long in one task, which nobody shall wait for."""
    hold = tmp_path / "held"
    slow = runs.start(
        table, data, *part(0, 2), "batch_size=1",
        load=Faulty({"row 0": Pause(8, hold)}),
    )  # fmt: skip
    runs.wait_until(hold.exists, "the slow task")
    assert runs.ended(runs.start(table, data, *part(1, 2))).code == EXIT_DONE
    assert slow.poll() is None
    assert len(runs.shards(data)) == SHARDS
    ended = runs.ended(slow)
    assert ended.code == EXIT_DONE
    logs = [path.read_text() for path in data.glob("logs/*/sdbatch.log")]
    assert any("shard 00000: another task was faster" in log for log in logs)
    assert runs.contents(data) == expected


def test_tasks_of_a_launch_make_only_what_it_names_and_leave_the_merge(table, data, expected):
    runs.run(table, data)
    for name in ("00003", "00004", "00007"):
        shutil.rmtree(data / "shards" / name)
    for name in ("metadata.parquet", "summary.json"):
        (data / name).unlink()
    record = data / "logs" / "slurm-x"
    record.mkdir()
    Launch([], "/", 1, [3, 7], TABLE, "now").write(record)
    ended = runs.ended(runs.start(table, data, *part(0, 1, f"launcher.record={record}")))
    assert ended.code == EXIT_DONE
    assert runs.shards(data) == {f"{n:05d}" for n in range(SHARDS)} - {"00004"}
    assert not (data / "metadata.parquet").exists()
    assert (record / "00000" / "sdbatch.log").exists()


def test_a_task_with_other_settings_is_refused(table, data):
    runs.ended(runs.start(table, data, *part(0, 2)))
    ended = runs.ended(runs.start(table, data, *part(1, 2, "seed=1")))
    assert ended.code == EXIT_USER_ERROR
    assert "the dataset was made with other settings: seed was 0, now 1" in ended.complaint
