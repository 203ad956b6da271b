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


# As typed in quotes, and as Hydra's sweeper writes what was typed without.
@pytest.mark.parametrize("own", ["output.dir='/data/s-${seed}'", r"output.dir=/data/s-$\{seed\}"])
def test_a_key_in_the_given_folder_is_not_told_again(own):
    def inside(*more: str) -> str:
        return placed(own, "seed=1", *more, fixed=["output.dir"], default="/data/s-1")

    assert inside() == "/data/s-1"
    assert inside("scheduler=ddim") == "/data/s-1/scheduler-ddim"


@pytest.mark.parametrize("own", ["${seed}${steps}", "${stem:${seed}}", "${oc.env:seed}"])
def test_a_folder_that_other_values_could_make_as_well_does_not_tell_a_key(own):
    jobs = (f"output.dir='/data/{own}'", "seed=1", "steps=12")
    assert placed(*jobs, fixed=["output.dir"], default="/data/x") == "/data/x/seed-1,steps-12"


def test_a_swept_folder_holds_those_of_what_else_is_swept():
    assert placed("output.dir=/data/a", default="/data/a") == "/data/a"
    assert placed("output.dir=/data/a", "seed=1", default="/data/a") == "/data/a/seed-1"


def test_where_nothing_is_swept_the_folder_is_that_of_a_single_run():
    assert placed("seed=1", fixed=["seed"]) == DEFAULT


def test_chinese_needs_no_quotes_in_a_name():
    assert placed("negative_prompt='水墨 画'") == ("outputs/shapes-sweep/negative_prompt-水墨%20画")


def test_a_text_has_one_name_however_it_is_typed():
    assert placed("negative_prompt='a b'") == placed(r"negative_prompt=a\ b")


@pytest.mark.parametrize("text", ["null", "1", "true", "[a]", "choice(a)"])
def test_a_text_that_looks_like_something_else_has_another_name(text):
    assert placed(f"negative_prompt={text}") != placed(f"negative_prompt='{text}'")


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


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    """`begin` leaves in it what jobs in other processes need; it is afterwards as it was."""
    for name in ("SDBATCH_SWEEP", "SUBMITIT_LOG_LEVEL", "SUBMITIT_PREEMPT_SIGNAL"):
        monkeypatch.setenv(name, "")


def test_begin_tells_hydra_what_is_the_same_in_all_jobs():
    given_words = ["-m", "seed=1,2", "prompts=shapes", "+x.y=3", "scheduler=choice(ddim,euler)"]
    (added,) = sweep.begin([*given_words, "hydra/launcher=submitit_local", "steps='4,5'"])
    assert added == "hydra.job.config.override_dirname.exclude_keys=[prompts,steps,x.y]"


def test_of_a_key_that_is_there_twice_the_last_one_counts():
    (added,) = sweep.begin(["seed=1", "seed=1,2", "steps=4,5", "steps=4"])
    assert added == "hydra.job.config.override_dirname.exclude_keys=[steps]"


@pytest.mark.parametrize(
    ("word", "readable"),
    [
        ("negative_prompt=水墨,画", "negative_prompt='水墨','画'"),
        ("prompts=新闻,shapes", "prompts='新闻',shapes"),
        ("negative_prompt='水墨,画'", "negative_prompt='水墨,画'"),
        ("seed=1,2", "seed=1,2"),
    ],
)
def test_commas_part_values_in_every_script(word, readable):
    assert sweep.readable(word) == readable


@pytest.mark.parametrize(
    ("word", "asked"),
    [("-m", True), ("--multirun", True), ("--multi", True), ("hydra.mode=MULTIRUN", True),
     ("--", False), ("seed=1", False)],
)  # fmt: skip
def test_a_sweep_is_asked_for_by_a_flag(word, asked):
    assert sweep.is_sweep(["sdbatch", word]) is asked
