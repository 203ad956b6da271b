"""2,000 prompts get the ids of transformers 5, id for id, by the real vocabulary of CLIP."""

import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdbatch.text.bpe import normal
from sdbatch.weights.checkpoint import TokenizerFiles
from sdbatch.weights.tokenizer import open_tokenizer
from tests.conftest import ASSETS
from tests.text.tiny import TEXT

# Punctuation and a mark from after Unicode 8, which transformers' library for BERT does not know.
NEWER = ("\u2e4c", "\U00010f83")


def clip(settings: str):
    """The full vocabulary with the settings of a published tokenizer."""
    folder = ASSETS / "families" / settings
    files = {
        path.name: path for path in (*folder.iterdir(), *(ASSETS / "clip_tokenizer").iterdir())
    }
    return open_tokenizer(TokenizerFiles(folder, files), "CLIPTextModel", 77)


TOKENIZERS = {
    "sd1": clip("sd1/tokenizer"),
    "sd2": clip("sd2/tokenizer"),
    "bert": open_tokenizer(
        TokenizerFiles.in_folder(ASSETS / "demo_zh" / "tokenizer"), "BertModel", 40
    ),
}


@pytest.fixture(scope="module")
def golden() -> dict:
    """Prompts and their ids (tools/golden_text.py)."""
    return json.loads(gzip.decompress((TEXT / "ids.json.gz").read_bytes()))


def test_golden_prompts_are_many_and_varied(golden):
    texts = golden["texts"]
    assert len(texts) == 2000
    assert max(len(ids) for ids in golden["sd1"]) > 150
    for part in ("红", "🎨", "é", "e\u0301", "\u200d", "\x00", "ａ", "א", "<|endoftext|>", "don't"):
        assert any(part in text for text in texts), part


@pytest.mark.parametrize("name", ["sd1", "sd2"])
def test_clip_ids_are_those_of_transformers(golden, name):
    for i, (text, expected) in enumerate(zip(golden["texts"], golden["sd1"], strict=True)):
        if name == "sd2":  # only what differs is recorded
            expected = golden["sd2"].get(str(i), expected)
        assert TOKENIZERS[name].ids(text) == expected, repr(text)


def test_bert_ids_are_those_of_transformers(golden):
    for text, expected in zip(golden["texts"], golden["bert"], strict=True):
        if not any(character in text for character in NEWER):
            assert TOKENIZERS["bert"].ids(text) == expected, repr(text)


def test_words_of_clip_joined_are_the_text_as_it_is_read(golden):
    for text in golden["texts"]:
        words = TOKENIZERS["sd1"].words(text)
        joined = "".join(word.text for word in words)
        assert normal(joined).split() == normal(text).split()


def test_words_of_bert_joined_are_the_text(golden):
    for text in golden["texts"]:
        assert "".join(word.text for word in TOKENIZERS["bert"].words(text)) == text


def test_words_have_the_spaces_around_them():
    words = TOKENIZERS["sd1"].words(" A  Cat's, 红色")
    assert [word.text for word in words] == [" a ", "cat", "'s", ", ", "红色"]
    words = TOKENIZERS["bert"].words(" A  红色 x")
    assert [word.text for word in words] == [" ", "A  ", "红", "色 ", "x"]


def test_a_row_is_framed_and_padded():
    assert TOKENIZERS["sd1"].framed([5, 6]) == [49406, 5, 6, *[49407] * 74]
    assert TOKENIZERS["sd2"].framed([5, 6]) == [49406, 5, 6, 49407, *[0] * 73]
    assert len(TOKENIZERS["bert"].framed([5] * 38)) == 40


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(deadline=None)
@given(text=st.text(max_size=60))
def test_any_text_has_ids_of_the_vocabulary(name, text):
    assert all(0 <= number < 49408 for number in TOKENIZERS[name].ids(text))


@settings(deadline=None)
@given(first=st.text(max_size=20), second=st.text(max_size=20))
def test_texts_with_a_blank_between_are_read_each_by_itself(first, second):
    ids = TOKENIZERS["sd1"].ids
    assert ids(f"{first} {second}") == ids(first) + ids(second)
