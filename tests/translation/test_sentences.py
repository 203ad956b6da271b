"""Long texts are cut where sentences end, then at commas, then where they must be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdbatch.translation.sentences import parts


def upto(most: int):
    """Texts of so many characters fit."""
    return lambda text: len(text) <= most


@pytest.mark.parametrize(
    ("text", "most", "expected"),
    [
        ("山。水。", 4, ["山。水。"]),
        (" 山。水。 ", 9, [" 山。水。 "]),
        ("", 9, []),
        (" \n", 9, []),
        ("山。水！？火；", 6, ["山。", "水！？", "火；"]),
        ("他说：“走。”她走了。", 8, ["他说：“走。”", "她走了。"]),
        ("One dog. Two cats! 3.5 mice", 12, ["One dog.", "Two cats!", "3.5 mice"]),
        ("第一行\n\n第二行", 4, ["第一行", "第二行"]),
        ("山，水，火，土，木", 4, ["山，水，", "火，土，", "木"]),
        ("山、水, 1,000米", 6, ["山、水,", "1,000米"]),
        ("一二三四五六七", 3, ["一二三", "四五六", "七"]),
        ("短句。很长的一句话没有逗号。短", 6, ["短句。", "很长的一句话", "没有逗号。", "短"]),
        (">>eng<< 山。水。", 9, [">>eng<<山。", ">>eng<<水。"]),
    ],
)
def test_parts(text, most, expected):
    assert parts(text, upto(most)) == expected


@given(st.text("山水a1 。，,.!\n”", max_size=80), st.integers(1, 20))
def test_nothing_is_lost_and_everything_fits(text, most):
    found = parts(text, upto(most))
    assert all(len(part) <= most for part in found)
    assert "".join("".join(found).split()) == "".join(text.split())
