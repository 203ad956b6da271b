"""Chinese rows where the model reads English: refused, or translated by the table itself."""

import pytest

from sdbatch.errors import UserError
from sdbatch.prompts import ChineseRows, PromptDefaults, PromptTable

DEFAULTS = PromptDefaults(images_per_prompt=1, steps=20, width=96, height=64)
REFUSED = ChineseRows("read the manual")
TRANSLATED = ChineseRows("read the manual", "prompt_en")


@pytest.fixture
def check(write_table):
    """`check(rows, prompt=[...], ...)`: the line of refusal without its path; None for none."""

    def run(rows: ChineseRows | None, **columns) -> str | None:
        path = write_table(**columns)
        try:
            PromptTable(path).check(DEFAULTS, chinese=rows)
        except UserError as error:
            return str(error).removeprefix(f"{path}: ")
        return None

    return run


def test_are_welcome_where_nobody_minds(check):
    assert check(None, prompt=["一颗星"]) is None


def test_are_refused_by_number(check):
    line = check(REFUSED, prompt=["a star", "一颗星", "é", "two 星"])
    assert line == "prompt: rows 1, 3: read the manual, found 一颗星"


def test_negative_prompts_count_too(check):
    columns = {"prompt": ["a", "b"], "negative_prompt": [None, "文字"]}
    assert check(REFUSED, **columns) == "negative_prompt: row 1: read the manual, found 文字"
    line = check(TRANSLATED, **columns)
    assert line == (
        "negative_prompt: row 1: expected a column negative_prompt_en of text in English, "
        "found 文字"
    )
    assert check(TRANSLATED, **columns, negative_prompt_en=["", "text"]) is None


@pytest.mark.parametrize("cell", [None, "一颗 star"])
def test_a_translation_must_be_one(check, cell):
    columns = {"prompt": ["星", "a star", "月"], "prompt_en": ["star", None, cell]}
    assert check(TRANSLATED, **columns) == (
        f"prompt_en: row 2: expected prompt in English, found {cell or 'null'}"
    )


def test_a_translation_may_be_missing_where_it_is_not_needed(check):
    assert check(TRANSLATED, prompt=["a star"]) is None
    assert check(TRANSLATED, prompt=["星", "a star"], prompt_en=["star", None]) is None


@pytest.mark.parametrize("columns", [{}, {"prompt_en": [1]}])
def test_the_column_must_be_there_and_text(check, columns):
    assert check(TRANSLATED, prompt=["星"], **columns) == (
        "prompt: row 0: expected a column prompt_en of text in English, found 星"
    )


def test_a_column_of_nothing_but_nulls_is_none(check):
    assert check(REFUSED, prompt=["a"], negative_prompt=[None]) is None
