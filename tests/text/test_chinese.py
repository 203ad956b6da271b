"""Chinese texts before a tokenizer reads them: characters, words, keywords."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdbatch.text import TextOptions
from sdbatch.text.chinese import Preparation, has_chinese, spaced
from sdbatch.text.chunks import read_text
from sdbatch.text.tokens import Tokenizer, Word, together

UNICODE = Preparation(unicode=True)
WORDS = Preparation(words=True)
SIMPLE = Preparation(simplify=True)

mixed = st.text(st.sampled_from("水墨画风格的城市夜景，。 ab1(（:：）)\\[]\n🎆𠮷"), max_size=30)


def characters(text: str) -> list[Word]:
    """A tokenizer that knows each character, as BERT's does; its number is its id."""
    return [Word(c, () if c.isspace() else (ord(c),)) for c in text]


def tokenizer(room: int) -> Tokenizer:
    return Tokenizer(characters, 1, 2, 0, room + 2)


def read(text: str, room: int, preparation: Preparation, **options):
    return read_text(text, tokenizer(room), TextOptions(**options, preparation=preparation))


def shown(reading) -> list[str]:
    return ["".join(chr(n) for n in chunk.ids if n > 2) for chunk in reading.chunks]


class TestCharacters:
    @pytest.mark.parametrize(
        ("text", "chinese"),
        [
            ("a star", False),
            ("城", True),
            ("〇", True),
            ("𠮷野家", True),
            ("ｱ！", False),
            ("", False),
        ],
    )
    def test_are_told_apart(self, text, chinese):
        assert has_chinese(text) == chinese

    def test_full_width_ones_become_ascii(self):
        found = UNICODE.prepared("ＡＢＣ１２３，４Ｋ！　城市", weighting=False)
        assert found == "ABC123,4K! 城市"

    def test_weights_typed_on_a_chinese_keyboard_are_weights(self):
        found = UNICODE.prepared("（水墨画：１．３）的夜景", weighting=True)
        assert found == "(水墨画:1.3)的夜景"

    def test_other_full_width_brackets_stay_text(self):
        reading = read("夜景（油画）", 20, UNICODE, weighting=True)
        assert shown(reading) == ["夜景(油画)"]
        assert not reading.weighted

    def test_traditional_ones_become_simplified(self):
        assert (
            SIMPLE.prepared("綠色背景上的橙色小圓形", weighting=False) == "绿色背景上的橙色小圆形"
        )
        # By words where characters alone do not tell.
        assert SIMPLE.prepared("乾燥的皇后", weighting=False) == "干燥的皇后"

    @given(mixed)
    def test_nothing_is_done_unless_asked_for(self, text):
        assert Preparation().prepared(text, weighting=True) == text
        assert read(text, 50, Preparation()).read_as == text

    @given(st.text())
    def test_any_text_can_be_made_ready_and_is_ready_then(self, text):
        everything = Preparation(unicode=True, simplify=True)
        once = everything.prepared(text, weighting=False)
        assert everything.prepared(once, weighting=False) == once or not once.isascii()


class TestWords:
    def test_are_those_that_people_see(self):
        assert WORDS.pieces("水墨画风格的城市夜景") == ["水墨画", "风格", "的", "城市", "夜景"]

    @settings(deadline=None)
    @given(st.one_of(mixed, st.text(max_size=40)))
    def test_joined_are_the_text(self, text):
        assert "".join(WORDS.pieces(text)) == text

    def test_of_the_users_own_dictionary(self, tmp_path):
        path = tmp_path / "词典.txt"
        path.write_text("城市夜景\n云原生 5 n\n", encoding="utf-8-sig")
        own = Preparation(words=True, user_dict=str(path))
        assert own.pieces("水墨画风格的城市夜景") == ["水墨画", "风格", "的", "城市夜景"]
        assert "云原生" in own.pieces("云原生插画")
        assert "城市夜景" not in WORDS.pieces("水墨画风格的城市夜景")

    def test_are_not_cut_in_two_where_a_chunk_ends(self):
        text = "水墨画风格的城市夜景"
        assert shown(read(text, 7, Preparation())) == ["水墨画风格的城", "市夜景"]
        assert shown(read(text, 7, WORDS)) == ["水墨画风格的", "城市夜景"]

    def test_nor_where_the_text_is_cut(self):
        reading = read("水墨画风格的城市夜景", 9, WORDS, max_chunks=1)
        assert (shown(reading), reading.truncated) == (["水墨画风格的城市"], "夜景")
        plain = read("水墨画风格的城市夜景", 9, Preparation(), max_chunks=1)
        assert (shown(plain), plain.truncated) == (["水墨画风格的城市夜"], "景")

    def test_longer_than_a_chunk_are_cut_all_the_same(self):
        assert shown(read("水墨画", 2, WORDS)) == ["水墨", "画"]

    def test_keep_their_weight(self):
        (chunk,) = read("(水墨画:1.3)风格", 9, WORDS, weighting=True).chunks
        assert chunk.weights[1:6] == (1.3, 1.3, 1.3, 1.0, 1.0)

    @settings(deadline=None)
    @given(mixed, st.integers(1, 12), st.integers(1, 3))
    def test_no_character_is_lost(self, text, room, most):
        reading = read(text, room, WORDS, max_chunks=most)
        kept = "".join(shown(reading))
        cut = "".join((reading.truncated or "").split())
        whole = "".join(text.split())
        assert whole.startswith(kept)
        assert whole.endswith(cut)
        assert len(kept) + len(cut) >= len(whole)  # a word longer than a chunk is in both

    @given(mixed)
    def test_put_together_are_the_same_text_and_ids(self, text):
        words = characters(text)
        found = together(words, WORDS.pieces(text))
        assert "".join(w.text for w in found) == text
        assert [n for w in found for n in w.ids] == [n for w in words for n in w.ids]


class TestSpaced:
    def test_words_stand_apart(self):
        pieces = WORDS.pieces("水墨画风格的city夜景, 4k art")
        assert spaced(pieces) == "水墨画 风格 的 city 夜景 , 4k art"

    def test_is_what_the_tokenizer_gets_and_is_told(self):
        reading = read(
            "（城市：1.2）夜景", 20, Preparation(unicode=True, spaced=True), weighting=True
        )
        assert reading.read_as == "城市 夜景"
        assert shown(reading) == ["城市夜景"]
        assert reading.chunks[0].weights[1:5] == (1.2, 1.2, 1.0, 1.0)

    def test_changes_nothing_for_a_tokenizer_of_characters(self):
        text = "水墨画风格的城市夜景"
        assert read(text, 20, Preparation(spaced=True)).chunks == read(text, 20, WORDS).chunks


class TestKeywords:
    TEXT = "集装箱码头的清晨，龙门吊在薄雾中排成一列，一名工人骑自行车穿过货柜间的窄道"

    @pytest.mark.parametrize("by", ["tfidf", "textrank"])
    def test_are_words_of_the_text(self, by):
        found = Preparation(keywords=4, keywords_by=by).keywords_of(self.TEXT)
        assert len(found) == 4
        assert "龙门吊" in found
        assert all(word in self.TEXT for word in found)

    def test_of_the_users_dictionary_count(self, tmp_path):
        (tmp_path / "d.txt").write_text("货柜间的窄道 100 n\n")
        own = Preparation(keywords=3, user_dict=str(tmp_path / "d.txt"))
        assert "货柜间的窄道" in own.keywords_of(self.TEXT)

    def test_are_none_unless_asked_for(self):
        assert Preparation().keywords_of(self.TEXT) == ()
        assert Preparation(keywords=3).keywords_of("") == ()
