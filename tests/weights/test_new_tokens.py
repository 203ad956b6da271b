"""New tokens get the ids that transformers and diffusers give them, anywhere in a prompt."""

import json
import unicodedata
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from paddlenlp.transformers import CLIPTokenizer

from sdbatch.errors import UserError
from sdbatch.weights.embeddings import Embedding, extend_tokenizer, with_new_words
from tests.conftest import ASSETS, GOLDEN

LORA = GOLDEN.parent / "lora"
VOCABULARY = 594


@pytest.fixture(scope="module")
def recorded() -> dict:
    """Ids that transformers and diffusers gave (tools/golden_lora.py)."""
    return json.loads((LORA / "golden.json").read_text(encoding="utf-8"))["new_tokens"]


def new(token: str, count: int = 1) -> Embedding:
    """An embedding that no file holds."""
    return Embedding(Path(f"{token}.pt"), token, {"text_encoder": np.zeros((count, 8), np.float32)})


def clip_tokenizer(pad_token: str = "<|endoftext|>") -> CLIPTokenizer:
    """The demo's tokenizer, as `weights.tokenizer` sets it up."""
    folder = ASSETS / "demo" / "tokenizer"
    tokenizer = CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), pad_token=pad_token
    )
    tokenizer.add_special_tokens({"pad_token": pad_token})
    tokenizer.fix_text = partial(unicodedata.normalize, "NFC")
    return tokenizer


def ids_of(tokenizer: CLIPTokenizer, text: str) -> list[int]:
    """The ids of a text, without start, end and padding."""
    return tokenizer.convert_tokens_to_ids(tokenizer.tokenize(text))


@pytest.mark.parametrize(("title", "pad_token"), [("sd1", "<|endoftext|>"), ("sd2", "!")])
def test_ids_are_those_of_transformers_and_diffusers(recorded, title, pad_token):
    tokenizer = clip_tokenizer(pad_token)
    tokens = recorded["sets"][title]["tokens"]
    extend_tokenizer(tokenizer, [new(*token) for token in tokens], VOCABULARY)
    for prompt, expected in zip(recorded["prompts"], recorded["sets"][title]["ids"], strict=True):
        encoded = tokenizer([prompt], padding="max_length", truncation=True, max_length=77)
        (found,) = encoded["input_ids"]
        assert found[: len(expected)] == expected, prompt
        assert len(found) == 77


def test_ids_begin_after_the_vocabulary():
    tokenizer = clip_tokenizer()
    extend_tokenizer(tokenizer, [new("<a>", 2), new("<b>"), new("<c>", 3)], VOCABULARY)
    assert ids_of(tokenizer, "<c><b><a>") == [597, 598, 599, 596, 594, 595]
    assert len(tokenizer) == VOCABULARY + 6


def test_prompts_without_new_tokens_keep_theirs(recorded):
    plain, tokenizer = clip_tokenizer(), clip_tokenizer()
    extend_tokenizer(tokenizer, [new("xyzzy"), new("plugh", 3)], VOCABULARY)
    for prompt in recorded["prompts"]:
        assert ids_of(tokenizer, prompt) == ids_of(plain, prompt)


def test_all_vectors_are_used_in_any_case_and_composition():
    # Here alone diffusers differs: with transformers 5 it is given found tokens in lower case,
    # looks for them as they were written, and leaves all vectors but the first out.
    tokenizer = clip_tokenizer()
    extend_tokenizer(tokenizer, [new("EasyNegative", 3)], VOCABULARY)
    for text in ("EasyNegative", "easynegative", "EASYNEGATIVE"):
        assert ids_of(tokenizer, text) == [594, 595, 596]
    tokenizer = clip_tokenizer()
    extend_tokenizer(tokenizer, [new("<é>", 2)], VOCABULARY)
    assert ids_of(tokenizer, "<é>") == ids_of(tokenizer, "<e\u0301>") == [594, 595]


def test_the_longest_token_is_found():
    tokenizer = clip_tokenizer()
    extend_tokenizer(tokenizer, [new("zed"), new("zedfoo", 2), new("foobar")], VOCABULARY)
    assert ids_of(tokenizer, "zedfoobar zed zedfoo")[:2] == [595, 596]
    assert ids_of(tokenizer, "zed zedfoo") == [594, 595, 596]
    assert ids_of(tokenizer, "zefoobar")[-1] == 597


def test_a_vectors_own_name_is_that_vector():
    tokenizer = clip_tokenizer()
    extend_tokenizer(tokenizer, [new("<a>", 3)], VOCABULARY)
    assert ids_of(tokenizer, "<a>_2 <a>_1") == [596, 595]


def test_no_embeddings_change_nothing():
    tokenizer = clip_tokenizer()
    before = tokenizer.tokenize
    extend_tokenizer(tokenizer, [], 0)
    assert tokenizer.tokenize == before


def test_what_lies_between_is_given_on():
    tokenize = with_new_words(lambda text: [f"[{text}]"], [new("<a>", 2)], ["<end>"])
    assert tokenize("One <A> <end>two<a>") == [
        *("[one ]", "<a>", "<a>_1", "[ ]", "<end>", "[two]", "<a>", "<a>_1", "[]")
    ]
    assert tokenize("One  <end>") == ["[One  <end>]"]


def test_a_token_that_the_vocabulary_has_is_refused():
    for token in ("red</w>", "a", "<|endoftext|>"):
        with pytest.raises(UserError) as caught:
            extend_tokenizer(clip_tokenizer(), [new(token)], VOCABULARY)
        assert str(caught.value) == (
            f"{token}.pt: token {token!r}: the model's vocabulary has it already; "
            "give another token"
        )


@pytest.mark.parametrize(
    ("first", "second", "word"),
    [
        (("<a>", 1), ("<a>", 2), "<a>"),
        (("<a>", 1), ("<A>", 1), "<A>"),
        (("<a>", 3), ("<a>_2", 1), "<a>_2"),
        (("<a>_1", 1), ("<a>", 2), "<a>_1"),
    ],
)
def test_two_embeddings_of_one_token_are_refused(first, second, word):
    with pytest.raises(UserError) as caught:
        extend_tokenizer(clip_tokenizer(), [new(*first), new(*second)], VOCABULARY)
    assert str(caught.value) == (
        f"{second[0]}.pt: token {word!r}: {first[0]}.pt has it already; give another token"
    )


def test_a_table_that_is_not_the_vocabulary_is_refused():
    with pytest.raises(UserError) as caught:
        extend_tokenizer(clip_tokenizer(), [new("<a>")], 600)
    assert str(caught.value) == (
        "<a>.pt: cannot be added: the tokenizer has 594 words, the text encoder 600"
    )
