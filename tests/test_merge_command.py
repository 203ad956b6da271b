"""`python -m sdbatch.merge DIR`."""

import shutil
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from tests.dataset.making import a_plan, begin, make, make_all


@pytest.fixture
def store(tmp_path):
    store = begin(tmp_path / "数据 1")
    make_all(store, a_plan(), ["ok"] * 9 + ["failed"])
    return store


@pytest.fixture
def merge(sdbatch):
    def run(*arguments):
        return sdbatch(*map(str, arguments), module="sdbatch.merge")

    return run


def test_proves_the_sum_and_prints_the_folder(store, merge):
    result = merge("数据 1")
    assert result.returncode == 3
    assert result.stdout == "数据 1\n"
    assert result.stderr == "sdbatch: 10 planned = 9 ok + 1 failed\n"
    assert pq.read_metadata(store.folder / "metadata.parquet").num_rows == 10


def test_counts_repairs_in(store, merge):
    make(store, "00002.r1", {"9-000": "ok"})
    result = merge(store.folder)
    assert (result.returncode, result.stderr) == (0, "sdbatch: 10 planned = 10 ok\n")


def test_says_which_shards_are_missing(store, merge):
    shutil.rmtree(store.shards / "00001")
    result = merge(store.folder)
    assert (result.returncode, result.stdout) == (75, "")
    assert result.stderr == f"sdbatch: error: {store.folder}: 1 of 3 shards are missing: 00001\n"
    assert not (store.folder / "metadata.parquet").exists()


def test_does_not_pass_over_rows_that_are_missing(tmp_path, merge):
    store = begin(tmp_path / "dataset", a_plan(rows=1, images=2))
    make(store, "00000", {"0-000": "ok"})
    result = merge("dataset")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "sdbatch: error: dataset: 2 planned is not 1 ok\n"


@pytest.mark.parametrize("arguments", [(), ("a", "b"), ("--fast", "a"), ("nowhere",)])
def test_refuses_what_is_no_dataset_in_one_line(merge, arguments):
    result = merge(*arguments)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("sdbatch: error: ")
    assert len(result.stderr.splitlines()) == 1


def test_tells_of_a_damaged_shard_and_what_to_do(store, merge):
    (store.shards / "00001" / "metadata.parquet").write_bytes(b"")
    result = merge(store.folder)
    assert (result.returncode, result.stdout) == (1, "")
    line = "00001/metadata.parquet: is not a whole Parquet file; run `python -m sdbatch.verify"
    assert line in result.stderr


def test_needs_neither_paddle_nor_hydra():
    code = (
        "import sys, sdbatch.merge, sdbatch.status, sdbatch.verify\n"
        "print({name.partition('.')[0] for name in sys.modules} & {'paddle', 'hydra', 'torch'})"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"
