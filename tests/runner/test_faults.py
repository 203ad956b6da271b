"""What goes wrong in workers costs the picture it happens to, or nothing. Real processes."""

import json
import re

import pytest

from sdbatch.errors import EXIT_DONE, EXIT_SOME_FAILED, EXIT_USER_ERROR, UserError
from tests.runner import faults, runs
from tests.runner.faults import Above, Await, Faulty, FirstLoads, Once, Pause


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory) -> runs.Reference:
    return runs.undisturbed(tmp_path_factory.getbasetemp())


@pytest.fixture
def make(tmp_path, undisturbed):
    """`make({"row 3": fault}, ...)`: a run over the 12 rows; returns its exit code."""

    def run(misbehaviour, *overrides: str) -> int:
        load = misbehaviour if callable(misbehaviour) else Faulty(misbehaviour)
        return runs.run(undisturbed.table, tmp_path / "data", *overrides, load=load).exit_code

    return run


@pytest.fixture
def expect(tmp_path, undisturbed):
    """`expect({3: "nan"})`: row 3 has this status and no picture, all else is as undisturbed.
    Returns the rows that have no picture."""

    def check(statuses: dict[int, str]) -> list[dict]:
        found, expected = runs.contents(tmp_path / "data"), dict(undisturbed.contents)
        lost = {f"{row}-000": status for row, status in statuses.items()}
        for image, status in lost.items():
            assert found[image]["status"] == status
            assert found[image]["file_name"] is None
            del found[image], expected[image]
        assert found == expected
        summary = json.loads((tmp_path / "data" / "summary.json").read_text())
        assert summary["complete"]
        return [runs.rows(tmp_path / "data")[image] for image in lost]

    return check


class TestAWorkerThatDies:
    def test_is_replaced_and_its_shard_is_made_again(self, make, expect, tmp_path, capfd):
        once = Once(faults.die, tmp_path / "once")
        assert make({"row 6": once}) == EXIT_DONE
        expect({})
        assert {row["attempts"] for row in runs.rows(tmp_path / "data").values()} == {1}
        assert "worker 0: killed by SIGKILL; it is replaced" in capfd.readouterr().err

    @pytest.mark.parametrize(
        ("misbehaviour", "how"),
        [
            pytest.param({"row 0": faults.die}, "killed by SIGKILL", id="first row"),
            pytest.param({"row 11": faults.leave}, "it exited with code 1", id="last row"),
            pytest.param({"row 5": faults.crash}, "killed by SIGSEGV", id="inside a batch"),
            pytest.param(
                {"row 4": faults.die, "row 7": faults.die}, "killed by SIGKILL", id="two in a batch"
            ),
            pytest.param(
                {"row 8": faults.leave, "row 9": faults.leave}, "it exited with code 1", id="twins"
            ),
        ],
    )
    def test_twice_on_one_row_costs_that_row_alone(self, make, expect, misbehaviour, how, capfd):
        assert make(misbehaviour) == EXIT_SOME_FAILED
        failed = {int(prompt.split()[1]): "failed" for prompt in misbehaviour}
        for row in expect(failed):
            assert (row["error_type"], row["error_message"]) == ("WorkerDied", how)
        told = capfd.readouterr().err
        assert told.count("given up: two workers died on it") == len(failed)
        assert told.count("it is replaced") == len(failed) + 1

    def test_on_every_row_ends_the_run(self, make, tmp_path):
        with pytest.raises(UserError) as caught:
            make({"": faults.leave}, "batch_size=12", "output.shard_size=12")
        assert str(caught.value) == (
            "6 workers died with no picture between them: it exited with code 1"
        )
        assert runs.shards(tmp_path / "data") == set()


def test_a_worker_that_hangs_is_replaced(make, expect, tmp_path, capfd):
    once = Once(faults.hang, tmp_path / "once")
    assert make({"row 2": once, "row 9": faults.hang}, "watchdog_s=3") == EXIT_SOME_FAILED
    why = "no sign of life for 3 s (watchdog_s)"
    assert expect({9: "failed"})[0]["error_message"] == why
    assert capfd.readouterr().err.count(f"worker 0: {why}; it is replaced") == 3


class TestAWorkerThatDoesNotLoad:
    def test_is_tried_three_times_and_ends_the_run_with_its_last_words(self, undisturbed, tmp_path):
        data = tmp_path / "data"
        ended = runs.ended(runs.start(undisturbed.table, data, load=faults.leave_loading))
        assert (ended.code, ended.stdout) == (EXIT_USER_ERROR, "")
        assert ended.stderr == (
            "sdbatch: error: cpu: 3 workers in a row died while loading the model: "
            "it exited with code 9 (its last line: the last words)\n"
        )
        assert not data.exists()

    def test_leaves_the_work_to_the_others(self, make, expect, tmp_path, capfd):
        waiting = Faulty({"row 5": Await(tmp_path / "data", "go on without it")})
        load = FirstLoads(waiting, faults.break_loading, tmp_path / "first")
        assert make(load, "workers=2") == EXIT_DONE
        expect({})
        told = capfd.readouterr().err
        # Those that die before there is a dataset, and so a log, are not told of.
        assert 1 <= told.count("its last line: RuntimeError: no such driver") <= 3
        assert "cpu: 3 workers in a row died while loading the model" in told

    def test_is_not_waited_for_when_all_is_done(self, make, expect, tmp_path):
        load = FirstLoads(Faulty(), faults.hang_loading, tmp_path / "first")
        assert make(load, "workers=2") == EXIT_DONE
        expect({})


