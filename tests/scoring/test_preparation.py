"""Pictures are prepared as transformers' image processors prepare them, to the bit."""

import numpy as np
import pytest

from sdbatch.models.config import UnsupportedConfig
from sdbatch.scoring.preparation import Preparation
from tests.scoring.recorded import KINDS, files, pictures, record

PADDED = {"size": {"shortest_edge": 13}, "crop_size": {"height": 16, "width": 16}}
PLAIN = {"do_resize": False, "do_normalize": False, "rescale_factor": 0.5, "crop_size": [16, 16]}


@pytest.mark.parametrize("name", [*KINDS, "padded", "plain"])
def test_pixels_are_those_of_transformers(name):
    other = {"padded": PADDED, "plain": PLAIN}
    found = Preparation.from_dict(other[name]) if name in other else files(name).preparation
    for i, (picture, expected) in enumerate(
        zip(pictures(), record()[f"{name}/pixels"], strict=True)
    ):
        before = picture.copy()
        prepared = found(picture)
        assert prepared.dtype == np.float32
        assert np.array_equal(prepared, expected), i
        assert np.array_equal(picture, before)


def test_a_view_of_a_larger_picture_is_a_picture():
    preparation = files("clip").preparation
    whole = pictures()[4]
    part = whole[::2, 5:40]
    part.flags.writeable = False
    assert np.array_equal(preparation(part), preparation(part.copy()))


def test_defaults_are_those_of_the_published_clip():
    found = Preparation.from_dict({})
    assert (found.size, found.crop, found.resample) == (224, (224, 224), 3)
    assert found.result == (224, 224)
    assert found.scale == 1 / 255
    assert found.mean == (0.48145466, 0.4578275, 0.40821073)


@pytest.mark.parametrize(
    ("raw", "square", "result"),
    [
        ({"size": 32, "crop_size": 30}, False, (30, 30)),
        ({"size": 32, "do_center_crop": False}, False, None),
        ({"size": {"height": 32, "width": 20}, "do_center_crop": False}, False, (32, 20)),
        ({"size": 32, "do_center_crop": False}, True, (32, 32)),
        ({"do_resize": False, "do_center_crop": False}, False, None),
        ({"crop_size": None, "size": None}, False, (224, 224)),
    ],
)
def test_sizes_may_be_written_in_several_ways(raw, square, result):
    assert Preparation.from_dict(raw, square=square).result == result


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ({"size": {"longest_edge": 224}}, "size={'longest_edge': 224}: expected a height"),
        ({"size": "large"}, "size='large': expected a height and a width"),
        ({"size": [1, 2, 3]}, "expected a height and a width"),
        ({"crop_size": {"height": 224}}, "crop_size={'height': 224}: expected a height"),
        ({"crop_size": 0}, "crop_size=0: expected"),
        ({"crop_size": 1 << 20}, "crop_size=1048576: expected"),
        ({"resample": 17}, "resample=17: expected"),
        ({"resample": "bicubic"}, "resample='bicubic': expected"),
        ({"rescale_factor": "1/255"}, "rescale_factor='1/255': expected a number"),
        ({"image_mean": [0.5]}, r"image_mean=\[0.5\]: expected three numbers"),
        ({"image_std": [0.5, 0.5, 0]}, "image_std=.*: expected no zeros"),
        ({"image_std": ["a", "b", "c"]}, "image_std=.*: expected three numbers"),
    ],
)
def test_what_cannot_be_done_is_refused(raw, says):
    with pytest.raises(UnsupportedConfig, match=says):
        Preparation.from_dict(raw)


def test_chinese_clip_has_no_shorter_side():
    with pytest.raises(UnsupportedConfig, match=r"size=.*: expected a height and a width"):
        Preparation.from_dict({"size": {"shortest_edge": 224}}, square=True)
