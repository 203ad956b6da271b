"""Judges that a config names: opened, refused, and what the metadata say of their opinions."""

from pathlib import Path

import pytest

from sdbatch.errors import UserError
from sdbatch.runner.judges import Judges, open_judges, start_judging
from sdbatch.runner.judging import Opinion
from sdbatch.runner.model import open_model
from tests.composing import job, refusal
from tests.conftest import ROOT

GOLDEN = ROOT / "tests/golden/scoring"


def judge_folder(kind: str) -> Path:
    return GOLDEN / {"safety": "safety_checker"}.get(kind, kind)


def opened(*overrides: str) -> Judges:
    config = job(*overrides)
    return open_judges(config, open_model(config).checkpoint)


def scorer(kind: str) -> tuple[str, str]:
    return f"score={kind}", f"score.model={judge_folder(kind)}"


def test_there_are_none_unless_they_are_named():
    judges = opened()
    assert judges == Judges()
    assert start_judging(judges) is None
    assert judges.columns(Opinion()) == {}


@pytest.mark.parametrize(("kind", "chinese"), [("clip", False), ("chinese_clip", True)])
def test_a_scorer_says_how_well_a_picture_fits(kind, chinese):
    judges = opened(*scorer(kind), "score.keep_above=0.25")
    assert judges.reads_chinese == chinese
    name = judge_folder(kind).name
    assert judges.columns(Opinion(clip_score=0.25)) == {
        "clip_score": 0.25, "clip_model": name, "clip_keep": True,
    }  # fmt: skip
    assert judges.columns(Opinion(clip_score=0.2))["clip_keep"] is False
    assert "clip_keep" not in opened(*scorer(kind)).columns(Opinion(clip_score=0.2))


def test_scores_are_no_part_of_what_a_dataset_is():
    assert opened(*scorer("clip")).settings == {}


@pytest.mark.parametrize("policy", ["flag", "blur", "drop"])
def test_a_checker_says_what_it_objects_to(policy):
    folder = judge_folder("safety")
    judges = opened("safety=checker", f"safety.model={folder}", f"safety.policy={policy}")
    assert judges.columns(Opinion(flagged=True, safety_score=0.1)) == {
        "safety_flagged": True, "safety_score": 0.1,
    }  # fmt: skip
    assert judges.settings.get("policy") == (None if policy == "flag" else policy)


def test_a_checkpoint_without_a_checker_of_its_own():
    with pytest.raises(UserError, match=r"demo has no safety_checker folder; expected safety\."):
        opened("safety=checker")


@pytest.mark.parametrize("kind", ["clip", "chinese_clip"])
def test_a_folder_that_is_no_scorer(kind, tmp_path):
    with pytest.raises(UserError, match=str(tmp_path)):
        opened(f"score={kind}", f"score.model={tmp_path}")


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["score=clip"], "score.model: required, but not given; add score.model=..."),
        (["score.keep_above=0.2"], "score.keep_above: 0.2: not for score=none"),
        (["safety.policy=drop"], "safety.policy: drop: not for safety=none"),
        (
            ["score=clip", "score.model=x", "score.keep_above=2"],
            "score.keep_above: expected -1 to 1, found 2.0",
        ),
    ],
)
def test_keys_that_do_not_fit(overrides, line):
    assert refusal(*overrides) == line