class TestALostDevice:
    def test_costs_nothing_but_time(self, make, expect, tmp_path, capfd):
        assert make({"row 6": Once(faults.lose_device, tmp_path / "once")}) == EXIT_DONE
        expect({})
        assert "CUDA error(700)" in capfd.readouterr().err

    def test_is_the_fault_of_a_row_that_loses_it_again(self, make, expect):
        assert make({"row 6": faults.lose_device}) == EXIT_SOME_FAILED
        row = expect({6: "failed"})[0]
        assert (row["error_type"], row["error_message"]) == ("WorkerDied", "it lost its device")


class TestMemory:
    @pytest.mark.parametrize("fault", [faults.exhaust_memory, faults.exhaust_the_card])
    def test_that_holds_fewer_images_is_given_fewer(self, make, expect, tmp_path, fault):
        assert make({"": Above(2, fault)}) == EXIT_DONE
        expect({})
        sizes = [row["batch_size_used"] for row in runs.rows(tmp_path / "data").values()]
        assert max(sizes) == 2

    @pytest.mark.parametrize("fault", [faults.exhaust_memory, faults.exhaust_paddle])
    def test_that_does_not_hold_one_costs_one_row(self, make, expect, fault):
        assert make({"row 6": fault}) == EXIT_SOME_FAILED
        row = expect({6: "oom"})[0]
        assert row["error_type"] == "MemoryError"
        assert row["error_message"].startswith("(ResourceExhausted) Fail to alloc memory")


class TestPixelsThatAreNoPicture:
    def test_are_told_and_made_again_on_request(self, make, expect, tmp_path, undisturbed):
        spoilt = {"row 1": faults.spoil, "row 2": faults.flatten, "row 10": faults.spoil}
        assert make(spoilt) == EXIT_SOME_FAILED
        lost = expect({1: "nan", 2: "blank", 10: "nan"})
        assert {row["error_type"] for row in lost} == {None}

        assert make({}, "retry_failed=true") == EXIT_DONE
        data = tmp_path / "data"
        repairs = {path.name for path in (data / "repairs").iterdir()}
        assert repairs == {"00000.r1", "00002.r1"}
        found = runs.contents(data)
        for image, shard in (("1-000", "00000"), ("2-000", "00000"), ("10-000", "00002")):
            assert found[image]["file_name"] == f"repairs/{shard}.r1/images/{image}.png"
            found[image]["file_name"] = undisturbed.contents[image]["file_name"]
        assert found == undisturbed.contents
        attempts = {image: row["attempts"] for image, row in runs.rows(data).items()}
        assert {image for image, count in attempts.items() if count == 2} == {
            "1-000", "2-000", "10-000"
        }  # fmt: skip

    def test_that_stay_so_are_told_again(self, make, tmp_path):
        assert make({"row 1": faults.spoil}) == EXIT_SOME_FAILED
        assert make({"row 1": faults.flatten}, "retry_failed=true") == EXIT_SOME_FAILED
        assert make({"row 1": faults.die}, "retry_failed=true") == EXIT_SOME_FAILED
        row = runs.rows(tmp_path / "data")["1-000"]
        assert (row["status"], row["error_type"], row["attempts"]) == ("failed", "WorkerDied", 3)
        assert make({}, "retry_failed=true") == EXIT_DONE
        assert runs.contents(tmp_path / "data")["1-000"]["file_name"] == (
            "repairs/00000.r3/images/1-000.png"
        )


class TestFilesThatCannotBeWritten:
    def test_are_written_again(self, make, expect, tmp_path, capfd):
        remove = faults.Remove(tmp_path / "data" / "_tmp")
        remove_once = Once(remove, tmp_path / "once")
        assert make({"row 5": remove_once, "": Pause(0.1)}, "batch_size=1") == EXIT_DONE
        expect({})
        assert "shard 00001: FileNotFoundError: " in capfd.readouterr().err

    def test_three_times_are_given_up_for_this_run(self, make, expect, tmp_path):
        tmp = tmp_path / "data" / "_tmp"
        with pytest.raises(UserError) as caught:
            make({"row 0": faults.Remove(tmp, block=True)})
        assert re.fullmatch(
            r"shard 0000\d: given up: FileNotFoundError: .*; 3 of the shards could not be made; "
            "the same command tries again",
            str(caught.value),
        )
        tmp.unlink()
        assert make({}) == EXIT_DONE
        expect({})


def test_a_wall_clock_that_jumps_changes_no_more_than_what_it_shows(
    make, expect, tmp_path, monkeypatch
):
    for name, value in faults.jumping_clock().items():
        monkeypatch.setattr(name, value)
    assert make(faults.load_under_a_jumping_clock, "max_hours=1") == EXIT_DONE
    expect({})
    data = tmp_path / "data"
    times = [row["created_at"] for row in runs.rows(data).values()]
    assert times != sorted(times)
    assert all(0 <= row["latency_s"] < 60 for row in runs.rows(data).values())
    for record in data.glob("shards/*/shard.json"):
        seconds = json.loads(record.read_text())
        assert all(0 <= s < 60 for s in (seconds["seconds"], *seconds["stages"].values()))
