"""Names of a sweep's datasets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdbatch import sweep

DEFAULT = "outputs/shapes"


def placed(*overrides: str, fixed=(), default=DEFAULT) -> str:
    return sweep.dataset_dir(default, overrides, fixed)


def test_a_folder_is_named_by_what_is_swept_in_alphabetical_order():
    assert placed("seed=1", "scheduler=ddim", "prompts=shapes", fixed=["prompts"]) == (
        "outputs/shapes-sweep/scheduler-ddim,seed-1"
    )


def test_a_folder_that_was_given_holds_those_of_the_jobs():
    given_dir = ["output.dir=/data/x", "seed=1"]
    assert placed(*given_dir, fixed=["output.dir"], default="/data/x") == "/data/x/seed-1"


@pytest.mark.parametrize("fixed", [[], ["output.dir"]])
def test_a_folder_that_differs_by_itself_stays_as_it_is(fixed):
    own = ["output.dir=/data/${seed}", "seed=1"]
    assert placed(*own, fixed=fixed, default="/data/1") == "/data/1"


def test_a_swept_folder_stays_as_it_is():
    assert placed("output.dir=/data/a", "seed=1", default="/data/a") == "/data/a"


def test_where_nothing_is_swept_the_folder_is_that_of_a_single_run():
    assert placed("seed=1", fixed=["seed"]) == DEFAULT


def test_chinese_needs_no_quotes_in_a_name():
    assert placed("negative_prompt='水墨 画'") == ("outputs/shapes-sweep/negative_prompt-水墨%20画")


def test_null_and_a_text_of_that_name_are_two():
    assert placed("height=null") != placed("height='null'")


def test_slashes_stay_inside_one_name():
    assert placed("model.path=/models/sd15") == "outputs/shapes-sweep/model.path-%2Fmodels%2Fsd15"


def test_a_long_name_is_cut_and_stays_its_own():
    first, second = (sweep.folder_name([("negative_prompt", "负" * 300 + end)]) for end in "ab")
    assert first != second
    assert len(first.encode()) <= 150


KEYS = st.from_regex(r"[a-z_]+(\.[a-z_]+|/[a-z_]+)?", fullmatch=True)
PARTS = st.lists(
    st.tuples(KEYS, st.text(max_size=80)), min_size=1, max_size=4, unique_by=lambda part: part[0]
)


@given(PARTS, PARTS)
def test_other_overrides_have_other_names(first, second):
    same = sorted(first) == sorted(second)
    assert (sweep.folder_name(first) == sweep.folder_name(second)) is same


@given(PARTS)
def test_every_name_is_one_folder_that_no_reader_takes_for_a_partition(parts):
    name = sweep.folder_name(parts)
    assert not name.startswith(".")
    assert not set(name) & set("/\0\n '\"$\\*?=")
    assert len(name.encode()) <= 150


def test_begin_tells_hydra_what_is_the_same_in_all_jobs(monkeypatch):
    monkeypatch.delenv("SDBATCH_SWEEP", raising=False)
    given_words = ["-m", "seed=1,2", "prompts=shapes", "+x.y=3", "scheduler=choice(ddim,euler)"]
    (added,) = sweep.begin([*given_words, "hydra/launcher=submitit_local", "steps='4,5'"])
    assert added == "hydra.job.config.override_dirname.exclude_keys=[prompts,steps,x.y]"


@pytest.mark.parametrize(("word", "asked"), [("-m", True), ("--multirun", True), ("seed=1", False)])
def test_a_sweep_is_asked_for_by_a_flag(word, asked):
    assert sweep.is_sweep(["sdbatch", word]) is asked
