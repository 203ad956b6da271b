"""New tokens get the ids that transformers and diffusers give them, anywhere in a prompt."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from sdbatch.errors import UserError
from sdbatch.text.tokens import Tokenizer
from sdbatch.weights.checkpoint import TokenizerFiles
from sdbatch.weights.embeddings import Embedding, new_words
from sdbatch.weights.tokenizer import open_tokenizer
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


@pytest.fixture
def tokenizer(tmp_path):
    """`tokenizer(*embeddings, pad_token=...)`: the demo's tokenizer with new tokens."""

    def make(
        *embeddings: Embedding, pad_token: str = "<|endoftext|>", vocab_size: int = VOCABULARY
    ) -> Tokenizer:
        folder = tmp_path / "tokenizer"
        shutil.copytree(ASSETS / "demo" / "tokenizer", folder, dirs_exist_ok=True)
        (folder / "special_tokens_map.json").write_text(json.dumps({"pad_token": pad_token}))
        given = TokenizerFiles.in_folder(folder)
        return open_tokenizer(given, "CLIPTextModel", 77, embeddings, vocab_size)

    return make


@pytest.mark.parametrize(("title", "pad_token"), [("sd1", "<|endoftext|>"), ("sd2", "!")])
def test_ids_are_those_of_transformers_and_diffusers(recorded, tokenizer, title, pad_token):
    tokens = recorded["sets"][title]["tokens"]
    given = tokenizer(*(new(*token) for token in tokens), pad_token=pad_token)
    for prompt, expected in zip(recorded["prompts"], recorded["sets"][title]["ids"], strict=True):
        found = given.framed(given.ids(prompt)[: given.room])
        assert found[: len(expected)] == expected, prompt
        assert len(found) == 77


def test_ids_begin_after_the_vocabulary(tokenizer):
    given = tokenizer(new("<a>", 2), new("<b>"), new("<c>", 3))
    assert given.ids("<c><b><a>") == [597, 598, 599, 596, 594, 595]


def test_prompts_without_new_tokens_keep_theirs(recorded, tokenizer):
    plain, given = tokenizer(), tokenizer(new("xyzzy"), new("plugh", 3))
    for prompt in recorded["prompts"]:
        assert given.ids(prompt) == plain.ids(prompt)


def test_all_vectors_are_used_in_any_case_and_composition(tokenizer):
    # Here alone diffusers differs: with transformers 5 it is given found tokens in lower case,
    # looks for them as they were written, and leaves all vectors but the first out.
    given = tokenizer(new("EasyNegative", 3))
    for text in ("EasyNegative", "easynegative", "EASYNEGATIVE"):
        assert given.ids(text) == [594, 595, 596]
    given = tokenizer(new("<é>", 2))
    assert given.ids("<é>") == given.ids("<e\u0301>") == [594, 595]


def test_the_longest_token_is_found(tokenizer):
    given = tokenizer(new("zed"), new("zedfoo", 2), new("foobar"))
    assert given.ids("zedfoobar zed zedfoo")[:2] == [595, 596]
    assert given.ids("zed zedfoo") == [594, 595, 596]
    assert given.ids("zefoobar")[-1] == 597


def test_a_vectors_own_name_is_that_vector(tokenizer):
    assert tokenizer(new("<a>", 3)).ids("<a>_2 <a>_1") == [596, 595]


def test_a_token_of_several_vectors_is_one_word_that_stays_whole(tokenizer):
    words = tokenizer(new("<a>", 2), new("<b>")).words("red <A> <b>, <a>")
    assert [word.text for word in words if word.ids] == ["red ", "<a>", "<b>", ", ", "<a>"]
    assert [word.whole for word in words if word.ids] == [False, True, False, False, True]


def test_no_embeddings_are_no_words():
    assert new_words([], {}, 0) == {}


def test_a_token_that_the_vocabulary_has_is_refused(tokenizer):
    for token in ("red</w>", "a", "<|endoftext|>"):
        with pytest.raises(UserError) as caught:
            tokenizer(new(token))
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
def test_two_embeddings_of_one_token_are_refused(tokenizer, first, second, word):
    with pytest.raises(UserError) as caught:
        tokenizer(new(*first), new(*second))
    assert str(caught.value) == (
        f"{second[0]}.pt: token {word!r}: {first[0]}.pt has it already; give another token"
    )


def test_a_table_that_is_not_the_vocabulary_is_refused(tokenizer):
    with pytest.raises(UserError) as caught:
        tokenizer(new("<a>"), vocab_size=600)
    assert str(caught.value) == (
        "<a>.pt: cannot be added: the tokenizer has 594 words, the text encoder 600"
    )
