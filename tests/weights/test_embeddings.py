"""Textual inversions: files of every form, and new rows for the encoder's table."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from sdbatch.errors import UserError
from sdbatch.weights.embeddings import (
    TABLE,
    Embedding,
    extended,
    extended_config,
    open_embedding,
    refuse_misplaced,
)
from tests.conftest import GOLDEN

LORA = GOLDEN.parent / "lora"
FORMS = (
    "{<token>: vectors} (diffusers), string_to_param or emb_params (web UIs), "
    "clip_l and clip_g (SDXL)"
)
FAMILY = "was it made for another family (SD 1.x, 2.x, XL)?"


@pytest.fixture
def write(tmp_path):
    """`write(tensors, metadata)`: an embedding's file; returns its path."""

    def write(tensors: dict, metadata: dict | None = None, name: str = "my style"):
        path = tmp_path / f"{name}.safetensors"
        save_file(tensors, path, {"format": "pt", **(metadata or {})})
        return path

    return write


def rows(count: int, width: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)


def new(token: str, count: int = 1) -> Embedding:
    """An embedding that no file holds."""
    return Embedding(Path(f"{token}.pt"), token, {"text_encoder": rows(count)})


class TestFiles:
    def test_diffusers_with_a_vector(self, write):
        vector = rows(1)[0]
        found = open_embedding(write({"<cat-toy>": vector}))
        assert found.token == "<cat-toy>"
        assert found.words == ("<cat-toy>",)
        assert list(found.vectors) == ["text_encoder"]
        assert np.array_equal(found.vectors["text_encoder"], vector[None])

    def test_diffusers_with_several(self, write):
        found = open_embedding(write({"<cat-toy>": rows(3)}))
        assert found.words == ("<cat-toy>", "<cat-toy>_1", "<cat-toy>_2")
        assert np.array_equal(found.vectors["text_encoder"], rows(3))

    def test_web_ui(self):
        found = open_embedding(LORA / "twin_a1111.pt")  # a pickle, from torch.save
        expected = open_embedding(LORA / "twin.safetensors")
        assert found.token == expected.token == "<twin>"
        assert np.array_equal(found.vectors["text_encoder"], expected.vectors["text_encoder"])

    def test_web_ui_of_the_first_days(self, write):
        tensors = {"string_to_param.*": rows(2), "string_to_token.*": np.asarray(265)}
        assert open_embedding(write(tensors, {"name": "charturner"})).token == "charturner"

    def test_a_bare_tensor_is_called_as_its_file(self, write):
        assert open_embedding(write({"": rows(2)})).token == "my style"

    @pytest.mark.parametrize("metadata", [{}, {"name": ""}])
    def test_web_ui_without_a_name_is_called_as_its_file(self, write, metadata):
        assert open_embedding(write({"string_to_param.*": rows(2)}, metadata)).token == "my style"

    def test_web_ui_in_safetensors_is_called_as_its_file(self, write):
        assert open_embedding(write({"emb_params": rows(2)}, {"name": "x"})).token == "my style"

    def test_sdxl(self, write):
        found = open_embedding(write({"clip_g": rows(2, 12), "clip_l": rows(2, 8)}))
        assert found.token == "my style"
        assert found.vectors["text_encoder"].shape == (2, 8)
        assert found.vectors["text_encoder_2"].shape == (2, 12)

    def test_a_given_token_wins(self, write):
        for tensors in ({"<cat-toy>": rows(2)}, {"emb_params": rows(2)}, {"clip_l": rows(2)}):
            assert open_embedding(write(tensors), "my-cat").words == ("my-cat", "my-cat_1")

    def test_half_floats_become_float32(self, write):
        found = open_embedding(write({"x": rows(2).astype(np.float16)})).vectors["text_encoder"]
        assert found.dtype == np.float32
        assert np.array_equal(found, rows(2).astype(np.float16))

    @pytest.mark.parametrize(
        ("tensors", "found"),
        [
            ({}, "nothing"),
            ({"a": rows(1), "b": rows(1)}, "a, b"),
            ({"clip_l": rows(1), "t5xxl": rows(1)}, "clip_l, t5xxl"),
            ({"string_to_param.a": rows(1), "string_to_param.b": rows(1)}, None),
            ({"string_to_token.*": np.asarray(265)}, None),
        ],
    )
    def test_other_files_are_refused(self, write, tensors, found):
        path = write(tensors)
        with pytest.raises(UserError) as caught:
            open_embedding(path)
        found = found or ", ".join(tensors)
        assert str(caught.value) == (f"{path}: not an embedding: expected {FORMS}; found {found}")

    @pytest.mark.parametrize(
        ("array", "found"),
        [
            (rows(2)[None], "F32 of shape [1, 2, 8]"),
            (rows(0), "F32 of shape [0, 8]"),
            (np.float32(1), "F32 of shape []"),
            (np.ones((2, 8), np.int64), "I64 of shape [2, 8]"),
        ],
    )
    def test_what_is_no_vectors_is_refused(self, write, array, found):
        path = write({"<x>": np.asarray(array)})
        with pytest.raises(UserError) as caught:
            open_embedding(path)
        assert str(caught.value) == (
            f"{path}: <x>: expected vectors [n, width] of floating point numbers, found {found}"
        )

    @pytest.mark.parametrize("token", ["", " ", " x", "x\n"])
    def test_a_token_that_is_no_word_is_refused(self, write, token):
        path = write({"<x>": rows(1)})
        with pytest.raises(UserError) as caught:
            open_embedding(path, token)
        assert str(caught.value) == (
            f"{path}: token {token!r}: expected a word, without spaces around it"
        )

    def test_unlike_counts_are_refused(self, write):
        path = write({"clip_l": rows(2), "clip_g": rows(3)})
        with pytest.raises(UserError, match="expected as many vectors for each text encoder"):
            open_embedding(path)

    def test_a_missing_file_is_refused(self, tmp_path):
        with pytest.raises(UserError, match="cannot be read"):
            open_embedding(tmp_path / "none.safetensors")

    def test_of_another_family_is_refused(self, write):
        xl = open_embedding(write({"clip_l": rows(1), "clip_g": rows(1)}, name="xl"))
        one = open_embedding(write({"<x>": rows(1)}, name="one"))
        refuse_misplaced([one], ["text_encoder"])
        refuse_misplaced([xl], ["text_encoder", "text_encoder_2"])
        both = "text_encoder and text_encoder_2"
        for embedding, encoders, expected, found in (
            (xl, ["text_encoder"], "text_encoder", both),
            (one, ["text_encoder", "text_encoder_2"], both, "text_encoder"),
        ):
            with pytest.raises(UserError) as caught:
                refuse_misplaced([embedding], encoders)
            assert str(caught.value) == (
                f"{embedding.path}: {embedding.token}: expected vectors for {expected}, "
                f"found {found}; {FAMILY}"
            )


