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


def padded(folder, text: str, length: int = 77) -> list[int]:
    """The ids of a text, cut and padded, by the tokenizer of a folder."""
    tokenizer = open_tokenizer(TokenizerFiles.in_folder(folder), "CLIPTextModel", length)
    return tokenizer.framed(tokenizer.ids(text)[: tokenizer.room])


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
    assert padded(sd2_folder, text) == [START, *ids, END, *[0] * (75 - len(ids))]


def test_sd1_pads_with_the_end_token(folder):
    assert padded(folder, "a red! star") == [START, 320, 539, 256, 572, *[END] * 72]


@pytest.mark.parametrize(("setting", "rows", "length"), [(77, 10, 10), (12, 77, 12), (1e30, 9, 9)])
def test_length_is_the_tokenizers_own_but_at_most_the_position_table(folder, setting, rows, length):
    change_settings(folder, model_max_length=setting)
    short, long = padded(folder, "red", rows), padded(folder, "red " * 100, rows)
    assert len(short) == len(long) == length
    assert long[-1] == END


def test_a_length_without_room_for_a_text_is_refused(folder):
    with pytest.raises(UserError) as caught:
        padded(folder, "red", 2)
    assert str(caught.value) == (f"{folder}: model_max_length: expected at least 3 tokens, found 2")


def test_a_folder_with_nothing_but_its_vocabulary(folder):
    (folder / "tokenizer_config.json").unlink()
    (folder / "special_tokens_map.json").unlink()
    assert padded(folder, "a red star") == [START, 320, 539, 572, *[END] * 73]


@pytest.mark.parametrize(
    ("name", "kind", "file", "method"),
    [
        ("demo", "CLIPTextModel", "vocab.json", "clip-bpe"),
        ("demo", "CLIPTextModel", "merges.txt", "clip-bpe"),
        ("demo_zh", "BertModel", "vocab.txt", "wordpiece"),
    ],
)
def test_a_missing_vocabulary_is_refused(tmp_path, name, kind, file, method):
    folder = shutil.copytree(ASSETS / name / "tokenizer", tmp_path / "tokenizer")
    (folder / file).unlink()
    with pytest.raises(UserError) as caught:
        open_tokenizer(TokenizerFiles.in_folder(folder), kind, 77)
    assert str(caught.value) == (
        f"{folder / file}: missing; expected the vocabulary of a {method} tokenizer"
    )


def test_malformed_settings_are_refused(folder):
    (folder / "special_tokens_map.json").write_text("{")
    with pytest.raises(UserError, match=r"special_tokens_map.json: not valid JSON"):
        open_tokenizer(TokenizerFiles.in_folder(folder), "CLIPTextModel", 77)


@pytest.mark.parametrize("key", ["bos_token", "pad_token"])
def test_a_special_token_that_is_no_word_is_refused(folder, key):
    (folder / "special_tokens_map.json").write_text(json.dumps({key: "<none>"}))
    with pytest.raises(UserError, match=rf"tokenizer: {key} '<none>': not in the vocabulary"):
        open_tokenizer(TokenizerFiles.in_folder(folder), "CLIPTextModel", 77)


S, E = "<|startoftext|>", "<|endoftext|>"
FOUND, IN_PIECES = True, False


def token(text: str, normalized: bool = True) -> dict:
    return {"__type": "AddedToken", "content": text, "normalized": normalized}


@pytest.mark.parametrize(
    ("settings", "start", "end"),  # what transformers 5.24 does with the same settings
    [
        ({"bos_token": S, "eos_token": E, "unk_token": E, "pad_token": E}, IN_PIECES, IN_PIECES),
        ({"bos_token": token(S), "eos_token": token(E), "unk_token": E}, FOUND, IN_PIECES),
        (
            {"bos_token": S, "eos_token": E, "unk_token": token(E), "pad_token": E},
            IN_PIECES,
            FOUND,
        ),
        (
            {
                "bos_token": token(S, False),
                "eos_token": token(E, False),
                "unk_token": token(E),
                "pad_token": token(E),
            },
            IN_PIECES,
            FOUND,
        ),
        (
            {
                "bos_token": S,
                "eos_token": E,
                "unk_token": E,
                "pad_token": E,
                "added_tokens_decoder": {"592": token(S), "593": token(E)},
            },
            FOUND,
            FOUND,
        ),
    ],
)
def test_special_tokens_in_capitals_are_found_where_the_settings_say_so(
    folder, settings, start, end
):
    (folder / "special_tokens_map.json").unlink()
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer = open_tokenizer(TokenizerFiles.in_folder(folder), "CLIPTextModel", 77)
    assert (tokenizer.ids(S), tokenizer.ids(E)) == ([START], [END])
    assert (tokenizer.ids(S.upper()) == [START]) == start
    assert (tokenizer.ids(E.upper()) == [END]) == end
