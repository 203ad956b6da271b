"""Zip archives are taken at their word only where directory, headers and bytes agree."""

import io
import zipfile
from functools import partial

import pytest

from sdbatch.weights.files.file_window import FileWindow
from sdbatch.weights.files.torch_file import open_torch
from sdbatch.weights.files.zip_members import zip_members
from tests.weights.files import torch_files
from tests.weights.files.refusing import refusal_by
from tests.weights.files.torch_files import Global, Storage, archive, sparse_zip, view

MEMBERS = {"a/one": b"1" * 100, "a/two": b"", "a/three": b"3" * 5000, "four": b"4"}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file.zip"


def contents(path, content: bytes) -> dict[str, bytes | None]:
    """What the members hold, by their names; None for what is compressed."""
    path.write_bytes(content)
    with FileWindow(path) as window:
        places = zip_members(window)
        return {n: p and window.read(p[0], p[1] - p[0]) for n, p in places.items()}


refusal = partial(refusal_by, contents)


class TestReads:
    def test_archives_of_pytorch(self, path):
        assert contents(path, archive(MEMBERS)) == MEMBERS

    @pytest.mark.parametrize("level", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    def test_archives_of_python(self, path, level):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", level) as target:
            for name, content in MEMBERS.items():
                target.writestr(name, content)
        stored = level == zipfile.ZIP_STORED
        assert contents(path, file.getvalue()) == {
            n: c if stored else None for n, c in MEMBERS.items()
        }

    def test_archives_of_nothing(self, path):
        assert contents(path, archive({})) == {}

    @pytest.mark.parametrize("size", [5, 0xFFFF])
    def test_a_comment_at_the_end(self, path, size):
        content = archive(MEMBERS)[:-2] + size.to_bytes(2, "little") + b"c" * size
        assert contents(path, content) == MEMBERS

    def test_members_beyond_4_gib(self, path):
        elements = 5 << 30
        whole = Storage("0", Global("torch", "HalfStorage"), elements, b"")
        members = torch_files.zip_members({"big": view(whole, elements - 2, (2,), (1,))})
        contents = {f"a/{name}": content for name, content in members.items()}
        sparse_zip(path, {**contents, "a/data/0": 2 * elements, "a/last": b"after"})
        assert path.stat().st_size > 10 << 30
        assert open_torch(path).read("big").tolist() == [0, 0]


class TestRefuses:
    @pytest.mark.parametrize(
        ("central", "local", "expected"),
        [
            ({"flags": 1}, {"flags": 1}, "a/one: encrypted; expected a plain zip archive"),
            ({}, {"flags": 1}, "a/one: the zip archive's directory contradicts the member's"),
            ({}, {"method": 8}, "a/one: the zip archive's directory contradicts the member's"),
            ({"method": 8}, {}, "a/one: the zip archive's directory contradicts the member's"),
            ({}, {"size": 7, "packed": 7}, "a/one: the zip archive's directory contradicts"),
            ({"offset": 256}, {}, "a/one: the zip archive's directory contradicts"),
            ({"offset": 1 << 31}, {}, "truncated: a/one should begin at byte 2147483648"),
            ({"size": 1 << 31, "packed": 1 << 31}, {}, "truncated: a/one should end at byte"),
            ({"size": 4000}, {}, "a zip archive with a malformed directory"),
            ({"size": 150, "packed": 150}, {}, "a/one: overlaps what follows it"),
        ],
    )
    def test_entries_that_lie(self, path, central, local, expected):
        assert refusal(path, archive(MEMBERS, central, local)).startswith(expected)

    def test_two_members_of_one_name(self, path):
        content = archive([*MEMBERS.items(), ("a/one", b"")])
        assert refusal(path, content) == "a/one: the zip archive has two members of that name"

    def test_members_that_reach_into_the_directory(self, path):
        content = archive({"a": b"1"}, {"size": 50, "packed": 50})
        assert refusal(path, content) == "a: overlaps what follows it in the zip archive"

    def test_a_part_of_several(self, path):
        content = bytearray(archive(MEMBERS))
        content[content.rindex(b"PK\6\6") + 16] = 1
        content[content.rindex(b"PK\5\6") + 4] = 1
        assert "in several parts" in refusal(path, bytes(content))

    def test_more_members_than_there_can_be(self, path, monkeypatch):
        monkeypatch.setattr("sdbatch.weights.files.zip_members._MAX_MEMBERS", 3)
        expected = "a zip archive of 4 members; expected at most 3"
        assert refusal(path, archive(MEMBERS)) == expected

    def test_an_archive_that_is_cut(self, path):
        content = archive(MEMBERS)
        for cut in range(1, len(content), 7):
            assert "truncated: " in refusal(path, content[:-cut])
