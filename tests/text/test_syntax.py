"""Weights in prompts are read as AUTOMATIC1111's web UI reads them."""

import gzip
import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdbatch.text.syntax import Span, parse_weights
from tests.text.tiny import TEXT

RECORDED = json.loads(gzip.decompress((TEXT / "syntax.json.gz").read_bytes()))
SYNTAX = st.text(alphabet="()[]\\:.,+-0123456789 abBREAK红🎨\n", max_size=40)


@pytest.mark.parametrize("text", RECORDED)
def test_spans_are_those_of_the_web_ui(text):
    """tools/golden_text.py ran its own parser, whose BREAK is a text of weight -1."""
    found = [["BREAK", -1] if s.text is None else [s.text, s.weight] for s in parse_weights(text)]
    assert found == RECORDED[text]


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("plain text", [Span("plain text")]),
        ("a (cat) dog", [Span("a "), Span("cat", 1.1), Span(" dog")]),
        ("a [cat]", [Span("a "), Span("cat", 1 / 1.1)]),
        ("(cat:1.3)", [Span("cat", 1.3)]),
        ("((cat:1.5):2)", [Span("cat", 3.0)]),
        ("\\(cat\\)", [Span("(cat)")]),
        ("a BREAK b", [Span("a"), Span(None), Span("b")]),
    ],
)
def test_the_syntax(text, spans):
    assert parse_weights(text) == spans


def test_break_inside_brackets_is_one():
    """The web UI takes it for a word there, of a negative weight."""
    assert parse_weights("(a BREAK b)") == [Span("a", 1.1), Span(None), Span("b", 1.1)]


@pytest.mark.parametrize("number", ["1.2.3", ".", "..", "+", "--1", "1,2"])
def test_what_is_no_number_is_text(number):
    """The web UI fails."""
    assert parse_weights(f"(a:{number})") == [Span(f"a:{number}", 1.1)]


@settings(deadline=None)
@given(st.text(max_size=60) | SYNTAX)
def test_any_text_is_read_and_what_is_no_syntax_survives(text):
    spans = parse_weights(text)
    assert spans
    joined = "BREAK".join("".join(s.text for s in part) for part in split(spans))
    assert kept(joined) == kept(text)


@settings(deadline=None)
@given(st.text(max_size=60).filter(lambda t: not set(t) & set("()[]\\") and "BREAK" not in t))
def test_without_brackets_everything_weighs_one(text):
    assert parse_weights(text) == [Span(text)]


@settings(deadline=None)
@given(SYNTAX)
def test_neighbours_of_one_weight_are_one_span(text):
    spans = parse_weights(text)
    for left, right in pairwise(spans):
        assert left.text is None or right.text is None or left.weight != right.weight


@settings(deadline=None)
@given(st.floats(0.01, 9.99).map(lambda x: f"{x:.2f}"), st.text("ab 红", min_size=1))
def test_a_written_weight_is_that_weight(weight, text):
    assert parse_weights(f"({text}:{weight})") == [Span(text, float(weight))]


def split(spans: list[Span]) -> list[list[Span]]:
    """The spans between BREAKs."""
    parts: list[list[Span]] = [[]]
    for span in spans:
        if span.text is None:
            parts.append([])
        else:
            parts[-1].append(span)
    return parts


def kept(text: str) -> str:
    """What no syntax can take away: not brackets, numbers of weights, or spaces beside BREAK."""
    return "".join(
        c for c in text if not c.isspace() and not c.isdecimal() and c not in "()[]\\:+-."
    )
