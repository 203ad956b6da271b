"""`python -m sdbatch.verify DIR`."""

import shutil

import pytest

from sdbatch.dataset.merge import merge
from tests.dataset.making import a_plan, begin, make, make_all


@pytest.fixture
def store(tmp_path):
    store = begin(tmp_path / "dataset")
    make_all(store, a_plan(), ["ok"] * 9 + ["failed"])
    make(store, "00002.r1", {"9-000": "ok"})
    merge(store, a_plan())
    return store


@pytest.fixture
def verify(sdbatch):
    def run(*arguments):
        return sdbatch("dataset", *arguments, module="sdbatch.verify")

    return run


def test_says_that_all_is_sound(store, verify):
    result = verify()
    assert (result.returncode, result.stdout) == (0, "dataset\n")
    assert result.stderr == "sdbatch: 10 images in 3 shards checked: 0 problems\n"


def test_names_every_problem_in_order(store, verify):
    (store.shards / "00001" / "images" / "6-000.png").write_bytes(b"")
    (store.shards / "00001" / "images" / "4-000.png").unlink()
    (store.shards / "00000" / "shard.json").unlink()
    result = verify()
    assert (result.returncode, result.stdout) == (3, "dataset\n")
    assert [line.partition(",")[0] for line in result.stderr.splitlines()] == [
        "sdbatch: 00000: missing: shard.json is missing",
        "sdbatch: 00001: missing: images/4-000.png is missing",
        "sdbatch: 00001: torn: images/6-000.png: 0 bytes",
        "sdbatch: --discard removes what is damaged (00000",
        "sdbatch: 10 images in 3 shards checked: 3 problems",
    ]
    assert store.exists("00001")


def test_says_what_is_missing(store, verify):
    for name in ("metadata.parquet", "summary.json"):
        (store.folder / name).unlink()
    shutil.rmtree(store.shards / "00001")
    result = verify()
    assert (result.returncode, result.stdout) == (75, "dataset\n")
    assert result.stderr == (
        "sdbatch: 1 of 3 shards are missing: 00001; run the job again\n"
        "sdbatch: 6 images in 2 shards checked: 0 problems\n"
    )


def test_takes_away_what_is_damaged_and_says_what_to_run(store, verify):
    (store.shards / "00001" / "metadata.parquet").write_bytes(b"")
    (store.repairs / "00002.r1" / "images" / "9-000.png").unlink()
    result = verify("--discard")
    assert (result.returncode, result.stdout) == (3, "dataset\n")
    assert "sdbatch: discarded: 00001, 00002.r1; run the job again, with retry_failed=true\n" in (
        result.stderr
    )
    assert result.stderr.endswith("images in 3 shards checked: 2 problems\n")
    assert store.done() == {"00000", "00002"}
    assert store.repairs_by_shard() == {}
    assert not (store.folder / "metadata.parquet").exists()
    assert verify().returncode == 75
    make(store, "00001", {f"{row}-000": "ok" for row in range(4, 8)})
    assert verify().returncode == 0


def test_discards_nothing_where_nothing_is_damaged(store, verify):
    assert verify("--discard").returncode == 0
    assert (store.folder / "metadata.parquet").exists()
    assert len(store.done()) == 3


def test_what_is_no_dataset_is_refused_in_one_line(verify):
    result = verify()
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        "sdbatch: error: dataset: not a dataset: expected a folder with a run.json\n"
    )
