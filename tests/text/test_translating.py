from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdbatch.text.syntax import parse_weights
from sdbatch.text.translating import InEnglish

WORDS = {
    "水墨画": "ink (wash) painting",
    "的夜景": "night scene",
    "城市": "city",
    "水墨画的夜景": "ink night",
}


def translate(texts: Sequence[str]) -> list[str]:
    return [WORDS.get(text, f"<{len(text)}>") for text in texts]


def translated(text: str, translate=translate, *, weighting: bool) -> str:
    return InEnglish(translate, weighting=weighting)(text)


def test_a_whole_text_is_translated_as_one():
    assert translated("水墨画的夜景", weighting=False) == "ink night"
    assert translated("水墨画的夜景", weighting=True) == "ink night"


@pytest.mark.parametrize("weighting", [False, True])
def test_what_is_not_chinese_stays(weighting):
    assert translated("a (red:1.2) star, 4k", weighting=weighting) == ("a (red:1.2) star, 4k")


def test_weights_stay_on_what_they_were_on():
    found = translated("(水墨画:1.3)的夜景 BREAK [城市]", weighting=True)
    assert found == r"(ink \(wash\) painting:1.3) night scene BREAK (city:0.909091)"
    spans = [span for span in parse_weights(found) if span.text is None or span.text.strip()]
    assert [span.text and span.text.strip() for span in spans] == [
        "ink (wash) painting", "night scene", None, "city",
    ]  # fmt: skip
    assert [round(span.weight, 6) for span in spans] == [1.3, 1, 1, 0.909091]


@given(st.text(st.sampled_from("水墨画城市 a,()[]:1.\\B")), st.booleans())
def test_any_text_can_be_translated_and_its_weights_stay(text, weighting):
    found = translated(text, lambda texts: ["x"] * len(texts), weighting=weighting)
    if weighting:
        before, after = ({round(s.weight, 4) for s in parse_weights(t)} for t in (text, found))
        assert after <= before | {1.0}


def test_what_is_expected_is_translated_at_once_and_each_piece_once():
    asked: list[list[str]] = []

    def keep(texts):
        asked.append(list(texts))
        return translate(texts)

    in_english = InEnglish(keep, weighting=True)
    in_english.expect(["(水墨画:1.3)的夜景", "a star", "城市", "(水墨画:0.5)城市"])
    assert asked == [["水墨画", "的夜景", "城市"]]
    assert in_english("(城市:1.2) 4k") == "(city:1.2) 4k"
    in_english.expect(["城市", "月"])
    assert asked == [["水墨画", "的夜景", "城市"], ["月"]]


def test_threads_may_ask_at_once():
    in_english = InEnglish(translate, weighting=False)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(in_english, ["城市", "水墨画", "a"] * 50))
    assert found == ["city", "ink (wash) painting", "a"] * 50
