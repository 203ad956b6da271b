import numpy as np
import pytest

from sdbatch.dataset.images import encode
from sdbatch.labels import BadLabel, Label, Mark, found_in
from sdbatch.labels.aigc import packet
from sdbatch.labels.files import with_xmp, xmp
from sdbatch.labels.mark import bundled_font
from tests.labels.test_files import forms, picture


@forms
def test_a_labelled_file_says_so(form):
    label = Label("新华社", "人民网")
    data = label.attached(encode(picture(), "星", form), "a-number")
    found = found_in(data)
    assert (found.Label, found.ContentProducer, found.ProduceID) == ("1", "新华社", "a-number")
    assert (found.ContentPropagator, found.PropagateID) == ("人民网", "a-number")
    assert len(found.ReservedCode1) == 64


def test_who_publishes_it_may_be_unknown():
    found = found_in(Label("x").attached(encode(picture(), "", forms.args[1][0]), "n"))
    assert (found.ContentPropagator, found.PropagateID, found.ReservedCode2) == ("", "", "")


@forms
def test_a_label_taken_from_another_picture_is_found_out(form):
    label = Label("x")
    one = label.attached(encode(picture(1), "", form), "n")
    forged = with_xmp(encode(picture(2), "", form), xmp(one))
    with pytest.raises(BadLabel, match=r"AIGC\.ReservedCode1: expected \w{12}… .*, found \w{12}"):
        found_in(forged)


@forms
def test_another_name_in_the_label_is_found_out(form):
    plain = encode(picture(), "", form)
    found = found_in(Label("x").attached(plain, "n"))
    forged = packet(type(found)(**{**vars(found), "ContentProducer": "y"}))
    with pytest.raises(BadLabel, match="ReservedCode1"):
        found_in(with_xmp(plain, forged))


@forms
def test_settings_in_the_file_may_change(form):
    """Only the label and the picture are covered: a caption may be added later."""
    one = Label("x").attached(encode(picture(), "one", form), "n")
    assert found_in(with_xmp(encode(picture(), "another", form), xmp(one))).ProduceID == "n"


def test_a_mark_is_drawn_only_if_wanted():
    pixels = picture(width=128, height=64)
    assert Label("x").drawn(pixels) is pixels
    assert not np.array_equal(Label("x", mark=Mark()).drawn(pixels), pixels)


def test_settings_name_the_font_by_what_is_in_it(tmp_path):
    copy = tmp_path / "font.otf"
    copy.write_bytes(bundled_font().read_bytes())
    bundled = Label("x", mark=Mark()).settings
    assert Label("x", mark=Mark(font=str(copy))).settings == bundled
    assert Label("x").settings["mark"] is None
