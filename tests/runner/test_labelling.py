import pytest

from sdbatch.config.choices import CornerName, LabelName
from sdbatch.config.schema import LabelConfig
from sdbatch.errors import UserError
from sdbatch.labels import Label, Mark
from sdbatch.runner.labelling import open_label, told

ON = LabelName.gb45438


def test_none_is_none_and_said_to_be_so():
    given = LabelConfig()
    assert open_label(given) is None
    assert told(None, given) == "label: none; pictures do not say that AI made them"


def test_what_the_config_says_is_what_is_written():
    given = LabelConfig(ON, "新华社", "人民网", corner=CornerName.top_left, height=0.08)
    label = open_label(given)
    assert label == Label("新华社", "人民网", Mark(corner="top_left", height=0.08))
    assert told(label, given) == ("label: GB 45438-2025, ContentProducer 新华社, the mark AI生成")


def test_who_names_nobody_is_told():
    given = LabelConfig(ON, mark=False)
    assert told(open_label(given), given) == (
        "label: GB 45438-2025, ContentProducer sdbatch (label.producer=NAME names yours), "
        "no visible mark"
    )


def test_text_that_the_font_lacks():
    with pytest.raises(UserError) as refused:
        open_label(LabelConfig(ON, text="AI生成龘"))
    assert str(refused.value) == (
        "label.text: AI生成龘: '龘' is not in the bundled font; label.font=FILE takes another"
    )


@pytest.mark.parametrize("content", [None, b"no font"])
def test_a_font_that_cannot_be_read(tmp_path, content):
    font = tmp_path / "font.ttf"
    if content is not None:
        font.write_bytes(content)
    with pytest.raises(UserError) as refused:
        open_label(LabelConfig(ON, font=str(font)))
    assert str(refused.value).startswith(f"label.font: {font}: expected a font file (")
