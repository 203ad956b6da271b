"""Rows of a Parquet file in bounded memory, whatever its columns hold and however it is cut."""

import os
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdbatch.prompts.slices import SLICE_BYTES, SLICE_ROWS, RowReader, open_parquet, slices
from tests.conftest import ROOT
from tests.examples import many_columns

MIB = 1 << 20


@pytest.fixture(scope="module")
def write(tmp_path_factory):
    def write(columns, **options):
        path = tmp_path_factory.mktemp("slices") / "table.parquet"
        pq.write_table(pa.table(columns), path, **options)
        return path

    return write


@pytest.fixture(scope="module")
def pictures(write):
    """300 pictures of 1 MiB in a single row group, two to a page."""
    columns = {"prompt": ["a"] * 300, "picture": [os.urandom(MIB)] * 300}
    return write(columns, write_batch_size=2, compression="none", use_dictionary=False)


@pytest.fixture(scope="module")
def same_picture(write):
    """4,000 rows with one picture of 128 KiB: 500 MiB, of which the file tells 0.2 MiB."""
    cells = pa.array([os.urandom(MIB // 8)]).take(pa.array([0]))
    packed = pa.DictionaryArray.from_arrays(pa.array([0] * 4000, pa.int32()), cells)
    path = write({"prompt": ["a"] * 4000, "picture": packed}, store_schema=False)
    assert open_parquet(path).metadata.row_group(0).total_byte_size < MIB
    return path


def peak(path, work):
    """The most memory, in bytes, that pyarrow held at once in a process of its own."""
    code = f"""
import pyarrow as pa
from pathlib import Path
from sdbatch.prompts import PromptDefaults, PromptTable
table = PromptTable(Path({str(path)!r}))
{work}
print(pa.default_memory_pool().max_memory())
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return int(done.stdout)


CHECK = "table.check(PromptDefaults(images_per_prompt=1, steps=20, width=64, height=64))"
READ = "rows = [table.read(k, k + 8)[0] for k in range(0, table.rows, table.rows // 20)]"


class TestSlices:
    @settings(max_examples=50, deadline=None)
    @given(
        values=st.lists(st.none() | st.binary(max_size=5), min_size=1, max_size=60),
        group=st.integers(1, 20),
        dictionary=st.booleans(),
    )
    def test_are_all_rows_in_their_order(self, write, values, group, dictionary):
        path = write({"x": values}, row_group_size=group, use_dictionary=dictionary)
        found = [slice_.column("x").to_pylist() for slice_ in slices(open_parquet(path))]
        assert [value for values_found in found for value in values_found] == values

    def test_are_long_where_rows_are_small(self, write):
        path = write({"x": range(200_000)}, row_group_size=1000)
        lengths = [slice_.num_rows for slice_ in slices(open_parquet(path))]
        assert lengths == [SLICE_ROWS, SLICE_ROWS, SLICE_ROWS, 200_000 - 3 * SLICE_ROWS]

    def test_are_short_where_rows_are_large(self, pictures):
        sizes = [slice_.nbytes for slice_ in slices(open_parquet(pictures))]
        assert len(sizes) == 5
        assert max(sizes) <= SLICE_BYTES + 9 * MIB

    def test_are_short_where_the_file_says_that_rows_are_small(self, same_picture):
        lengths = [slice_.num_rows for slice_ in slices(open_parquet(same_picture))]
        assert sum(lengths) == 4000
        assert max(lengths) * MIB // 8 <= SLICE_BYTES + 9 * MIB

    def test_follow_the_row_groups(self, write):
        """Large rows after small ones do not make the small ones' slices short."""
        small, large = [b"a"] * 5000, [os.urandom(MIB)] * 70
        options = {"row_group_size": 5000, "write_batch_size": 2, "use_dictionary": False}
        path = write({"x": small + large}, **options)
        lengths = [slice_.num_rows for slice_ in slices(open_parquet(path))]
        assert lengths[0] > 5000 and len(lengths) == 2

    def test_keep_every_type(self, write):
        columns = many_columns()
        many = pa.concat_tables([columns.take([k % 2]) for k in range(10)])
        path = write(many, row_group_size=3)
        file = open_parquet(path)
        assert pa.Table.from_batches(slices(file)).to_pylist() == many.to_pylist()

    def test_of_no_rows_are_none(self, write):
        assert list(slices(open_parquet(write({"x": pa.array([], pa.string())})))) == []


class TestRowReader:
    @settings(max_examples=50, deadline=None)
    @given(
        rows=st.integers(1, 60),
        group=st.integers(1, 20),
        pairs=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=6),
    )
    def test_gives_any_rows_in_any_order(self, write, rows, group, pairs):
        reader = RowReader(open_parquet(write({"x": range(rows)}, row_group_size=group)))
        for start, stop in ((min(start, rows), min(stop, rows)) for start, stop in pairs):
            pieces = list(reader.read(start, stop))
            assert [n for _, piece in pieces for n in piece["x"].to_pylist()] == [
                *range(start, stop)
            ]
            assert [first for first, _ in pieces] == [piece["x"][0].as_py() for _, piece in pieces]

    def test_goes_on_where_it_was(self, write, monkeypatch):
        """Shard after shard of a row group, it is decoded once."""
        reader = RowReader(open_parquet(write({"x": range(10_000)})))
        begun = []
        whole = pq.ParquetFile.iter_batches
        monkeypatch.setattr(
            pq.ParquetFile, "iter_batches", lambda *a, **k: begun.append(k) or whole(*a, **k)
        )
        for start in range(0, 10_000, 100):
            list(reader.read(start, start + 100))
        assert [call["row_groups"] for call in begun] == [[0]]

    def test_skips_row_groups_that_nobody_asks_for(self, write, monkeypatch):
        reader = RowReader(open_parquet(write({"x": range(1000)}, row_group_size=10)))
        begun = []
        whole = pq.ParquetFile.iter_batches
        monkeypatch.setattr(
            pq.ParquetFile, "iter_batches", lambda *a, **k: begun.append(k) or whole(*a, **k)
        )
        for start in (5, 500, 995):
            list(reader.read(start, start + 1))
        assert [call["row_groups"] for call in begun] == [[0], [50], [99]]


class TestMemory:
    """The limit is three slices: one in use, one put together, and what it is put together from."""

    @pytest.mark.parametrize("table", ["pictures", "same_picture"])
    def test_of_a_check_is_bounded(self, request, table):
        assert peak(request.getfixturevalue(table), CHECK) < 3 * SLICE_BYTES + 30 * MIB

    @pytest.mark.parametrize("table", ["pictures", "same_picture"])
    def test_of_reading_is_that_of_the_rows(self, request, table):
        assert peak(request.getfixturevalue(table), READ) < 60 * MIB
