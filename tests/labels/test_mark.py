import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdbatch.labels.mark import CORNERS, Mark, MissingGlyph


def changed(mark: Mark, width: int, height: int, level: int) -> tuple[np.ndarray, np.ndarray]:
    """A flat picture with the mark, and which of its pixels are others now."""
    pixels = np.full((height, width, 3), level, np.uint8)
    marked = mark.drawn(pixels)
    assert (pixels == level).all()  # the original is left alone
    return marked, (marked != pixels).any(axis=2)


def letters(width: int, height: int) -> np.ndarray:
    """Rows and columns that letters cover: white ones on black, so that no outline shows."""
    return np.argwhere(changed(Mark(), width, height, 0)[1])


@pytest.mark.parametrize("size", [(512, 512), (768, 512), (512, 1024), (1024, 1024), (2048, 1536)])
def test_letters_are_a_twentieth_of_the_shorter_side_at_least(size):
    rows = letters(*size)[:, 0]
    height = rows.max() - rows.min() + 1
    assert 0.05 * min(size) <= height <= 0.06 * min(size) + 1


def test_height_is_of_the_users_choosing():
    rows = np.nonzero(changed(Mark(height=0.1), 512, 512, 0)[1])[0]
    assert 51 <= rows.max() - rows.min() + 1 <= 56


def test_small_pictures_get_letters_that_can_be_read():
    rows = letters(96, 64)[:, 0]
    assert 10 <= rows.max() - rows.min() + 1 <= 12


@settings(deadline=None)
@given(st.integers(8, 200), st.integers(8, 200), st.sampled_from(CORNERS))
def test_it_fits_into_any_picture(width, height, corner):
    _, touched = changed(Mark(corner=corner), width, height, 127)
    rows, columns = np.nonzero(touched)
    assert len(rows) > 0
    below, right = rows.mean() > height / 2, columns.mean() > width / 2
    if min(width, height) >= 64:
        assert corner == f"{'bottom' if below else 'top'}_{'right' if right else 'left'}"


@pytest.mark.parametrize("level", [0, 127, 255])
def test_it_stands_out_on_any_ground(level):
    marked, touched = changed(Mark(), 512, 512, level)
    inside = marked[touched]
    assert max(inside.max() - level, level - inside.min()) > 110
    assert int(inside.max()) - int(inside.min()) > 110


def test_opacity_lets_the_picture_through():
    strong, touched = changed(Mark(opacity=1.0), 512, 512, 100)
    weak, _ = changed(Mark(opacity=0.5), 512, 512, 100)
    assert strong[touched].max() == 255
    assert weak[touched].max() == 178  # 100 + 155/2, rounded to even


def test_a_character_that_the_font_lacks():
    Mark(text="本图片由AI生成").check()
    with pytest.raises(MissingGlyph, match="'龘' is not in the bundled font"):
        Mark(text="AI生成龘").check()


def test_a_font_that_is_none(tmp_path):
    (tmp_path / "font.ttf").write_bytes(b"no font")
    with pytest.raises(OSError, match="unknown file format"):
        Mark(font=str(tmp_path / "font.ttf")).check()
