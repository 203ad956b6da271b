"""Pictures and texts are scored as transformers scores them, whatever the batch."""

import numpy as np
import paddle
import pytest

from sdbatch.scoring import open_judge
from sdbatch.scoring.scorer import load_scorer
from tests.scoring.recorded import (
    FOLDER,
    SCORERS,
    TOLERANCE,
    copied,
    edit,
    files,
    pictures,
    record,
    scorer,
    texts,
)


@pytest.mark.parametrize("name", SCORERS)
def test_ids_are_those_of_transformers(name):
    """Cut where the network's positions end, with the end token kept."""
    tokenizer = scorer(name).tokenizer
    for text, expected in zip(texts(), record()[f"{name}/ids"], strict=True):
        found = tokenizer.framed(tokenizer.ids(text)[: tokenizer.room])
        assert found[: len(expected)] == expected.tolist(), text
        assert set(found[len(expected) :]) <= {tokenizer.pad}, text


@pytest.mark.parametrize("name", SCORERS)
def test_features_are_those_of_transformers(name):
    found = scorer(name)
    images, words = found.image_features(pictures()), found.text_features(texts())
    np.testing.assert_allclose(images, record()[f"{name}/image_features"], atol=TOLERANCE, rtol=0)
    np.testing.assert_allclose(words, record()[f"{name}/text_features"], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("name", SCORERS)
def test_scores_are_those_of_transformers(name):
    pixels = [picture for picture in pictures() for _ in texts()]
    found = scorer(name).score(pixels, texts() * len(pictures()))
    assert (found.dtype, found.shape) == (np.float32, (240,))
    expected = record()[f"{name}/scores"]
    assert expected.std() > 0.1
    np.testing.assert_allclose(found.reshape(12, 20), expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("name", SCORERS)
def test_the_batch_does_not_change_a_score(name):
    pixels, words = pictures(), texts()[:12]
    together = scorer(name).score(pixels, words)
    alone = [scorer(name).score([p], [t])[0] for p, t in zip(pixels, words, strict=True)]
    np.testing.assert_allclose(alone, together, atol=1e-6)
    threes = load_scorer(files(name), batch=3).score(pixels, words)
    np.testing.assert_allclose(threes, together, atol=1e-6)
    assert np.array_equal(scorer(name).score(pixels, words), together)


@pytest.mark.parametrize("name", SCORERS)
def test_nothing_gives_nothing(name):
    found = scorer(name).score([], [])
    assert (found.dtype, found.shape) == (np.float32, (0,))


def test_pairs_must_be_pairs_of_pictures_and_texts():
    found, picture = scorer("clip"), pictures()[0]
    with pytest.raises(ValueError, match="2 pictures and 1 texts"):
        found.score([picture, picture], ["a"])
    for wrong in (picture / 255, picture[..., :1], picture[..., 0], picture[None]):
        with pytest.raises(ValueError, match=r"expected pixels uint8 \[height, width, 3\], found"):
            found.score([wrong], ["a"])


def test_a_scorer_needs_texts():
    with pytest.raises(ValueError, match="kind 'safety' reads no texts"):
        load_scorer(files("safety_checker"))


def test_the_end_of_a_text_is_the_first_one_unless_the_config_is_old(tmp_path):
    """`<|endoftext|>` in a prompt ends it; with the old mistake it does too, being the largest."""
    folder = copied("clip", tmp_path)
    edit(folder / "config.json", lambda raw: raw["text_config"].update(eos_token_id=2))
    old = load_scorer(open_judge(folder, "clip"))
    np.testing.assert_array_equal(old.text_features(texts()), scorer("clip").text_features(texts()))


@pytest.mark.parametrize("name", [*SCORERS])
def test_no_state_is_left_changed(name):
    def state():
        return paddle.is_grad_enabled(), paddle.get_default_dtype(), paddle.device.get_device()

    paddle.seed(5)
    before, drawn = state(), paddle.rand([3]).numpy()
    paddle.seed(5)
    load_scorer(files(name)).score(pictures()[:2], texts()[:2])
    assert state() == before
    assert np.array_equal(paddle.rand([3]).numpy(), drawn)
    assert paddle.in_dynamic_mode()


def test_weights_of_16_bits_are_read_in_32():
    layer = scorer("chinese_clip").towers
    assert {str(weight.dtype) for weight in layer.parameters()} == {"paddle.float32"}
    assert FOLDER.joinpath("chinese_clip", "model.safetensors").stat().st_size < 50_000
