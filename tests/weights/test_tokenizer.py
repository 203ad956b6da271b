"""Tokenizers follow the files of their folder, as transformers does."""

import json
import shutil

import pytest

from sdbatch.errors import UserError
from sdbatch.weights.checkpoint import TokenizerFiles
from sdbatch.weights.tokenizer import open_tokenizer
from tests.conftest import ASSETS

START, END = 592, 593


@pytest.fixture
def folder(tmp_path):
    """A copy of the demo's CLIP tokenizer, to be changed."""
    return shutil.copytree(ASSETS / "demo" / "tokenizer", tmp_path / "tokenizer")


@pytest.fixture
def sd2_folder(folder):
    """As SD 2.x ships it: only special_tokens_map.json says that "!" is the padding."""
    special = {"content": "<|endoftext|>", "lstrip": False, "normalized": True, "rstrip": False}
    tokens = {
        "bos_token": {**special, "content": "<|startoftext|>"},
        "eos_token": special,
        "unk_token": special,
        "pad_token": "!",
    }
    (folder / "special_tokens_map.json").write_text(json.dumps(tokens))
    return folder


def change_settings(folder, **changes) -> None:
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("text", "ids"),  # from transformers 5.23 on the same files
    [
        ("", []),
        ("!", [0]),
        ("a red! star!!", [320, 539, 0, 572, 0, 0]),
        ("a?! b!?", [320, 286, 0, 321, 0, 286]),
        ("a red!<|endoftext|> star", [320, 539, 0, 593, 572]),
        ("you're!'s", [88, 78, 340, 6, 81, 324, 0, 6, 338]),
    ],
)
def test_sd2_pads_with_exclamation_marks_and_a_prompts_own_are_the_same(sd2_folder, text, ids):
    (found,) = open_tokenizer(TokenizerFiles.in_folder(sd2_folder), "CLIPTextModel", 77)([text])
    assert found == [START, *ids, END, *[0] * (75 - len(ids))]


def test_sd1_pads_with_the_end_token(folder):
    (found,) = open_tokenizer(TokenizerFiles.in_folder(folder), "CLIPTextModel", 77)(
        ["a red! star"]
    )
    assert found == [START, 320, 539, 256, 572, *[END] * 72]


@pytest.mark.parametrize(("setting", "rows", "length"), [(77, 10, 10), (12, 77, 12), (1e30, 9, 9)])
def test_length_is_the_tokenizers_own_but_at_most_the_position_table(folder, setting, rows, length):
    change_settings(folder, model_max_length=setting)
    short, long = open_tokenizer(TokenizerFiles.in_folder(folder), "CLIPTextModel", rows)(
        ["red", "red " * 100]
    )
    assert len(short) == len(long) == length
    assert long[-1] == END


def test_a_folder_with_nothing_but_its_vocabulary(folder):
    (folder / "tokenizer_config.json").unlink()
    (folder / "special_tokens_map.json").unlink()
    (found,) = open_tokenizer(TokenizerFiles.in_folder(folder), "CLIPTextModel", 77)(["a red star"])
    assert found == [START, 320, 539, 572, *[END] * 73]


@pytest.mark.parametrize(
    ("name", "kind", "file"),
    [
        ("demo", "CLIPTextModel", "vocab.json"),
        ("demo", "CLIPTextModel", "merges.txt"),
        ("demo_zh", "BertModel", "vocab.txt"),
    ],
)
def test_a_missing_vocabulary_is_refused(tmp_path, name, kind, file):
    folder = shutil.copytree(ASSETS / name / "tokenizer", tmp_path / "tokenizer")
    (folder / file).unlink()
    with pytest.raises(UserError) as caught:
        open_tokenizer(TokenizerFiles.in_folder(folder), kind, 77)
    assert str(caught.value) == f"{folder / file}: missing; expected the vocabulary of a {kind}"


def test_malformed_settings_are_refused(folder):
    (folder / "special_tokens_map.json").write_text("{")
    with pytest.raises(UserError, match=r"special_tokens_map.json: not valid JSON"):
        open_tokenizer(TokenizerFiles.in_folder(folder), "CLIPTextModel", 77)
