"""CSV, TSV, JSON lines and plain text become checked prompt tables."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sdbatch.errors import UserError
from sdbatch.prompts import PromptTable
from sdbatch.prompts.convert import convert
from tests.conftest import ROOT


@pytest.fixture
def converted(tmp_path):
    """`converted("a.csv", text)`: the table that such a file becomes, as a dict of columns."""

    def run(name: str, content: str | bytes) -> dict[str, list]:
        source, target = tmp_path / name, tmp_path / "table.parquet"
        source.write_bytes(content if isinstance(content, bytes) else content.encode())
        table = convert(source, target)
        assert isinstance(table, PromptTable)
        assert sorted(tmp_path.iterdir()) == sorted([source, target])
        return pq.read_table(target).to_pydict()

    return run


@pytest.fixture
def refusal(tmp_path):
    """`refusal("a.csv", text)`: why such a file is refused; nothing but the file is left."""

    def run(name: str, content: str | bytes) -> str:
        source = tmp_path / name
        source.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(UserError) as error:
            convert(source, tmp_path / "table.parquet")
        line = str(error.value)
        assert list(tmp_path.iterdir()) == [source]
        assert len(line.splitlines()) == 1
        assert line.startswith(f"{source}: ") and ".tmp" not in line
        return line.removeprefix(f"{source}: ")

    return run


class TestDelimited:
    def test_empty_cells_are_null(self, converted):
        table = converted("a.csv", "prompt,seed,negative_prompt,topic\na,7,,x\nb,,bad,\n")
        assert table == {
            "prompt": ["a", "b"],
            "seed": [7, None],
            "negative_prompt": [None, "bad"],
            "topic": ["x", None],
        }

    def test_quotes_commas_and_line_breaks_stay_in_the_value(self, converted):
        table = converted("a.csv", 'prompt,id\n"a ""red"" star, large",1\n"line\nbreak",2\n')
        assert table == {"prompt": ['a "red" star, large', "line\nbreak"], "id": ["1", "2"]}

    @pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "with byte-order mark"])
    def test_chinese(self, converted, mark):
        table = converted("a.csv", f"{mark}prompt,主题\n红色的星，白色背景,形状\n")
        assert table == {"prompt": ["红色的星，白色背景"], "主题": ["形状"]}

    def test_tabs(self, converted):
        assert converted("a.tsv", "prompt\tseed\na, b\t1\n") == {"prompt": ["a, b"], "seed": [1]}

    def test_windows_line_ends(self, converted):
        assert converted("a.csv", "prompt,seed\r\na,1\r\n") == {"prompt": ["a"], "seed": [1]}

    def test_ids_and_prompts_are_text_whatever_they_look_like(self, converted):
        table = converted("a.csv", "id,prompt\n007,2026\n2026-01-01,1.5\n")
        assert table == {"id": ["007", "2026-01-01"], "prompt": ["2026", "1.5"]}

    def test_overrides_have_their_types(self, converted, tmp_path):
        converted("a.csv", "prompt,seed,guidance_scale,steps\na,,7,\n")
        schema = pq.read_schema(tmp_path / "table.parquet")
        assert schema.types == [pa.string(), pa.int64(), pa.float64(), pa.int64()]

    def test_an_override_that_is_no_number_is_refused(self, refusal):
        assert "invalid value 'often'" in refusal("a.csv", "prompt,steps\na,often\n")

    def test_another_encoding_is_refused(self, refusal):
        assert "UTF8" in refusal("a.csv", "prompt\n红色的星\n".encode("gbk"))

    def test_a_row_of_another_length_is_refused(self, refusal):
        assert "Expected 2 columns, got 3" in refusal("a.csv", "prompt,topic\na,b,c\n")


class TestJsonLines:
    def test_values_keep_their_types(self, converted):
        rows = [
            {"id": 1, "prompt": "红色的星\n第二行", "tags": ["a", "b"]},
            {"id": 2, "prompt": "b", "seed": 7},
        ]
        table = converted("a.jsonl", "\n".join(json.dumps(row) for row in rows))
        assert table == {
            "id": [1, 2],
            "prompt": ["红色的星\n第二行", "b"],
            "tags": [["a", "b"], None],
            "seed": [None, 7],
        }

    def test_ids_that_look_like_dates_stay_text(self, converted):
        lines = '{"id": "2026-01-01", "prompt": "a"}\n{"id": "2026-01-02", "prompt": "b"}\n'
        assert converted("a.jsonl", lines)["id"] == ["2026-01-01", "2026-01-02"]

    def test_one_array_is_not_json_lines(self, refusal):
        assert refusal("a.jsonl", '[{"prompt": "a"}]').startswith("cannot be read: ")


class TestText:
    def test_is_one_prompt_a_line(self, converted):
        table = converted("a.txt", "\ufeff红色的星\n\n  a blue heart \r\n")
        assert table == {"prompt": ["红色的星", "a blue heart"]}

    def test_of_blank_lines_is_refused(self, refusal):
        assert refusal("a.txt", " \n\n") == "expected at least one row, found none"


class TestRefusals:
    @pytest.mark.parametrize(
        ("name", "content", "why"),
        [
            ("a.csv", "", "cannot be read: "),
            ("a.jsonl", "", "cannot be read: "),
            ("a.xlsx", "", "expected a file ending in .csv, .tsv, .jsonl or .txt"),
            ("a.csv", "text\na\n", "no column 'prompt'; found text"),
            ("a.csv", "prompt,prompt\na,b\n", "two columns share a name"),
            ("a.csv", "prompt,topic\n,x\n", "prompt: row 0: expected text, found null"),
            ("a.csv", "prompt,id\na,x\nb,x\n", "id 'x': duplicate in rows 0 and 1"),
            ("a.csv", "prompt,width\na,100\n", "width: row 0: expected a multiple of 8"),
            ("a.jsonl", '{"prompt": 3}', "prompt: expected string, found int64"),
            ("a.csv", "prompt,status\na,ok\n", "column status: the name is reserved"),
        ],
    )
    def test_name_the_source_and_leave_no_target(self, refusal, name, content, why):
        assert refusal(name, content).startswith(why)

    def test_no_such_source(self, tmp_path):
        with pytest.raises(UserError, match=r"nowhere\.csv: no such file"):
            convert(tmp_path / "nowhere.csv", tmp_path / "table.parquet")

    def test_no_such_target_folder(self, tmp_path):
        source = tmp_path / "a.txt"
        source.write_text("a red star")
        with pytest.raises(UserError, match=r"nowhere/t\.parquet: cannot be written"):
            convert(source, tmp_path / "nowhere" / "t.parquet")

    def test_an_earlier_target_is_kept(self, tmp_path):
        source, target = tmp_path / "a.csv", tmp_path / "table.parquet"
        source.write_text("prompt\na\n")
        convert(source, target)
        source.write_text("prompt,seed\na,-1\n")
        with pytest.raises(UserError):
            convert(source, target)
        assert pq.read_table(target).to_pydict() == {"prompt": ["a"]}


class TestCommand:
    def test_prints_the_table_it_made(self, sdbatch, tmp_path):
        (tmp_path / "a.txt").write_text("a red star\na blue heart\n")
        run = sdbatch("a.txt", "a.parquet", module="sdbatch.prompts")
        assert (run.returncode, run.stdout, run.stderr) == (0, "a.parquet\n", "2 prompts\n")

    def test_refuses_in_one_line_with_exit_code_1(self, sdbatch, tmp_path):
        (tmp_path / "a.csv").write_text("text\na red star\n")
        run = sdbatch("a.csv", "a.parquet", module="sdbatch.prompts")
        assert (run.returncode, run.stdout) == (1, "")
        assert run.stderr == "sdbatch: error: a.csv: no column 'prompt'; found text\n"


@pytest.mark.parametrize("name", ["shapes", "shapes_zh", "news_2026"])
def test_the_bundled_tables_are_their_csv_converted(tmp_path, name):
    convert(ROOT / "prompts" / f"{name}.csv", tmp_path / "table.parquet")
    bundled = pq.read_table(ROOT / "prompts" / f"{name}.parquet")
    assert pq.read_table(tmp_path / "table.parquet").equals(bundled)
