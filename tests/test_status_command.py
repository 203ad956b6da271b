"""`python -m sdbatch.status DIR`."""

import json

import pytest

from tests.dataset.making import a_plan, begin, make, make_all


@pytest.fixture
def store(tmp_path):
    return begin(tmp_path / "dataset")


@pytest.fixture
def status(sdbatch, store):
    def run(*arguments):
        return sdbatch(str(store.folder), *arguments, module="sdbatch.status")

    return run


def test_says_how_far_an_unfinished_dataset_is(store, status):
    make(
        store, "00001", {"4-000": "ok", "5-000": "ok", "6-000": "ok", "7-000": "failed"},
        started_at="2026-01-01T12:00:00+00:00", finished_at="2026-01-01T12:00:02+00:00",
        seconds=2.0,
    )  # fmt: skip
    with store.begin("00000"):
        result = status()
    assert (result.returncode, result.stderr) == (75, "")
    lines = [line.split(maxsplit=1) for line in result.stdout.splitlines()]
    assert ["dataset", str(store.folder)] in lines
    assert ["images", "4 of 10 (40.0%)"] in lines
    assert ["outcomes", "3 ok, 1 failed"] in lines
    assert ["errors", "1 BadImage"] in lines
    assert ["shards", "1 of 3"] in lines
    assert ["rate", "2.00 images/s in the last hour"] in lines
    assert ["time", "left      0:00:03"] in lines
    assert "\nlast finished  2026-01-01 12:00:02 UTC, " in result.stdout
    assert "\nslowest shards 00001 (4 images in 0:00:02)\n" in result.stdout
    assert "\nunfinished     00000 on " in result.stdout
    assert ["merged", "no"] in lines


def test_lines_are_aligned_and_few_however_much_is_in_hand(store, status):
    for number in range(20):
        (store.tmp / f"00000.node{number}.01234567.12.ab12").mkdir()
    lines = status().stdout.splitlines()
    assert 10 <= len(lines) <= 12
    assert all(line[14] == " " and line[15] != " " for line in lines)
    assert any(line.endswith(", and 15 more") for line in lines)


@pytest.mark.parametrize(
    ("statuses", "code"), [(["ok"] * 10, 0), (["ok"] * 9 + ["blank"], 3)], ids=["ok", "blank"]
)
def test_exits_as_the_job_would(store, status, statuses, code):
    make_all(store, a_plan(), statuses)
    assert status().returncode == code
    assert status("--json").returncode == code


def test_json_is_one_object(store, status):
    make(store, "00001", {f"{row}-000": "ok" for row in range(4, 8)})
    result = status("--json")
    assert result.returncode == 75
    found = json.loads(result.stdout)
    assert len(result.stdout.splitlines()) == 1
    assert (found["planned"], found["images_done"], found["counts"]) == (10, 4, {"ok": 4})
    assert (found["rate"], found["last_finished_at"], found["merged"]) == (None, None, False)


def test_what_is_no_dataset_is_refused_in_one_line(sdbatch, tmp_path):
    result = sdbatch(str(tmp_path), module="sdbatch.status")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        f"sdbatch: error: {tmp_path}: not a dataset: expected a folder with a run.json\n"
    )
