"""Prompts become the states that transformers and diffusers make of them, for every family."""

from dataclasses import replace

import numpy as np
import paddle
import pytest

from sdbatch.models.text import TextEncoder
from sdbatch.text import TextOptions, TextOptionsError
from sdbatch.text.encoder import PromptEncoder
from sdbatch.text.tokens import Word
from tests.conftest import relative_error
from tests.text.tiny import FAMILIES, LENGTH, encoder, prompt_encoder, record, texts

TOLERANCE = 1e-5
SKIPS = [(family, skip) for family in FAMILIES for skip in range(4 - (family == "sdxl"))]
LONG = "a large red star, a small blue circle on a white background, and a green square!"


@pytest.fixture(params=FAMILIES)
def family(request) -> str:
    return request.param


@pytest.fixture
def calls(monkeypatch) -> list[int]:
    """How many rows each call of a network read."""
    found, encode = [], TextEncoder.encode

    def counted(self, ids, *args, **kwargs):
        found.append(len(ids))
        return encode(self, ids, *args, **kwargs)

    monkeypatch.setattr(TextEncoder, "encode", counted)
    return found


def states_of(prompts: PromptEncoder, text: str, chunks: int | None = None) -> np.ndarray:
    """States [tokens, width] of one text, by default with its own chunks."""
    return prompts.encode([text], chunks or prompts.read(text).chunks).states[0].numpy()


@pytest.mark.parametrize(("family", "skip"), SKIPS)
def test_states_equal_transformers_at_every_layer(family, skip):
    prompts = prompt_encoder(family, clip_skip=skip)
    for i, text in enumerate(texts("plain")):
        expected = record()[f"{family}/plain/{i}/{skip}"]
        assert prompts.read(text).chunks * LENGTH == len(expected)
        assert relative_error(states_of(prompts, text), expected) < TOLERANCE, text


@pytest.mark.parametrize("restore_mean", [False, True])
def test_weighted_states_equal_the_web_uis_formula(family, restore_mean):
    prompts = prompt_encoder(family, weighting=True, restore_mean=restore_mean)
    for i, text in enumerate(texts("weighted")):
        expected = record()[f"{family}/weighted/{i}/{int(restore_mean)}"]
        assert relative_error(states_of(prompts, text), expected) < TOLERANCE, text


def test_pooled_text_of_sdxl_is_that_of_the_first_chunk():
    prompts = prompt_encoder("sdxl")
    for i, text in enumerate(texts("plain")):
        found = prompts.encode([text], prompts.read(text).chunks).pooled.numpy()
        assert relative_error(found, record()[f"pooled/{i}"]) < TOLERANCE, text


def test_weights_and_skipped_layers_leave_the_pooled_text_alone():
    plain, other = prompt_encoder("sdxl"), prompt_encoder("sdxl", weighting=True, clip_skip=2)
    pooled = plain.encode(["a red star"], 1).pooled.numpy()
    np.testing.assert_array_equal(other.encode(["a (red:1.5) star"], 1).pooled.numpy(), pooled)


def test_only_sdxl_has_pooled_text(family):
    found = prompt_encoder(family).encode(["a", "red"], 1)
    assert (found.pooled is not None) == (family == "sdxl")
    assert found.states.shape[:2] == [2, LENGTH]


def test_without_weighting_brackets_are_words(family):
    plain, weighting = prompt_encoder(family), prompt_encoder(family, weighting=True)
    assert relative_error(states_of(plain, "a (star)"), states_of(weighting, "a star")) > 0.01
    np.testing.assert_array_equal(
        states_of(plain, "a red star"), states_of(weighting, "a red star")
    )


class TestChunks:
    def test_shorter_texts_are_followed_by_the_empty_text(self, family):
        prompts = prompt_encoder(family)
        found = prompts.encode(["a red star", LONG, ""], 3).states.numpy()
        empty = states_of(prompts, "")
        np.testing.assert_array_equal(found[0, :LENGTH], states_of(prompts, "a red star"))
        np.testing.assert_array_equal(found[1], states_of(prompts, LONG, 3))
        for rest in (found[0, LENGTH:], found[2]):
            np.testing.assert_array_equal(rest.reshape(-1, *empty.shape)[-1], empty)

    def test_a_text_of_more_chunks_is_refused(self):
        with pytest.raises(ValueError, match="expected texts of at most 1 chunks, found 2"):
            prompt_encoder("sd1").encode([LONG], 1)

    def test_one_chunk_is_what_diffusers_reads(self, family):
        prompts = prompt_encoder(family, max_chunks=1)
        first = states_of(prompt_encoder(family), LONG)[:LENGTH]
        assert relative_error(states_of(prompts, LONG), first) < TOLERANCE

    def test_break_begins_a_chunk(self):
        prompts = prompt_encoder("sd1", weighting=True)
        found = states_of(prompts, "a red BREAK star")
        both = np.concatenate([states_of(prompts, "a red"), states_of(prompts, "star")])
        assert relative_error(found, both) < TOLERANCE


