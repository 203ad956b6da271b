"""CLIP's vocabulary, which single files lack, gives the ids that the models were trained with."""

import json

import pytest

from sdbatch.weights.checkpoint import TokenizerFiles
from sdbatch.weights.tokenizer import open_tokenizer
from tests.conftest import ASSETS, ROOT

VOCABULARY = ASSETS / "clip_tokenizer"
START, END, EXCLAMATION = 49406, 49407, 0
LENGTH = 77


@pytest.fixture(scope="module")
def golden() -> list[dict]:
    """Texts and what transformers makes of them (tools/clip_vocabulary.py)."""
    path = ROOT / "tests" / "golden" / "clip_ids.json"
    return json.loads(path.read_text(encoding="utf-8"))["texts"]


def tokenizer(settings: str):
    """The shared vocabulary with the settings of one published tokenizer."""
    folder = ASSETS / "families" / settings
    files = {path.name: path for path in (*folder.iterdir(), *VOCABULARY.iterdir())}
    return open_tokenizer(TokenizerFiles(folder, files), "CLIPTextModel", LENGTH)


@pytest.mark.parametrize(
    ("settings", "padding"),
    [
        ("sd1/tokenizer", END),
        ("sd2/tokenizer", EXCLAMATION),
        ("sdxl/tokenizer", END),
        ("sdxl/tokenizer_2", EXCLAMATION),
    ],
)
def test_ids_are_those_of_transformers(golden, settings, padding):
    given = tokenizer(settings)
    for row in golden:
        expected = row["ids"]
        if padding == EXCLAMATION:
            expected = row.get("padded_with_exclamation", expected)
        found = given.framed(given.ids(row["text"])[: given.room])
        assert found == expected + [padding] * (LENGTH - len(expected)), row["text"]


def test_golden_texts_are_many_and_some_fill_the_length(golden):
    lengths = [len(row["ids"]) for row in golden]
    assert len(golden) == 300
    assert max(lengths) == LENGTH
    assert min(lengths) == 2


def test_the_well_known_prompt():
    assert tokenizer("sd1/tokenizer").ids("a photo of a cat") == [320, 1125, 539, 320, 2368]


def test_vocabulary_is_complete():
    ids = json.loads((VOCABULARY / "vocab.json").read_text(encoding="utf-8"))
    assert list(ids.values()) == list(range(49408))
    assert (ids["<|startoftext|>"], ids["<|endoftext|>"], ids["!"]) == (START, END, EXCLAMATION)
    title, *merges = (VOCABULARY / "merges.txt").read_text(encoding="utf-8").splitlines()
    assert title == "#version: 0.2"
    assert len(merges) == 49408 - 2 * 256 - 2
    assert all("".join(merge.split()) in ids for merge in merges)
