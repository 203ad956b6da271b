"""Long texts are read in chunks; what no chunk holds is reported."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdbatch.text import TextOptions
from sdbatch.text.chunks import read_text
from sdbatch.text.tokens import Tokenizer, Word

BOS, EOS, PAD, COMMA = 100, 101, 102, 50
ROOM = 5


def words(text: str) -> list[Word]:
    """One token for each letter of a word: `a` is 1. Commas are words, capitals stay together."""
    found = []
    for word in text.replace(",", " ,").split(" "):
        if word:
            ids = tuple(COMMA if c == "," else ord(c.lower()) - 96 for c in word)
            found.append(Word(f"{word} ", ids, whole=word.isupper()))
    return found


TOKENIZER = Tokenizer(words, BOS, EOS, PAD, ROOM + 2, COMMA)


def read(text: str, tokenizer: Tokenizer = TOKENIZER, **options):
    return read_text(text, tokenizer, TextOptions(**options))


def letters(reading) -> list[str]:
    """The text of each chunk, without start, end and padding."""
    shown = {COMMA: ",", **{i: chr(96 + i) for i in range(1, 27)}}
    return ["".join(shown.get(number, "") for number in chunk.ids) for chunk in reading.chunks]


def test_a_short_text_is_one_padded_chunk():
    (chunk,) = read("ab c").chunks
    assert chunk.ids == (BOS, 1, 2, 3, EOS, PAD, PAD)
    assert chunk.weights == (1.0,) * 7


def test_an_empty_text_is_one_chunk_of_padding():
    reading = read("")
    assert [chunk.ids for chunk in reading.chunks] == [(BOS, EOS, PAD, PAD, PAD, PAD, PAD)]
    assert (reading.tokens, reading.truncated) == (0, None)


def test_a_long_text_has_as_many_chunks_as_it_needs():
    assert letters(read("abc def gh")) == ["abcde", "fgh"]
    assert letters(read("abcde")) == ["abcde"]
    assert letters(read("abcdef")) == ["abcde", "f"]


def test_a_full_chunk_has_no_padding():
    assert read("abcde").chunks[0].ids == (BOS, 1, 2, 3, 4, 5, EOS)


def test_words_beyond_the_last_chunk_are_cut_and_reported():
    reading = read("abcd efg hi", max_chunks=1)
    assert letters(reading) == ["abcde"]
    assert (reading.tokens, reading.truncated) == (9, "efg hi")  # "efg" was cut in two
    reading = read("abcd efg hi jk", max_chunks=2)
    assert (letters(reading), reading.truncated) == (["abcde", "fghij"], "jk")


def test_nothing_is_reported_where_the_text_just_fits():
    assert read("abcde fghij", max_chunks=2).truncated is None


def test_weights_lie_on_the_tokens_of_their_words():
    (chunk,) = read("a (bc:1.5) [d]", weighting=True).chunks
    assert chunk.ids == (BOS, 1, 2, 3, 4, EOS, PAD)
    assert chunk.weights == (1.0, 1.0, 1.5, 1.5, 1 / 1.1, 1.0, 1.0)


def test_without_weighting_brackets_are_text():
    plain = Tokenizer(lambda text: [Word(text, (7,))], BOS, EOS, PAD, 7)
    reading = read("(a:1.5) BREAK b", plain)
    assert reading.chunks[0].ids[1] == 7
    assert not reading.weighted


def test_a_reading_says_whether_it_is_weighted():
    assert read("(a)", weighting=True).weighted
    assert not read("(a:1)", weighting=True).weighted


@pytest.mark.parametrize(
    ("text", "chunks"),
    [
        ("ab BREAK c", ["ab", "c"]),
        ("abcdef BREAK g", ["abcde", "f", "g"]),
        ("BREAK ab", ["", "ab"]),
        ("a BREAK BREAK b", ["a", "", "b"]),
        ("ab BREAK", ["ab"]),
        ("BREAK", [""]),
        ("abcde BREAK f", ["abcde", "f"]),
    ],
)
def test_break_begins_a_chunk(text, chunks):
    reading = read(text, weighting=True)
    assert letters(reading) == chunks
    assert reading.truncated is None


def test_what_follows_a_break_beyond_the_last_chunk_is_cut():
    reading = read("a BREAK b BREAK c (d)", weighting=True, max_chunks=2)
    assert letters(reading) == ["a", "b"]
    assert (reading.tokens, reading.truncated) == (4, "c d")
    assert read("a BREAK", weighting=True, max_chunks=1).truncated is None


class TestCommaBacktrack:
    def test_words_after_a_late_comma_go_into_the_next_chunk(self):
        assert letters(read("ab, cdef", comma_backtrack=3)) == ["ab,", "cdef"]

    def test_a_comma_before_the_last_tokens_is_too_early(self):
        assert letters(read("ab, cdef", comma_backtrack=2)) == ["ab,cd", "ef"]
        assert letters(read("ab, cdef", comma_backtrack=0)) == ["ab,cd", "ef"]

    def test_it_is_the_last_comma_that_counts(self):
        assert letters(read("a, b, cd", comma_backtrack=5)) == ["a,b,", "cd"]

    def test_a_chunk_that_just_fits_stays(self):
        assert letters(read("ab, cd", comma_backtrack=5)) == ["ab,cd"]

    def test_a_comma_that_no_longer_fits_moves_nothing(self):
        assert letters(read("a, bcd, e", comma_backtrack=5)) == ["a,bcd", ",e"]

    def test_weights_move_too(self):
        chunks = read("ab, (cde)", comma_backtrack=5, weighting=True).chunks
        assert chunks[1].weights[1:4] == (1.1, 1.1, 1.1)

    def test_nothing_moves_out_of_the_last_chunk(self):
        """It would be lost."""
        reading = read("ab, cdef", comma_backtrack=3, max_chunks=1)
        assert letters(reading) == ["ab,cd"]


def test_a_new_token_of_several_vectors_is_not_cut_in_two():
    assert letters(read("abc XYZ")) == ["abc", "xyz"]
    assert letters(read("ab XYZ c")) == ["abxyz", "c"]


def test_one_that_no_chunk_could_hold_or_that_would_be_lost_is():
    assert letters(read("a UVWXYZ")) == ["auvwx", "yz"]
    assert letters(read("abc XYZ", max_chunks=1)) == ["abcxy"]


def test_a_tokenizer_without_chunks_reads_one_and_no_break():
    bert = Tokenizer(words, BOS, EOS, PAD, ROOM + 2, chunked=False)
    reading = read("ab BREAK cd efg", bert, weighting=True)
    assert letters(reading) == ["abcde"]
    assert reading.truncated == "efg"


LETTERS = st.text("abc ,XY", max_size=60)


@settings(deadline=None)
@given(LETTERS, st.integers(1, 4), st.integers(0, 6))
def test_nothing_is_lost_but_what_is_reported(text, most, backtrack):
    reading = read(text, max_chunks=most, comma_backtrack=backtrack)
    everything = [number for word in words(text) for number in word.ids]
    found = [n for chunk in reading.chunks for n in chunk.ids if n not in (BOS, EOS, PAD)]
    assert found == everything[: len(found)]
    assert (reading.truncated is None) == (found == everything)
    assert reading.tokens == len(everything)
    assert 1 <= len(reading.chunks) <= most


@settings(deadline=None)
@given(LETTERS, st.integers(1, 4), st.integers(0, 6))
def test_every_chunk_is_framed(text, most, backtrack):
    for chunk in read(text, max_chunks=most, comma_backtrack=backtrack).chunks:
        assert len(chunk.ids) == len(chunk.weights) == TOKENIZER.length
        assert chunk.ids[0] == BOS
        end = chunk.ids.index(EOS)
        assert set(chunk.ids[end + 1 :]) <= {PAD}
