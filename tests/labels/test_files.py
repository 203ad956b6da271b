import io

import numpy as np
import pytest
from PIL import Image

from sdbatch.dataset.images import ImageFormat, encode
from sdbatch.labels.aigc import BadLabel
from sdbatch.labels.files import picture_data, with_xmp, xmp

FORMS = [
    ImageFormat("png"),
    ImageFormat("jpeg", quality=90),
    ImageFormat("webp", quality=90),
    ImageFormat("webp", lossless=True),
]
forms = pytest.mark.parametrize("form", FORMS, ids=lambda form: form.label)


def picture(seed: int = 0, width: int = 31, height: int = 17) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)


def decoded(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


@forms
@pytest.mark.parametrize("length", [1, 2, 1001])
def test_a_packet_is_put_in_and_found_and_the_picture_stays(form, length):
    data = encode(picture(), "a prompt\nSteps: 1", form)
    packet = b"<" + b"x" * length
    labelled = with_xmp(data, packet)
    assert xmp(labelled) == packet
    assert np.array_equal(decoded(labelled), decoded(data))
    assert b"".join(picture_data(labelled)) == b"".join(picture_data(data))


@forms
def test_pillow_finds_it_and_the_settings_beside_it(form):
    plain = encode(picture(), "a prompt\nSteps: 1", form)
    labelled = Image.open(io.BytesIO(with_xmp(plain, b"<x/>")))
    assert labelled.info["xmp"] == b"<x/>"
    kept = Image.open(io.BytesIO(plain)).info
    assert {name: labelled.info[name] for name in kept} == kept


@forms
def test_picture_data_change_with_the_picture_alone(form):
    def data(seed: int, text: str) -> bytes:
        return b"".join(picture_data(encode(picture(seed), text, form)))

    assert data(0, "one") == data(0, "another, longer one")
    assert data(0, "one") != data(1, "one")


@forms
def test_there_may_be_none(form):
    with pytest.raises(BadLabel, match="no XMP in the file"):
        xmp(encode(picture(), "", form))


def test_a_progressive_jpeg_of_another_tool():
    buffer = io.BytesIO()
    Image.fromarray(picture()).save(buffer, "JPEG", progressive=True, comment=b"hello")
    labelled = with_xmp(buffer.getvalue(), b"<x/>")
    assert xmp(labelled) == b"<x/>"
    assert np.array_equal(decoded(labelled), decoded(buffer.getvalue()))


def test_a_jpeg_segment_holds_64_kib():
    data = encode(picture(), "", ImageFormat("jpeg"))
    assert xmp(with_xmp(data, b"x" * 65504)) == b"x" * 65504
    with pytest.raises(BadLabel, match="XMP of 65505 bytes does not fit"):
        with_xmp(data, b"x" * 65505)


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"RIFF\0\0\0\0WAVE"])
def test_other_files_are_refused(data):
    for use in (xmp, lambda data: list(picture_data(data)), lambda data: with_xmp(data, b"x")):
        with pytest.raises(BadLabel, match="expected a PNG, JPEG or"):
            use(data)
