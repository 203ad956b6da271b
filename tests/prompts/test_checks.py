"""What a prompt table may hold, what is refused, and how ids become file names."""

import dataclasses
import re
import unicodedata

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sdbatch.errors import UserError
from sdbatch.prompts import PromptDefaults, PromptTable
from sdbatch.prompts.checks import safe_id

DEFAULTS = PromptDefaults(images_per_prompt=1, steps=20, width=96, height=64)
NUMBERS = ("seed", "width", "height", "steps", "images_per_prompt")
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=150)


@pytest.fixture
def check(write_table):
    """`check(prompt=[...], ...)`: what the whole check of such a table tells."""
    return lambda **columns: PromptTable(write_table(**columns)).check(DEFAULTS)


@pytest.fixture
def refusal(check, tmp_path):
    """`refusal(prompt=[...], ...)`: the one line that refuses such a table, without its path."""

    def refuse(**columns) -> str:
        with pytest.raises(UserError) as error:
            check(**columns)
        line = str(error.value)
        assert len(line.splitlines()) == 1
        path = f"{tmp_path / 'table.parquet'}: "
        assert line.startswith(path)
        return line.removeprefix(path)

    return refuse


class TestSchema:
    def test_prompt_is_required(self, refusal):
        assert refusal(text=["a"], topic=["b"]) == "no column 'prompt'; found text, topic"

    def test_prompt_may_be_of_either_string_width(self, check):
        assert check(prompt=pa.array(["a"], pa.large_string())).rows == 1

    def test_prompt_must_be_text(self, refusal):
        assert refusal(prompt=[1, 2]) == "prompt: expected string, found int64"

    @pytest.mark.parametrize(
        "kind", [pa.string(), pa.large_string(), pa.int8(), pa.int64(), pa.uint64()], ids=str
    )
    def test_ids_are_text_or_integers(self, check, kind):
        assert check(prompt=["a", "b"], id=pa.array(["1", "2"]).cast(kind)).rows == 2

    def test_other_ids_are_refused(self, refusal):
        line = refusal(prompt=["a"], id=[1.5])
        assert line == "id: expected text or integers, found double"

    @pytest.mark.parametrize("name", NUMBERS)
    def test_whole_numbers_must_have_an_integer_type(self, refusal, name):
        line = refusal(prompt=["a"], **{name: [8.0]})
        assert line == f"{name}: expected int64, found double"

    @pytest.mark.parametrize("name", NUMBERS)
    @pytest.mark.parametrize("kind", [pa.uint8(), pa.int16(), pa.uint64()], ids=str)
    def test_of_any_width(self, check, name, kind):
        assert check(prompt=["a"], **{name: pa.array([64], kind)}).rows == 1

    def test_guidance_may_be_whole_numbers(self, check):
        assert check(prompt=["a", "b"], guidance_scale=[7, 2**60 + 1]).rows == 2

    def test_guidance_must_be_numbers(self, refusal):
        line = refusal(prompt=["a"], guidance_scale=["high"])
        assert line == "guidance_scale: expected double, found string"

    def test_negative_prompts_must_be_text(self, refusal):
        line = refusal(prompt=["a"], negative_prompt=[1])
        assert line == "negative_prompt: expected string, found int64"

    @pytest.mark.parametrize("name", [*NUMBERS, "guidance_scale", "negative_prompt"])
    def test_an_override_that_is_null_throughout_is_none(self, check, name):
        assert check(prompt=["a"], **{name: pa.array([None])}) is not None

    def test_two_columns_of_one_name_are_refused(self, tmp_path):
        table = pa.table([["a"], ["b"]], names=["prompt", "prompt"])
        path = tmp_path / "table.parquet"
        pq.write_table(table, path)
        with pytest.raises(UserError, match="two columns share a name: prompt, prompt"):
            PromptTable(path)


