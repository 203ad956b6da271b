"""Folders that transformers 5 saved have only tokenizer.json: the same vocabulary is in it."""

import json
import shutil

import pytest

from sdbatch.errors import UserError
from sdbatch.weights.checkpoint import TokenizerFiles
from sdbatch.weights.tokenizer import open_tokenizer
from sdbatch.weights.tokenizer_kind import CLIP_BPE
from sdbatch.weights.vocabulary import write_vocabulary
from tests.conftest import ASSETS

CLIP, BERT = "CLIPTextModel", "BertModel"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "tokenizer").mkdir()
    return tmp_path / "tokenizer"


def clip_model(as_text: bool) -> dict:
    """The demo's vocabulary as tokenizer.json has it; merges are lists or, from before, text."""
    merges = (ASSETS / "demo" / "tokenizer" / "merges.txt").read_text().splitlines()[1:]
    return {
        "type": "BPE",
        "vocab": json.loads((ASSETS / "demo" / "tokenizer" / "vocab.json").read_text()),
        "merges": merges if as_text else [line.split() for line in merges],
    }


def save(folder, model: object) -> TokenizerFiles:
    (folder / "tokenizer.json").write_text(json.dumps({"version": "1.0", "model": model}))
    return TokenizerFiles.in_folder(folder)


@pytest.mark.parametrize("as_text", [True, False])
def test_clip_ids_are_the_same(folder, as_text):
    texts = ["a red star on a blue background", "You're 红色的 star!"]
    whole = TokenizerFiles.in_folder(ASSETS / "demo" / "tokenizer")
    expected = open_tokenizer(whole, CLIP, 77)
    found = open_tokenizer(save(folder, clip_model(as_text)), CLIP, 77)
    assert [found.ids(text) for text in texts] == [expected.ids(text) for text in texts]


def test_bert_ids_are_the_same(folder):
    whole = TokenizerFiles.in_folder(ASSETS / "demo_zh" / "tokenizer")
    words = whole.files["vocab.txt"].read_text(encoding="utf-8").splitlines()
    given = save(folder, {"type": "WordPiece", "vocab": {word: i for i, word in enumerate(words)}})
    texts = ["蓝色背景上的红色星形", "一个圆"]
    found, expected = open_tokenizer(given, BERT, 40), open_tokenizer(whole, BERT, 40)
    assert [found.ids(text) for text in texts] == [expected.ids(text) for text in texts]


def test_files_of_their_own_come_first(folder, tmp_path):
    save(folder, clip_model(as_text=False))
    (folder / "vocab.json").write_text("{}")
    (folder / "merges.txt").write_text("#version\n")
    (tmp_path / "out").mkdir()
    written = write_vocabulary(TokenizerFiles.in_folder(folder), CLIP_BPE, tmp_path / "out")
    assert [path.read_text() for path in written] == ["{}", "#version\n"]


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (None, "model.vocab: expected words numbered from 0"),
        ({"vocab": {"a": 0, "b": 2}}, "model.vocab: expected words numbered from 0"),
        ({"vocab": {"a": [0]}}, "model.vocab: expected words numbered from 0"),
        ({"type": "WordLevel", "vocab": {"a": 0}}, "model.type: expected BPE, found WordLevel"),
        ({"vocab": {"a": 0}, "merges": ["a"]}, "model.merges: expected pairs, found a"),
        ({"vocab": {"a": 0}, "merges": None}, "model.merges: expected pairs, found None"),
        ({"vocab": {"a": 0}, "merges": [["a", 1]]}, "model.merges: expected pairs, found ['a', 1]"),
    ],
)
def test_a_malformed_one_is_refused(folder, model, expected):
    with pytest.raises(UserError) as caught:
        open_tokenizer(save(folder, model), CLIP, 77)
    assert str(caught.value) == f"{folder / 'tokenizer.json'}: {expected}"


def test_words_added_in_the_same_file_are_found(folder):
    """As transformers 5 saves them; the special tokens are in the vocabulary and listed too."""
    model = clip_model(as_text=False)
    known = [{"id": i, "content": word} for word, i in model["vocab"].items() if i > 591]
    given = save(folder, model)
    path = folder / "tokenizer.json"
    path.write_text(json.dumps({"model": model, "added_tokens": known}))
    assert open_tokenizer(given, CLIP, 77).ids("a") == [320]
    path.write_text(
        json.dumps({"model": model, "added_tokens": [*known, {"id": 594, "content": "<cat>"}]})
    )
    assert open_tokenizer(given, CLIP, 77).ids("a <cat>a") == [320, 594, 320]


def test_words_outside_the_vocabulary_of_bert_are_refused(tmp_path):
    folder = shutil.copytree(ASSETS / "demo_zh" / "tokenizer", tmp_path / "copy")
    listed = {"added_tokens_decoder": {"594": {"content": "<cat>", "special": False}}}
    (folder / "tokenizer_config.json").write_text(json.dumps(listed))
    with pytest.raises(UserError, match=r"tokenizer_config.json: <cat> \(594\): words outside"):
        open_tokenizer(TokenizerFiles.in_folder(folder), BERT, 77)


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("vocab.json", "{", "expected words with their numbers"),
        ("vocab.json", "[]", "expected words with their numbers"),
        ("vocab.json", '{"a": "b"}', "expected words with their numbers"),
        ("merges.txt", "#version: 0.2\na b\na b c\n", "expected pairs, found a b c"),
    ],
)
def test_malformed_files_are_refused(tmp_path, file, text, expected):
    folder = shutil.copytree(ASSETS / "demo" / "tokenizer", tmp_path / "copy")
    (folder / file).write_text(text)
    with pytest.raises(UserError) as caught:
        open_tokenizer(TokenizerFiles.in_folder(folder), CLIP, 77)
    assert str(caught.value) == f"{folder / file}: {expected}"
