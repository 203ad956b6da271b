"""Reading a prompt table: any rows, in slices, with the user's own columns untouched."""

import math
import os
import pickle

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdbatch.errors import UserError
from sdbatch.prompts import PromptDefaults, PromptTable
from tests.conftest import ROOT
from tests.examples import many_columns

DEFAULTS = PromptDefaults(images_per_prompt=2, steps=20, width=96, height=64)
ROWS = 23


@pytest.fixture(scope="module")
def in_groups(tmp_path_factory):
    """23 rows in row groups of 5, each row's prompt its own number."""
    path = tmp_path_factory.mktemp("groups") / "table.parquet"
    prompts = [str(row) for row in range(ROWS)]
    pq.write_table(pa.table({"prompt": prompts}), path, row_group_size=5)
    return PromptTable(path)


class TestOpening:
    def test_no_such_file(self, tmp_path):
        with pytest.raises(UserError, match=r"nowhere\.parquet: no such file"):
            PromptTable(tmp_path / "nowhere.parquet")

    @pytest.mark.parametrize("content", [b"", b"id,prompt\n1,a\n", b"PAR1" + bytes(100) + b"PAR1"])
    def test_not_parquet(self, tmp_path, content):
        path = tmp_path / "text.parquet"
        path.write_bytes(content)
        with pytest.raises(UserError, match="not a readable Parquet file") as error:
            PromptTable(path)
        assert "\n" not in str(error.value)

    def test_damaged_pages_are_refused_when_read(self, write_table):
        path = write_table(prompt=[f"prompt {row}" for row in range(1000)])
        data = bytearray(path.read_bytes())
        data[4:200] = bytes(196)
        path.write_bytes(data)
        with pytest.raises(UserError, match="not a readable Parquet file") as error:
            PromptTable(path).check(DEFAULTS)
        assert "\n" not in str(error.value)

    def test_no_rows(self, write_table):
        with pytest.raises(UserError, match="expected at least one row, found none"):
            PromptTable(write_table(prompt=pa.array([], pa.string())))


class TestReading:
    @given(st.integers(0, ROWS + 5), st.integers(0, ROWS + 5))
    def test_gives_exactly_the_rows_asked_for(self, in_groups, start, stop):
        rows = in_groups.read(start, stop)
        expected = list(range(start, min(stop, ROWS)))
        assert [row.index for row in rows] == expected
        assert [row.prompt for row in rows] == [str(row) for row in expected]

    def test_the_row_number_is_the_id_where_there_is_none(self, in_groups):
        assert [row.id for row in in_groups.read(4, 7)] == ["4", "5", "6"]

    def test_integer_ids_become_text(self, write_table):
        table = PromptTable(write_table(prompt=["a", "b"], id=[-1, 10]))
        assert [row.id for row in table.read(0, 2)] == ["-1", "10"]

    def test_ids_are_safe_for_file_names(self, write_table):
        table = PromptTable(write_table(prompt=["a", "b"], id=["新闻-1", "../b"]))
        chinese, unsafe = (row.id for row in table.read(0, 2))
        assert chinese == "新闻-1"
        assert unsafe.startswith("_._b-")

    def test_overrides_are_none_where_null_or_absent(self, write_table):
        table = PromptTable(write_table(prompt=["a", "b"], seed=[5, None], steps=[None, 3]))
        one, two = table.read(0, 2)
        assert (one.seed, one.steps, one.width) == (5, None, None)
        assert (two.seed, two.steps, two.guidance_scale) == (None, 3, None)

    def test_a_limit_hides_the_rows_after_it(self, in_groups):
        table = PromptTable(in_groups.path, limit=7)
        assert table.rows == 7
        assert [row.index for row in table.read(4, 20)] == [4, 5, 6]
        assert table.read(8, 20) == []

    def test_a_limit_beyond_the_end_changes_nothing(self, in_groups):
        assert PromptTable(in_groups.path, limit=1000).rows == ROWS