class TestRows:
    def test_null_prompts_are_refused(self, refusal):
        line = refusal(prompt=["a", None, "b", None])
        assert line == "prompt: rows 1, 3: expected text, found null"

    def test_a_prompt_column_of_nothing_is_refused(self, refusal):
        line = refusal(prompt=pa.array([None, None]))
        assert line == "prompt: rows 0, 1: expected text, found null"

    def test_null_ids_are_refused(self, refusal):
        line = refusal(prompt=["a", "b"], id=["x", None])
        assert line == "id: row 1: expected an id, found null"

    def test_only_the_first_five_rows_are_listed(self, refusal):
        line = refusal(prompt=[None] * 8)
        assert line == "prompt: rows 0, 1, 2, 3, 4 and 3 more: expected text, found null"

    def test_row_numbers_count_from_the_start_of_the_table(self, refusal):
        rows = 70_000  # more than one slice
        seeds = [0] * (rows - 1) + [-1]
        line = refusal(prompt=["a"] * rows, seed=seeds)
        assert line == "seed: row 69999: expected 0 to 2^63-1, found -1"

    @pytest.mark.parametrize(
        ("name", "value", "why"),
        [
            ("seed", -1, "expected 0 to 2^63-1"),
            ("width", 0, "expected 8 to 65536"),
            ("width", 65544, "expected 8 to 65536"),
            ("width", 100, "expected a multiple of 8"),
            ("height", -8, "expected 8 to 65536"),
            ("height", 63, "expected a multiple of 8"),
            ("steps", 0, "expected 1 to 100000"),
            ("images_per_prompt", 0, "expected 1 to 100000"),
            ("images_per_prompt", 100_001, "expected 1 to 100000"),
            ("guidance_scale", -0.5, "expected a number of 0 or more"),
            ("guidance_scale", float("nan"), "expected a number of 0 or more"),
            ("guidance_scale", float("inf"), "expected a number of 0 or more"),
            ("guidance_rescale", -0.1, "expected 0 to 1"),
            ("guidance_rescale", 1.5, "expected 0 to 1"),
            ("guidance_rescale", float("nan"), "expected 0 to 1"),
            ("strength", 0.0, "expected more than 0, up to 1"),
            ("strength", 1.01, "expected more than 0, up to 1"),
            ("strength", float("nan"), "expected more than 0, up to 1"),
            ("original_width", 0, "expected 1 to 1048576"),
            ("target_height", -3, "expected 1 to 1048576"),
            ("crop_top", -1, "expected 0 to 1048576"),
        ],
    )
    def test_overrides_out_of_range_are_refused(self, refusal, name, value, why):
        line = refusal(prompt=["a", "b", "c"], **{name: [None, None, value]})
        assert line == f"{name}: row 2: {why}, found {value}"

    @pytest.mark.parametrize("name", NUMBERS)
    def test_unsigned_numbers_beyond_int64_are_out_of_range(self, refusal, name):
        line = refusal(prompt=["a", "b"], **{name: pa.array([64, 2**63], pa.uint64())})
        assert line.startswith(f"{name}: row 1: expected")
        assert line.endswith("found 9223372036854775808")

    def test_the_largest_seed_is_2_to_the_63_less_1(self, check):
        assert check(prompt=["a"], seed=[2**63 - 1]).images == 1

    def test_the_seed_of_every_sample_must_be_in_range(self, refusal, check):
        assert check(prompt=["a"], seed=[2**63 - 5], images_per_prompt=[5]).images == 5
        line = refusal(prompt=["a"], seed=[2**63 - 4], images_per_prompt=[5])
        assert line == (
            "seed: row 0: expected seed + images_per_prompt - 1 below 2^63, "
            "found 9223372036854775804"
        )

    def test_sizes_must_suit_the_vae(self, write_table):
        table = PromptTable(write_table(prompt=["a"], width=[72], height=[64]))
        with pytest.raises(UserError, match="width: row 0: expected a multiple of 16, found 72"):
            table.check(DEFAULTS, pixels_per_latent=16)


class TestPictures:
    """Columns `init_image` and `mask`: what may stand in them, and which rows need which."""

    @pytest.mark.parametrize(
        "cells",
        [
            pa.array(["a.png", None]),
            pa.array([b"\x89PNG", None]),
            pa.array([{"bytes": b"\x89PNG", "path": "a.png"}, {"bytes": None, "path": None}]),
            pa.array([None, None]),
        ],
        ids=["paths", "bytes", "structs", "nothing"],
    )
    def test_are_paths_bytes_or_both(self, check, cells):
        assert check(prompt=["a", "b"], init_image=cells).rows == 2

    @pytest.mark.parametrize("name", ["init_image", "mask"])
    @pytest.mark.parametrize(
        "cells",
        [pa.array([1]), pa.array([["a.png"]]), pa.array([{"url": "a.png"}])],
        ids=["numbers", "lists", "other structs"],
    )
    def test_are_nothing_else(self, refusal, name, cells):
        line = refusal(prompt=["a"], **{name: cells})
        assert line.startswith(
            f"{name}: expected paths, bytes or a struct of bytes and path, found "
        )

    @pytest.mark.parametrize(
        "cells",
        [["a.png", ""], [{"path": "", "bytes": b"a"}, {"path": "", "bytes": None}]],
        ids=["paths", "structs"],
    )
    def test_a_path_has_characters(self, refusal, cells):
        assert refusal(prompt=["a", "b"], init_image=cells).startswith(
            "init_image: row 1: expected a path, found "
        )

    def test_are_not_carried_into_the_metadata(self, write_table):
        table = PromptTable(write_table(prompt=["a"], init_image=["a.png"], mask=["b.png"]))
        assert table.carried.names == []

    @pytest.mark.parametrize(
        "cells", [["a.png", None], [{"bytes": b"a"}, {"bytes": None}]], ids=["paths", "structs"]
    )
    def test_a_mask_needs_a_picture(self, refusal, cells):
        line = refusal(prompt=["a", "b"], init_image=cells, mask=["m.png", "m.png"])
        assert line.startswith("init_image: row 1: expected the picture of the mask, found ")

    def test_a_strength_that_leaves_no_step_is_refused(self, refusal, check):
        line = refusal(prompt=["a", "b"], init_image=["a.png"] * 2, strength=[0.05, 0.04])
        assert line == "strength: row 1: expected at least one step (steps x strength), found 0.04"
        assert check(prompt=["a"], strength=[0.04]).rows == 1  # without a picture it means nothing

    def test_the_configs_strength_holds_where_the_row_says_nothing(self, write_table):
        table = PromptTable(write_table(prompt=["a"], init_image=["a.png"], steps=[1]))
        with pytest.raises(UserError, match=r"strength: row 0: expected at least .* found 0\.5"):
            table.check(dataclasses.replace(DEFAULTS, strength=0.5))
        with pytest.raises(UserError, match="strength: row 0: expected at least one step"):
            table.check(DEFAULTS)  # the usual 0.8 of one step is none
        masked = write_table("masked", prompt=["a"], init_image=["a"], mask=["m"], steps=[1])
        assert PromptTable(masked).check(DEFAULTS).rows == 1  # and all of it with a mask

    def test_an_inpainting_model_needs_both_in_every_row(self, write_table):
        table = PromptTable(write_table(prompt=["a", "b"], init_image=["a", "b"], mask=["m", None]))
        why = "mask: row 1: expected a mask: the model is for inpainting, found null"
        with pytest.raises(UserError, match=why):
            table.check(DEFAULTS, all_masked=True)
        table = PromptTable(write_table("none", prompt=["a"]))
        with pytest.raises(UserError, match="init_image: row 0: expected a picture: the model is"):
            table.check(DEFAULTS, all_masked=True)


