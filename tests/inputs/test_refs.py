"""What a cell says about a picture, and the bytes behind it."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdbatch.inputs import BadImage, ImageLimits, ImageRef, read_bytes

LIMITS = ImageLimits(max_bytes=100)


def refusal(ref, folder, limits=LIMITS):
    with pytest.raises(BadImage) as error:
        read_bytes(ref, folder, limits)
    assert "\n" not in str(error.value)
    return str(error.value)


class TestCell:
    @pytest.mark.parametrize(
        ("cell", "ref"),
        [
            ("cats/1.png", ImageRef("cats/1.png")),
            (b"bytes", ImageRef(None, b"bytes")),
            (b"", ImageRef(None, b"")),
            ({"bytes": b"bytes", "path": "1.png"}, ImageRef("1.png", b"bytes")),
            ({"bytes": b"bytes", "path": None}, ImageRef(None, b"bytes")),
            ({"bytes": None, "path": "1.png"}, ImageRef("1.png")),
            ({"path": "1.png"}, ImageRef("1.png")),
            (None, None),
            ({"bytes": None, "path": None}, None),
        ],
    )
    def test_is_a_path_bytes_or_both(self, cell, ref):
        assert ImageRef.from_cell(cell) == ref

    @pytest.mark.parametrize("cell", ["", {"bytes": None, "path": ""}])
    def test_an_empty_path_is_not_the_absence_of_a_picture(self, cell):
        with pytest.raises(BadImage, match="expected a path, found an empty text"):
            ImageRef.from_cell(cell)

    @pytest.mark.parametrize(
        ("cell", "found"),
        [
            (1, "int"),
            (["a.png"], "list"),
            ({"bytes": "text", "path": None}, "fields bytes: str, path: NoneType"),
            ({"bytes": None, "path": b"1.png"}, "path: bytes"),
            ({"url": "http://a/b.png"}, "fields url: str"),
        ],
    )
    def test_nothing_else(self, cell, found):
        with pytest.raises(BadImage, match=r"expected a path, bytes or \{bytes, path\}") as error:
            ImageRef.from_cell(cell)
        assert found in str(error.value)

    def test_bytes_are_not_shown(self):
        assert "secret" not in repr(ImageRef(None, b"secret"))


class TestReading:
    def test_a_relative_path_begins_at_the_folder(self, tmp_path):
        (tmp_path / "cats").mkdir()
        (tmp_path / "cats" / "1.png").write_bytes(b"cat")
        assert read_bytes(ImageRef("cats/1.png"), tmp_path, LIMITS) == b"cat"

    def test_an_absolute_path_does_not(self, tmp_path):
        file = tmp_path / "1.png"
        file.write_bytes(b"cat")
        assert read_bytes(ImageRef(str(file)), tmp_path / "elsewhere", LIMITS) == b"cat"

    def test_bytes_go_before_the_path(self, tmp_path):
        (tmp_path / "1.png").write_bytes(b"file")
        assert read_bytes(ImageRef("1.png", b"cell"), tmp_path, LIMITS) == b"cell"

    @given(st.integers(0, 200))
    def test_as_much_as_the_limit_allows(self, tmp_path_factory, size):
        folder = tmp_path_factory.getbasetemp()
        (folder / "any").write_bytes(bytes(size))
        for ref, name in [(ImageRef("any"), "any"), (ImageRef(None, bytes(size)), f"of {size}")]:
            if size <= 100:
                assert read_bytes(ref, folder, LIMITS) == bytes(size)
            else:
                assert refusal(ref, folder).endswith(
                    f"{name}: expected at most 100 bytes, found {size}"
                )


class TestRefusals:
    def test_a_file_that_is_not_there(self, tmp_path):
        message = refusal(ImageRef("cats/1.png"), tmp_path)
        assert message == "cats/1.png: expected a readable file, found: No such file or directory"

    def test_a_folder(self, tmp_path):
        (tmp_path / "cats").mkdir()
        assert refusal(ImageRef("cats"), tmp_path) == "cats: expected a file, found a folder"

    def test_a_named_pipe_without_waiting_for_a_writer(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        assert refusal(ImageRef("pipe"), tmp_path) == "pipe: expected a file, found no regular file"

    def test_a_device_without_end(self, tmp_path):
        message = refusal(ImageRef("/dev/zero"), tmp_path)
        assert message == "/dev/zero: expected a file, found no regular file"

    def test_a_large_file_without_reading_it(self, tmp_path):
        with (tmp_path / "large").open("wb") as file:
            file.truncate(1 << 40)  # sparse: a TB that takes no room
        message = refusal(ImageRef("large"), tmp_path, ImageLimits())
        assert message == "large: expected at most 67,108,864 bytes, found 1,099,511,627,776"

    def test_a_file_that_cannot_be_read(self, tmp_path):
        message = refusal(ImageRef("/proc/self/mem"), tmp_path)  # its first page never is
        assert message == "/proc/self/mem: expected a readable file, found: Input/output error"

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_a_file_that_is_somebody_else_s(self, tmp_path):
        (tmp_path / "hidden").write_bytes(b"cat")
        (tmp_path / "hidden").chmod(0)
        assert "Permission denied" in refusal(ImageRef("hidden"), tmp_path)

    def test_a_link_to_itself(self, tmp_path):
        (tmp_path / "loop").symlink_to("loop")
        assert "loop: expected a readable file" in refusal(ImageRef("loop"), tmp_path)

    @given(st.text(min_size=1, max_size=10) | st.text("ab\0\n/.", min_size=1, max_size=400))
    def test_any_other_text(self, tmp_path_factory, path):
        folder = tmp_path_factory.getbasetemp() / "nothing-here"
        assert len(refusal(ImageRef(path), folder)) < 400