class TestAnotherProcess:
    """Gets the table pickled, and opens the same file again."""

    def test_reads_the_same_rows(self, in_groups):
        table = pickle.loads(pickle.dumps(PromptTable(in_groups.path, limit=9)))
        assert (table.path, table.rows) == (in_groups.path, 9)
        assert table.schema == in_groups.schema
        assert table.read(4, 20) == in_groups.read(4, 9)

    def test_may_hand_it_on(self, in_groups):
        table = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(in_groups))))
        assert table.read(0, ROWS) == in_groups.read(0, ROWS)

    @pytest.mark.parametrize("change", ["other rows", "same size, another time"])
    def test_refuses_a_file_that_was_changed_meanwhile(self, write_table, change):
        path = write_table(prompt=["a", "b"])
        pickled = pickle.dumps(PromptTable(path))
        if change == "other rows":
            write_table(prompt=["a", "b", "c"])
        else:
            os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
        with pytest.raises(UserError) as error:
            pickle.loads(pickled)
        assert str(error.value) == f"prompts.path: {path}: changed after the run had begun"

    def test_refuses_a_file_that_is_gone(self, write_table):
        path = write_table(prompt=["a"])
        pickled = pickle.dumps(PromptTable(path))
        path.unlink()
        with pytest.raises(UserError, match="no such file"):
            pickle.loads(pickled)


class TestCarriedColumns:
    def test_are_all_but_ours(self, write_table):
        table = PromptTable(write_table(topic=["x"], prompt=["a"], id=["b"], seed=[1], 语言=["zh"]))
        assert table.carried.names == ["topic", "语言"]
        assert table.read(0, 1)[0].carried == {"topic": "x", "语言": "zh"}

    def test_keep_their_types_and_values(self, tmp_path):
        columns = many_columns()
        path = tmp_path / "table.parquet"
        pq.write_table(columns.append_column("prompt", [["a", "b"]]), path)
        table = PromptTable(path)
        table.check(DEFAULTS)
        rows = [row.carried for row in table.read(0, 2)]
        stored = pq.read_table(path).drop_columns("prompt")
        assert table.carried == stored.schema
        assert pa.Table.from_pylist(rows, schema=table.carried).equals(stored)

    def test_nan_is_not_null(self, write_table):
        table = PromptTable(write_table(prompt=["a", "b"], score=[math.nan, None]))
        one, two = (row.carried["score"] for row in table.read(0, 2))
        assert math.isnan(one) and two is None

    @pytest.mark.skipif(not hasattr(pa, "uuid"), reason="pyarrow has no such type yet")
    def test_extension_types_become_what_they_store(self, write_table):
        raw = pa.array([b"0123456789abcdef"], pa.binary(16))
        table = PromptTable(
            write_table(prompt=["a"], key=pa.ExtensionArray.from_storage(pa.uuid(), raw))
        )
        table.check(DEFAULTS)
        assert table.carried.field("key").type == pa.binary(16)
        assert table.read(0, 1)[0].carried == {"key": b"0123456789abcdef"}


class TestSummary:
    def test_counts_images_and_collects_settings(self, write_table):
        table = PromptTable(
            write_table(
                prompt=["a", "b", "c"],
                images_per_prompt=[None, 5, 1],
                steps=[None, 30, 30],
                width=[None, 128, None],
            )
        )
        summary = table.check(DEFAULTS)
        assert summary.rows == 3
        assert summary.images == 2 + 5 + 1
        assert summary.steps == {20, 30}
        assert summary.sizes == {(96, 64), (128, 64)}

    def test_a_limited_table_is_the_shorter_table(self, write_table):
        long = write_table("long", prompt=["a", "b", None], seed=[1, 2, -1])
        short = write_table("short", prompt=["a", "b"], seed=[1, 2])
        assert PromptTable(long, limit=2).check(DEFAULTS) == PromptTable(short).check(DEFAULTS)


class TestBundledTables:
    @pytest.mark.parametrize("name", ["shapes", "shapes_zh", "news_2026"])
    def test_are_sound(self, name):
        table = PromptTable(ROOT / "prompts" / f"{name}.parquet")
        assert table.check(DEFAULTS).rows == table.rows

    def test_news_2026_has_64_prompts_in_two_languages(self):
        table = PromptTable(ROOT / "prompts" / "news_2026.parquet")
        rows = table.read(0, table.rows)
        assert len(rows) == 64
        assert {row.carried["language"] for row in rows} == {"zh", "en"}
        for row in rows:
            chinese = any("一" <= mark <= "鿿" for mark in row.prompt)
            assert chinese == (row.carried["language"] == "zh")
