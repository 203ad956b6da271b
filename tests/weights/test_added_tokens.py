"""Words beyond CLIP's vocabulary, as bilingual text encoders have them, are found whole."""

import json
import shutil

import pytest

from sdbatch.errors import UserError
from sdbatch.text.tokens import Tokenizer
from sdbatch.weights.checkpoint import TokenizerFiles
from sdbatch.weights.tokenizer import open_tokenizer
from tests.conftest import ASSETS

WORDS = 594  # of the demo's vocabulary
ADDED = {"红": 594, "红色": 595, "Cat": 596}


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(ASSETS / "demo" / "tokenizer", tmp_path / "tokenizer")


def opened(folder, vocab_size: int = 0) -> Tokenizer:
    return open_tokenizer(TokenizerFiles.in_folder(folder), "CLIPTextModel", 77, (), vocab_size)


def add(folder, words: dict) -> None:
    (folder / "added_tokens.json").write_text(json.dumps(words))


def test_the_longest_is_found_in_any_case(folder):
    plain = opened(folder)
    add(folder, ADDED)
    found = opened(folder)
    assert found.ids("a红色红cat") == [*plain.ids("a"), 595, 594, 596]
    assert found.ids("蓝色") == plain.ids("蓝色")
    assert [word.text for word in found.words("a 红色 b")] == ["a ", "红色", " b"]


def test_those_that_are_in_the_vocabulary_too_are_found_as_well(folder):
    """As Taiyi's bilingual SDXL seems to have them: no merges would make them one."""
    path = folder / "vocab.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **ADDED}))
    assert opened(folder).ids("红色") != [595]
    add(folder, ADDED)
    assert opened(folder).ids("红色") == [595]


def test_a_word_with_another_number_in_the_vocabulary_is_refused(folder):
    path = folder / "vocab.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "红": 594}))
    add(folder, {"红": 600})
    with pytest.raises(UserError) as caught:
        opened(folder)
    assert str(caught.value) == (
        f"{folder / 'added_tokens.json'}: 红 (600): the vocabulary says 594"
    )


def test_a_word_that_the_text_encoder_has_no_row_for_is_refused(folder):
    add(folder, ADDED)
    assert opened(folder, 597).ids("红") == [594]
    with pytest.raises(UserError) as caught:
        opened(folder, 596)
    assert str(caught.value) == (
        f"{folder / 'added_tokens.json'}: Cat (596): the text encoder has only 596 words"
    )


def test_settings_say_whether_the_case_counts(folder):
    path = folder / "tokenizer_config.json"
    listed = {
        "596": {"content": "Cat", "normalized": True},
        "597": {"content": "Dog", "normalized": False},
        "598": {"content": "Fox", "special": True},
    }
    path.write_text(json.dumps({**json.loads(path.read_text()), "added_tokens_decoder": listed}))
    ids = opened(folder).ids
    assert [ids(text) for text in ("Cat", "cat", "Dog", "Fox")] == [[596], [596], [597], [598]]
    assert ids("dog") != [597]
    assert ids("fox") != [598]


@pytest.mark.parametrize("words", [{"红": "x"}, {"红": -1}, {"": 5}, {"红": None}])
def test_malformed_ones_are_refused(folder, words):
    add(folder, words)
    with pytest.raises(UserError, match=r"added_tokens\.json: .*: expected a word and its number"):
        opened(folder)
