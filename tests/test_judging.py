"""Judges of pictures in the real command: scores and objections in rows and files."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from sdbatch.scoring.files import open_judge
from sdbatch.scoring.scorer import load_scorer
from tests.conftest import ROOT

GOLDEN = ROOT / "tests/golden/scoring"
CHECKER = ("safety=checker", f"safety.model={GOLDEN / 'safety_checker'}")
QUICK = ("steps=2", "label=none", "text.on_chinese=pass", "precision=fp32", "engine=dygraph")
PROMPTS = ["a red star", "蓝色的心", "(two:1.3) stars", "a small green circle"]


@pytest.fixture
def make(sdbatch, write_table, tmp_path):
    """`make(name, ...)`: exit code and rows of a dataset of the demo model, without labels."""
    table = write_table(prompt=PROMPTS, id=list("abcd"))

    def run(name: str, *overrides: str) -> tuple[int, list[dict]]:
        done = sdbatch(
            f"prompts.path={table}", f"output.dir={name}", *QUICK, *overrides,
        )  # fmt: skip
        assert done.returncode in (0, 3), done.stderr
        return done.returncode, pq.read_table(tmp_path / name / "metadata.parquet").to_pylist()

    return run


def pixels(folder: Path, row: dict) -> np.ndarray:
    return np.asarray(Image.open(folder / row["file_name"]))


@pytest.mark.parametrize("kind", ["clip", "chinese_clip"])
def test_a_score_is_that_of_the_picture_in_the_file_and_the_words_of_the_prompt(
    make, tmp_path, kind
):
    scorer = load_scorer(open_judge(GOLDEN / kind, kind))
    code, rows = make(
        "scored", f"score={kind}", f"score.model={GOLDEN / kind}", "score.keep_above=0.1",
        "text.weighting=true",
    )  # fmt: skip
    words = ["a red star", "蓝色的心", "two stars", "a small green circle"]
    expected = scorer.score([pixels(tmp_path / "scored", row) for row in rows], words)
    assert code == 0
    assert np.allclose([row["clip_score"] for row in rows], expected, atol=1e-5)
    assert {row["clip_model"] for row in rows} == {kind}
    assert [row["clip_keep"] for row in rows] == [row["clip_score"] >= 0.1 for row in rows]


def test_what_the_checker_objects_to_is_flagged_blurred_or_dropped(make, tmp_path):
    code, flagged = make("flagged", *CHECKER)
    found = [row["safety_flagged"] for row in flagged]
    assert code == 0
    assert set(found) == {True, False}  # of these pictures by this checker
    assert found == [row["safety_score"] > 0 for row in flagged]
    _, blurred = make("blurred", *CHECKER, "safety.policy=blur")
    code, dropped = make("dropped", *CHECKER, "safety.policy=drop")
    assert code == 3
    for objected, one, two, three in zip(found, flagged, blurred, dropped, strict=True):
        assert one["safety_action"] == ("flag" if objected else None)
        assert two["safety_action"] == ("blur" if objected else None)
        assert three["status"] == ("unsafe" if objected else "ok")
        assert (three["file_name"] is None) == objected
        same = np.array_equal(pixels(tmp_path / "flagged", one), pixels(tmp_path / "blurred", two))
        assert same != objected


def test_a_dataset_that_drops_goes_on_only_so(sdbatch, make, tmp_path):
    make("data", *CHECKER, "safety.policy=drop")
    code, _ = make("data", *CHECKER, "safety.policy=drop", "retry_failed=true")
    assert code == 3
    assert not list((tmp_path / "data" / "repairs").iterdir())
    refused = sdbatch("prompts.path=table.parquet", "output.dir=data", *QUICK)
    assert refused.returncode == 1
    assert "safety.policy" in refused.stderr
