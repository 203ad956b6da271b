"""2,000 Chinese prompts get the ids of transformers, id for id, by every kind of tokenizer."""

import json

import pytest
from hypothesis import given as arbitrary
from hypothesis import settings
from hypothesis import strategies as st

from sdbatch.text.tokens import Tokenizer
from sdbatch.weights.checkpoint import TokenizerFiles
from sdbatch.weights.tokenizer import open_tokenizer
from tests.conftest import ASSETS
from tests.text.xlm import golden, recorded, tokenizer, write_tokenizer

KINDS = ("clip", "clip_added", "bert", "xlm_roberta", "xlm_roberta_added")


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory) -> dict[str, Tokenizer]:
    """By their names in the record."""
    folder = tmp_path_factory.mktemp("tokenizers")
    parts = (ASSETS / "families" / "sd1" / "tokenizer", ASSETS / "clip_tokenizer")
    clip = TokenizerFiles(folder, {path.name: path for part in parts for path in part.iterdir()})
    added = folder / "added_tokens.json"
    words = {word: 49408 + i for i, word in enumerate(golden()["clip_words"])}
    added.write_text(json.dumps(words))
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("".join(f"{w}\n" for w in golden()["bert_vocabulary"]), encoding="utf-8")
    with_words = {"added_tokens_decoder": golden()["xlm_roberta_words"]}
    return {
        "clip": open_tokenizer(clip, "CLIPTextModel", 77),
        "clip_added": open_tokenizer(
            TokenizerFiles(folder, {**clip.files, added.name: added}), "CLIPTextModel", 77
        ),
        "bert": open_tokenizer(
            TokenizerFiles(folder, {vocabulary.name: vocabulary}), "BertModel", 77
        ),
        "xlm_roberta": tokenizer(write_tokenizer(folder / "xlm")),
        "xlm_roberta_added": tokenizer(
            write_tokenizer(folder / "added", **with_words), vocab_size=2004
        ),
    }


def test_golden_prompts_are_many_and_varied():
    texts = golden()["texts"]
    assert len(texts) == 2000
    for part in (
        "红",
        "龘",
        "𠮷",
        "豈",
        "ＡＢ",
        "！",
        "\u3000",
        "ｱ",
        "🎨",
        "㍿",
        "\u200d",
        "<mask>",
    ):
        assert any(part in text for text in texts), part
    assert sum(any("\u4e00" <= c <= "\u9fff" for c in text) for text in texts) > 1500
    assert len(golden()["clip_added"]) > 1000
    assert len(golden()["xlm_roberta_added"]) > 200


@pytest.mark.parametrize("name", KINDS)
def test_ids_are_those_of_transformers(tokenizers, name):
    base = golden()[name.removesuffix("_added")]
    changed = golden()[name] if name.endswith("_added") else {}
    for i, text in enumerate(golden()["texts"]):
        expected = changed.get(str(i), base[i])
        assert tokenizers[name].ids(text) == expected, repr(text)


@pytest.mark.parametrize("name", ["bert", "xlm_roberta", "xlm_roberta_added"])
def test_words_joined_are_the_text(tokenizers, name):
    for text in golden()["texts"]:
        assert "".join(word.text for word in tokenizers[name].words(text)) == text, repr(text)


@settings(deadline=None)
@arbitrary(text=st.text(max_size=60))
def test_words_of_any_text_joined_are_the_text(tokenizers, text):
    found = tokenizers["xlm_roberta_added"]
    assert "".join(word.text for word in found.words(text)) == text
    assert all(0 <= number < 2004 for number in found.ids(text))


def test_a_row_is_framed_and_padded(tokenizers):
    found = tokenizers["xlm_roberta"]
    assert found.length == recorded("settings")["model_max_length"]
    assert found.framed([5, 6]) == [0, 5, 6, 2, *[1] * 8]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("红色的 cats, 狗 ", ["红", "色", "的", " cats", ",", " 狗 "]),
        ("best quality，在月光下", ["best", " quality", "，", "在月光下"]),
        ("  红\n<mask>  ", ["  红\n", "<mask>", "  "]),
        ("e\u0301te\u0301", ["e\u0301te\u0301"]),
        ("㍿ ㌔", ["㍿", " ㌔"]),
        ("👍🏽👍", ["👍🏽", "👍"]),
        ("   ", ["   "]),
        ("", []),
    ],
)
def test_words_of_xlm_roberta(tokenizers, text, words):
    """A Latin word is one, in Chinese each piece is; blanks belong to the word behind them."""
    assert [word.text for word in tokenizers["xlm_roberta"].words(text)] == words
