import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdbatch.text.syntax import parse_weights
from sdbatch.text.translating import translated

WORDS = {
    "水墨画": "ink (wash) painting",
    "的夜景": "night scene",
    "城市": "city",
    "水墨画的夜景": "ink night",
}


def translate(text: str) -> str:
    return WORDS.get(text, f"<{len(text)}>")


def test_a_whole_text_is_translated_as_one():
    assert translated("水墨画的夜景", translate, weighting=False) == "ink night"
    assert translated("水墨画的夜景", translate, weighting=True) == "ink night"


@pytest.mark.parametrize("weighting", [False, True])
def test_what_is_not_chinese_stays(weighting):
    assert translated("a (red:1.2) star, 4k", translate, weighting=weighting) == (
        "a (red:1.2) star, 4k"
    )


def test_weights_stay_on_what_they_were_on():
    found = translated("(水墨画:1.3)的夜景 BREAK [城市]", translate, weighting=True)
    assert found == r"(ink \(wash\) painting:1.3) night scene BREAK (city:0.909091)"
    spans = [span for span in parse_weights(found) if span.text is None or span.text.strip()]
    assert [span.text and span.text.strip() for span in spans] == [
        "ink (wash) painting", "night scene", None, "city",
    ]  # fmt: skip
    assert [round(span.weight, 6) for span in spans] == [1.3, 1, 1, 0.909091]


@given(st.text(st.sampled_from("水墨画城市 a,()[]:1.\\B")), st.booleans())
def test_any_text_can_be_translated_and_its_weights_stay(text, weighting):
    found = translated(text, lambda _: "x", weighting=weighting)
    if weighting:
        before, after = ({round(s.weight, 4) for s in parse_weights(t)} for t in (text, found))
        assert after <= before | {1.0}
