"""Real refusals in both languages, and any text at all: no value is lost, no English is left."""

import inspect
import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sdbatch.lang.catalogue import Catalogue, Template, catalogue, entries
from tests import test_config, test_explain

ENGLISH = (
    "an|and|are|as|at|be|but|by|cannot|could|did|expected|for|found|from|give|given|has|have|in|is|"
    "it|its|made|more|must|no|not|of|one|only|or|out|should|than|that|the|their|there|these|this|to|"
    "was|were|what|which|with|would"
)
LEFT = re.compile(rf"(?<![\w./`'\"-])({ENGLISH})(?![\w./=-])")
"""Words that no key, value or command of these lines has, and hardly any English line lacks."""


def tables(module) -> list[str]:
    """Every `line` of the tables in a module of tests."""
    holders = [module, *(item for _, item in inspect.getmembers(module, inspect.isclass))]
    found = []
    for holder in holders:
        for _, function in inspect.getmembers(holder, inspect.isfunction):
            for mark in getattr(function, "pytestmark", ()):
                if mark.name == "parametrize" and "line" in mark.args[0]:
                    place = list(mark.args[0]).index("line")
                    found += [row[place] for row in mark.args[1]]
    return found


REFUSALS = sorted(set(tables(test_config) + tables(test_explain)))
WHOLE = [line for line in REFUSALS if not line.endswith((" ", " that", "a, b'"))]


def test_there_are_many():
    assert len(WHOLE) > 80


@pytest.mark.parametrize("line", WHOLE)
def test_a_refusal_is_chinese_with_all_that_it_names(line):
    chinese = catalogue().translated(line)
    assert re.search(r"[一-鿿]", chinese)
    assert not LEFT.search(chinese), chinese
    assert chinese == " ".join(chinese.split())
    for word in re.findall(r"[^\s,;?]+", line):
        if re.search(r"[\d_./=\[\]{}<]", word.rstrip(".")):  # no word of a language
            assert word.strip(":()'.") in chinese


@pytest.mark.parametrize(
    ("line", "chinese"),
    [
        ("width: expected a multiple of 8, found 100", "width: 应为 8 的倍数，实际为 100"),
        (
            "max_hours: expected a number above 0, found nan",
            "max_hours: 应为大于 0 的数，实际为 nan",
        ),
        (
            "/t.parquet: prompt: rows 1, 3: expected text, found null",
            "/t.parquet: prompt: 第 1, 3 行: 应为文本，实际为 null",
        ),
        (
            "task 3: shard 00002: given up: [Errno 5] Input/output error: '/a'; 1 of the shards "
            "could not be made; the same command tries again",
            "任务 3: 分片 00002: 已放弃: [Errno 5] 输入/输出错误: '/a'；共有 1 个分片没能生成；"
            "再次运行同一条命令会重试",
        ),
        (
            "/m.pt: malformed pickle: a large int as a dictionary key (opcode 0x73 before byte 9)",
            "/m.pt: pickle 有错: 以很大的 int 作为字典的键（字节 9 之前的操作码 0x73）",
        ),
        (
            "/m/unet/config.json: refused: the file asks to call an object of os.system; only "
            "tensors and plain values are read",
            "/m/unet/config.json: 已拒绝: 文件要求调用 os.system 的对象；只读取张量和普通的值",
        ),
        (
            "/d/run.json: the dataset was made with other settings: steps was 20, now 30; seed was "
            "0, now 1; give another output.dir, or the old settings",
            "/d/run.json: 数据集是用别的设置生成的: steps 原为 20，现为 30; seed 原为 0，现为 1；"
            "请换一个 output.dir，或恢复原来的设置",
        ),
        ("/t: mask: row 1: expected a path, found", "/t: mask: 第 1 行: 应为路径，实际为"),
        ("/d: No space left on device", "/d: 设备上没有空间"),
        ("argument --regenerate: invalid int value: 'y'", "参数 --regenerate: 无效的整数: 'y'"),
    ],
)
def test_texts_within_texts(line, chinese):
    assert catalogue().translated(line) == chinese


@pytest.mark.parametrize(
    "line",
    [
        "",
        "something that nobody foresaw",
        "/a: something that nobody foresaw",
        "The device was lost, now restarting",  # almost a part of a line about settings
        "已经是中文",
    ],
)
def test_what_is_not_known_stays_as_it_is(line):
    assert catalogue().translated(line) == line


@pytest.mark.parametrize("english", entries())
def test_each_entry_is_found_with_its_values(english):
    template = Template.parse(english, entries()[english])
    values = [f"<{number}>" for number in range(len(template.pieces) - 1)]
    assert template.values(filled(template, values)) == values
    chinese = entries()[english]
    assert not LEFT.search(re.sub(r"'[^']*'|`[^`]*`", "", chinese)), chinese


def filled(template: Template, values: list[str]) -> str:
    text = template.pieces[0]
    for value, piece in zip(values, template.pieces[1:], strict=True):
        text += value + piece
    return text


@given(text=st.text(max_size=300))
def test_any_text_is_taken(text):
    assert isinstance(catalogue().translated(text), str)


@given(
    parts=st.lists(
        st.sampled_from(
            [": ", "; ", " and ", "{", "}", "{0}", "{0*}", "=", "'", "\n", "a", "，", "expected "]
            + [piece for english in list(entries())[::7] for piece in english.split("{}")]
        ),
        max_size=12,
    )
)
def test_any_mixture_of_what_it_looks_for_is_taken(parts):
    assert isinstance(catalogue().translated("".join(parts)), str)


WORDS = sorted(
    {
        piece.strip()
        for one in entries()
        for piece in one.split("{}")
        if re.search("[a-z]{2}", piece)
    }
)
VALUES = st.text(st.characters(exclude_characters="\n"), min_size=1, max_size=40)


@given(data=st.data(), english=st.sampled_from(sorted(entries())))
def test_values_of_any_characters_come_through(data, english):
    template = Template.parse(english, entries()[english])
    values = [data.draw(VALUES) for _ in template.pieces[1:]]
    # A value that itself has what stands between values can be parted differently, and one that
    # is English of the catalogue may be meant.
    apart = [piece for piece in template.pieces if piece] + WORDS
    assume(not any(piece in value for value in values for piece in apart))
    alone = Catalogue({english: entries()[english]})
    for catalog in (alone, catalogue()):
        chinese = catalog.translated(filled(template, values))
        for value in values:
            assert value.strip() in chinese


def test_a_long_line_takes_no_time():
    """Pieces are searched for from left to right, never again and again."""
    for line in (": " * 20_000, "a: expected " * 3_000, "{}=" * 20_000, " and " * 20_000):
        assert isinstance(catalogue().translated(line), str)