class TestDuplicateIds:
    def test_are_refused_with_both_rows(self, refusal):
        line = refusal(prompt=list("abcd"), id=["x", "y", "z", "y"])
        assert line == "id 'y': duplicate in rows 1 and 3; expected unique ids"

    def test_may_be_integers(self, refusal):
        line = refusal(prompt=list("abc"), id=[7, 8, 7])
        assert line == "id '7': duplicate in rows 0 and 2; expected unique ids"

    def test_may_be_slices_apart(self, refusal):
        ids = [*range(70_000), 3]
        line = refusal(prompt=["a"] * len(ids), id=ids)
        assert line == "id '3': duplicate in rows 3 and 70000; expected unique ids"

    def test_the_earliest_repeat_is_named(self, refusal):
        line = refusal(prompt=list("abcde"), id=["x", "y", "y", "x", "x"])
        assert line == "id 'y': duplicate in rows 1 and 2; expected unique ids"

    def test_ids_that_only_look_alike_as_file_names_are_not(self, check):
        ids = ["a/b", "a\\b", "a b", "a_b", "A_b", ".a", "_a", "x" * 200, "x" * 201, ""]
        assert check(prompt=["p"] * len(ids), id=ids).rows == len(ids)

    def test_an_id_that_is_another_ones_file_name_is(self, refusal):
        line = refusal(prompt=["p", "q"], id=["a/b", safe_id("a/b")])
        assert "duplicate in rows 0 and 1" in line


class TestSafeId:
    @given(texts)
    @example("")
    @example(".")
    @example("..")
    @example("../../etc/passwd")
    @example("C:\\news\x00\n\u2028")
    @example("新" * 60)
    def test_is_a_file_name(self, text):
        name = safe_id(text)
        assert name
        assert not set(name) & set("/\\:\0")
        assert not any(unicodedata.category(mark) in ("Cc", "Cf", "Zl", "Zp") for mark in name)
        assert not name.startswith(".")
        assert len(name.encode()) <= 100

    @given(texts, texts)
    def test_different_ids_have_different_names(self, one, other):
        assert (safe_id(one) == safe_id(other)) == (one == other)

    @given(st.text("ab/\\. :新", max_size=4), st.text("ab/\\. :新", max_size=4))
    def test_also_where_only_unsafe_marks_differ(self, one, other):
        assert (safe_id(one) == safe_id(other)) == (one == other)

    @given(texts)
    def test_a_name_is_its_own_name(self, text):
        assert safe_id(safe_id(text)) == safe_id(text)

    @pytest.mark.parametrize(
        "text", ["news-2026-001", "形状-001", "a.b_c", "0", "Ünïcode", "x" * 100, "新" * 33]
    )
    def test_safe_ids_stay_as_they_are(self, text):
        assert safe_id(text) == text

    @pytest.mark.parametrize(
        ("text", "name"),
        [
            ("a/b", "a_b-c14cddc033f64b9d"),
            (".hidden", "_hidden-1692419006a88aab"),
            ("上海 日落", "上海_日落-563c6e9cd2bcd0ce"),
            ("", "-e3b0c44298fc1c14"),
        ],
    )
    def test_names_never_change(self, text, name):
        assert safe_id(text) == name

    def test_a_long_name_is_cut_between_characters(self):
        assert re.fullmatch("新{27}-[0-9a-f]{16}", safe_id("新" * 60))
