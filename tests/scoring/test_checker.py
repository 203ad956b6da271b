"""Pictures are judged as diffusers' safety checker judges them."""

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from sdbatch.scoring import open_judge
from sdbatch.scoring.checker import Verdict, load_checker
from sdbatch.scoring.reading import read_pictures
from tests.scoring.recorded import TOLERANCE, checker, copied, files, pictures, record


def scores() -> np.ndarray:
    """What diffusers rounded: three special concepts, then seventeen."""
    return record()["safety_checker/scores"]


def test_features_are_those_of_transformers():
    found = read_pictures(checker().towers, checker().preparation, pictures(), 5)
    expected = record()["safety_checker/image_features"]
    np.testing.assert_allclose(found, expected, atol=TOLERANCE, rtol=0)


def test_scores_are_those_of_diffusers_to_the_last_digit():
    assert np.array_equal(checker().scores(pictures()), scores()[:, 3:])


def test_verdicts_are_those_of_diffusers():
    found = checker().check(pictures())
    assert [verdict.flagged for verdict in found] == record()["safety_checker/flagged"].tolist()
    for verdict, row in zip(found, scores()[:, 3:], strict=True):
        assert verdict.concepts == tuple(np.flatnonzero(row > 0))
        assert verdict.score == pytest.approx(row.max(), abs=1e-6)
        assert verdict.score == round(verdict.score, 3)
        assert verdict.flagged == (verdict.score > 0)


def test_special_concepts_alone_flag_nothing_but_bring_others_nearer(tmp_path):
    special = (scores()[:, :3] > 0).any(axis=1)
    flagged = record()["safety_checker/flagged"]
    assert (special & ~flagged).any()
    assert (special & flagged).any()
    folder = copied("safety_checker", tmp_path)
    weights = load_file(folder / "model.safetensors")
    weights["special_care_embeds_weights"][:] = 2  # no cosine is as large
    save_file(weights, folder / "model.safetensors")
    careless = load_checker(open_judge(folder, "safety")).scores(pictures())
    difference = checker().scores(pictures()) - careless
    np.testing.assert_allclose(difference[special], 0.01, atol=1.1e-3)
    np.testing.assert_array_equal(difference[~special], 0)
    assert ((careless <= 0) & (checker().scores(pictures()) > 0)).any()


def test_a_picture_is_judged_by_itself():
    together = checker().check(pictures())
    assert [checker().check([picture])[0] for picture in pictures()] == together
    assert load_checker(files("safety_checker"), batch=5).check(pictures()) == together


def test_nothing_gives_nothing():
    assert checker().check([]) == []
    assert checker().scores([]).shape == (0, 17)


def test_verdicts_are_plain_values():
    verdict = checker().check(pictures()[1:2])[0]
    assert verdict == Verdict(True, 0.017, (3,))
    assert [type(v) for v in (verdict.flagged, verdict.score, *verdict.concepts)] == [
        bool,
        float,
        int,
    ]


def test_the_tower_may_be_named_without_its_model(tmp_path):
    folder = copied("safety_checker", tmp_path)
    weights = load_file(folder / "model.safetensors")
    assert any(key.startswith("vision_model.vision_model.") for key in weights)
    short = {
        key.replace("vision_model.vision_model.", "vision_model."): weight
        for key, weight in weights.items()
    }
    save_file(short, folder / "model.safetensors")
    found = load_checker(open_judge(folder, "safety")).check(pictures())
    assert found == checker().check(pictures())


def test_only_a_safety_checker_is_one():
    with pytest.raises(ValueError, match="kind 'clip' is no safety checker"):
        load_checker(files("clip"))