class TestRead:
    def test_a_text_that_fits(self):
        found = prompt_encoder("sd1").read("a red star")
        assert (found.chunks, found.tokens, found.truncated) == (1, 3, None)

    def test_a_text_that_is_cut(self):
        found = prompt_encoder("sd1", max_chunks=1).read(LONG)
        assert (found.chunks, found.truncated[-13:]) == (1, "green square!")
        assert found.tokens > LENGTH

    def test_sdxls_longer_reading_counts(self):
        """Where "!" is the padding, "!!" is two tokens: here all words are two for the second."""
        first, tokenizer = encoder("sd1"), encoder("sdxl_2").tokenizer

        def doubled(text: str) -> list[Word]:
            return [Word(word.text, word.ids * 2) for word in tokenizer.words(text)]

        second = replace(encoder("sdxl_2"), tokenizer=replace(tokenizer, words=doubled))
        prompts = PromptEncoder([first, second], TextOptions(max_chunks=2), sdxl=True)
        found = prompts.read("a red star " * 3)
        assert (found.chunks, found.tokens, found.truncated) == (2, 18, None)
        assert prompts.read("a red star " * 4).truncated == "red star"
        states = states_of(prompts, "a red star " * 3)
        width = states_of(prompt_encoder("sd1"), "").shape[1]
        np.testing.assert_array_equal(states[LENGTH:, :width], states_of(prompts, "")[:, :width])

    def test_no_network_runs(self, calls):
        prompt_encoder("sdxl").read(LONG)
        assert calls == []


class TestNegativePrompts:
    def test_are_read_with_all_layers(self, family):
        """diffusers skips layers of the prompt alone."""
        skipping, plain = prompt_encoder(family, clip_skip=1), prompt_encoder(family)
        negative = skipping.encode(["a red star"], 1, negative=True).states.numpy()
        np.testing.assert_array_equal(negative[0], states_of(plain, "a red star"))
        assert relative_error(negative[0], states_of(skipping, "a red star")) > 0.01

    def test_empty_ones_are_zeros_where_the_checkpoint_says_so(self):
        prompts = prompt_encoder("sdxl", zero_empty_negative=True)
        found = prompts.encode(["", "red"], 2, negative=True)
        states, pooled = found.states.numpy(), found.pooled.numpy()
        assert not states[0].any()
        assert not pooled[0].any()
        assert states[1].any(axis=-1).all()
        assert pooled[1].any()

    def test_empty_ones_are_texts_otherwise(self):
        prompts = prompt_encoder("sdxl", zero_empty_negative=True)
        assert prompts.encode([""], 1).states.numpy().any()
        plain = prompt_encoder("sdxl").encode([""], 1, negative=True)
        assert plain.states.numpy().any()
        assert plain.pooled.numpy().any()


class TestCache:
    def test_each_distinct_text_is_encoded_once(self, calls):
        prompts = prompt_encoder("sd1")
        prompts.encode(["red", "star", "red"], 1)
        prompts.encode(["star", "red"], 2)  # and the empty text
        prompts.encode(["red"], 1, negative=True)
        assert calls == [1, 1, 1]

    def test_a_text_does_not_depend_on_its_company(self, family):
        alone = states_of(prompt_encoder(family), "a red star")
        together = prompt_encoder(family).encode([LONG, "a red star", "x"], 3).states.numpy()
        np.testing.assert_array_equal(together[1, :LENGTH], alone)

    def test_without_memory_texts_are_encoded_again(self, calls):
        prompts = prompt_encoder("sd1", cache_mb=0)
        first, second = states_of(prompts, "red"), states_of(prompts, "red")
        np.testing.assert_array_equal(first, second)
        assert calls == [1, 1]


class TestRefusals:
    def test_more_layers_than_there_are(self):
        with pytest.raises(TextOptionsError, match="clip_skip=4: expected at most 3"):
            prompt_encoder("sd1", clip_skip=4)
        with pytest.raises(TextOptionsError, match="clip_skip=3: expected at most 2"):
            prompt_encoder("sdxl", clip_skip=3)

    def test_another_number_of_encoders(self):
        with pytest.raises(TextOptionsError, match="expected 2 text encoders that read as many"):
            PromptEncoder([encoder("sd1")], TextOptions(), sdxl=True)
        with pytest.raises(TextOptionsError, match="expected 1 text encoders"):
            PromptEncoder([encoder("sd1")] * 2, TextOptions(), sdxl=False)


def test_no_gradients_are_kept():
    assert prompt_encoder("sd2").encode(["red"], 1).states.stop_gradient
    assert paddle.is_grad_enabled()