class TestRows:
    def test_are_appended_in_order(self):
        table = rows(5, seed=1)
        found = extended([new("a", 2), new("b")])(TABLE, table)
        assert np.array_equal(found, np.concatenate([table, rows(2), rows(1)]))

    def test_take_the_tables_dtype(self):
        table = rows(5).astype(np.float16)
        found = extended([new("a")])(TABLE, table)
        assert found.dtype == np.float16
        assert np.array_equal(found[-1], rows(1)[0].astype(np.float16))

    def test_may_make_the_table_float32(self):
        table = rows(5).astype(np.float16)
        found = extended([new("a")], dtype="float32")(TABLE, table)
        assert np.array_equal(found, np.concatenate([table.astype(np.float32), rows(1)]))

    def test_of_the_second_encoder(self):
        both = {"text_encoder": rows(1, 8), "text_encoder_2": rows(1, 12)}
        patch = extended([Embedding(Path("x"), "x", both)], "text_encoder_2")
        assert np.array_equal(patch(TABLE, rows(3, 12))[-1:], rows(1, 12))

    def test_other_weights_are_passed_through(self):
        array = rows(5)
        name = "text_model.embeddings.position_embedding.weight"
        assert extended([new("a")])(name, array) is array
        assert extended([])(TABLE, array) is array

    def test_another_width_is_refused(self):
        with pytest.raises(UserError) as caught:
            extended([new("a")])(TABLE, rows(5, 12))
        assert str(caught.value) == (
            f"a.pt: a: expected vectors of width 12 for the text_encoder, found 8; {FAMILY}"
        )

    def test_the_config_has_room_for_them(self):
        config = {"vocab_size": 100, "hidden_size": 8}
        assert extended_config(config, [new("a", 3), new("b")]) == {**config, "vocab_size": 104}
        assert config["vocab_size"] == 100
