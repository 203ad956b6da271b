"""A tokenizer is what its files say; any kind can go with any text encoder."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from sdbatch.errors import UserError
from sdbatch.models.config import ROBERTA_SERIES
from sdbatch.weights.checkpoint import TokenizerFiles
from sdbatch.weights.embeddings import Embedding
from sdbatch.weights.tokenizer import open_tokenizer
from sdbatch.weights.tokenizer_kind import tokenizer_kind
from tests.conftest import ASSETS
from tests.text.xlm import tokenizer_json, write_tokenizer

ENCODERS = ("CLIPTextModel", "BertModel", ROBERTA_SERIES)


@pytest.fixture
def folders(tmp_path) -> dict[str, Path]:
    """A tokenizer of each kind."""
    write_tokenizer(tmp_path / "xlm")
    for name in ("demo", "demo_zh"):
        shutil.copytree(ASSETS / name / "tokenizer", tmp_path / name)
    return {
        "clip-bpe": tmp_path / "demo",
        "wordpiece": tmp_path / "demo_zh",
        "sentencepiece": tmp_path / "xlm",
    }


def kind(folder: Path, encoder: str | None = None) -> str:
    return tokenizer_kind(TokenizerFiles.in_folder(folder), encoder)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_the_class_that_the_settings_name_decides(folders, encoder):
    for name, folder in folders.items():
        assert kind(folder, encoder) == name


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("settings", [None, {}, {"tokenizer_class": "PreTrainedTokenizerFast"}])
def test_without_one_the_vocabulary_does(folders, encoder, settings):
    for name, folder in folders.items():
        path = folder / "tokenizer_config.json"
        path.unlink(missing_ok=True)
        if settings is not None:
            path.write_text(json.dumps(settings))
        assert kind(folder, encoder) == name


@pytest.mark.parametrize(
    ("model", "name"),
    [("BPE", "clip-bpe"), ("WordPiece", "wordpiece"), ("Unigram", "sentencepiece")],
)
def test_alone_tokenizer_json_does(tmp_path, model, name):
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"type": model}}))
    assert kind(tmp_path) == name


def test_where_nothing_says_it_the_text_encoder_does(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    found = {encoder: kind(tmp_path, encoder) for encoder in (*ENCODERS, None)}
    assert found == {
        "CLIPTextModel": "clip-bpe",
        "BertModel": "wordpiece",
        ROBERTA_SERIES: "sentencepiece",
        None: "clip-bpe",
    }


def test_quick_tokenizers_are_of_the_same_kinds(folders):
    for name, folder in folders.items():
        path = folder / "tokenizer_config.json"
        settings = {**json.loads(path.read_text()), "tokenizer_class": f"{_CLASSES[name]}Fast"}
        path.write_text(json.dumps(settings))
        assert kind(folder) == name


_CLASSES = {
    "clip-bpe": "CLIPTokenizer",
    "wordpiece": "BertTokenizer",
    "sentencepiece": "XLMRobertaTokenizer",
}


@pytest.mark.parametrize("encoder", ENCODERS)
def test_any_kind_goes_with_any_encoder(folders, encoder):
    """Ids are the tokenizer's own; whether long texts have several chunks is the encoder's."""
    for name, folder in folders.items():
        given = TokenizerFiles.in_folder(folder)
        found = open_tokenizer(given, encoder, 77)
        own = open_tokenizer(given, dict(zip(folders, ENCODERS, strict=True))[name], 77)
        assert found.ids("红色 red") == own.ids("红色 red") != []
        assert found.chunked == (encoder != "BertModel")


def test_textual_inversions_are_refused_but_for_clips(folders):
    cat = Embedding(Path("cat.pt"), "<cat>", {"text_encoder": np.zeros((1, 8), np.float32)})
    given = TokenizerFiles.in_folder(folders["sentencepiece"])
    with pytest.raises(UserError, match=r"cat\.pt: .+ is a sentencepiece one"):
        open_tokenizer(given, "CLIPTextModel", 77, (cat,), 594)


def test_the_golden_tokenizer_json_is_a_unigram(tmp_path):
    (tmp_path / "tokenizer.json").write_bytes(tokenizer_json())
    assert kind(tmp_path) == "sentencepiece"
