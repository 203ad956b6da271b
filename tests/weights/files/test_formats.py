"""A file is opened for what it holds, whatever it is called; what holds no tensors is named."""

import json
import os
import pickle

import numpy as np
import pytest
from safetensors.numpy import save

from sdbatch.errors import UserError
from sdbatch.weights.files.formats import open_tensor_file
from tests.weights.files.torch_files import legacy_file, tensor, zip_file

VALUES = np.arange(6, dtype=np.float32).reshape(2, 3)
FILES = {
    "torch": zip_file({"w": tensor("0", VALUES)}),
    "torch, protocol 4": zip_file({"w": tensor("0", VALUES)}, protocol=4),
    "legacy torch": legacy_file({"w": tensor("0", VALUES)}),
    "legacy torch, protocol 4": legacy_file({"w": tensor("0", VALUES)}, 4),
    "paddle, protocol 2": pickle.dumps({"w": VALUES}, 2),
    "paddle, protocol 3": pickle.dumps({"w": VALUES}, 3),
    "paddle": pickle.dumps({"w": VALUES}, 4),
    "safetensors": save({"w": VALUES}),
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file.ckpt"


def refusal(path) -> str:
    with pytest.raises(UserError) as caught:
        open_tensor_file(path)
    line = str(caught.value)
    assert len(line.splitlines()) == 1
    assert line.startswith(f"{path}: ")
    return line.removeprefix(f"{path}: ")


@pytest.mark.parametrize("suffix", ["ckpt", "safetensors", "pdparams", "bin"])
@pytest.mark.parametrize("kind", FILES)
def test_the_content_decides(tmp_path, kind, suffix):
    path = tmp_path / f"file.{suffix}"
    path.write_bytes(FILES[kind])
    assert np.array_equal(open_tensor_file(path).read("w"), VALUES)


@pytest.mark.parametrize("low", range(6))
def test_a_safetensors_header_whose_length_looks_like_a_pickle(path, low):
    length = 0x80 + 256 * low
    while length < 100:
        length += 1 << 16
    content = save({"w": VALUES})
    header = content[8 : 8 + int.from_bytes(content[:8], "little")].ljust(length)
    path.write_bytes(length.to_bytes(8, "little") + header + VALUES.tobytes())
    assert path.read_bytes()[:2] == bytes([0x80, low])
    assert np.array_equal(open_tensor_file(path).read("w"), VALUES)


def test_a_safetensors_file_with_megabytes_of_notes(path):
    """As trainers of LoRAs write them: JSON in a string, full of brackets, quotes and commas."""
    notes = json.dumps({"folder": {f'tag "{i}"': [i] for i in range(200_000)}})
    path.write_bytes(save({"w": VALUES}, {"ss_tag_frequency": notes}))
    file = open_tensor_file(path)
    assert np.array_equal(file.read("w"), VALUES)
    assert file.metadata["ss_tag_frequency"] == notes


class TestOtherFiles:
    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            (b"", "found an empty file"),
            (b"<!DOCTYPE html><html>", "found a web page; download the file itself"),
            (b"\r\n  <html>", "found a web page; download the file itself"),
            (b"\xef\xbb\xbf<?xml version='1.0'?>", "found a web page; download the file itself"),
            (
                b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 4265380512\n",
                "found a Git LFS pointer instead of what it stands for; `git lfs pull`",
            ),
            (b"Entry not found", "found text that begins with 'Entry not found'"),
            (b'{"error":"Invalid\n username"}', """with '{"error":"Invalid username"}'"""),
            (b"\x1f\x8b\x08\0\0\0\0\0", "found a gzip archive; unpack it first"),
            (b"7z\xbc\xaf\x27\x1c", "found a 7z archive; unpack it first"),
            (b"GGUF\3\0\0\0", "found a GGUF file"),
            (b"\0\0\0\0\0\0\0\0\1", "found something else, beginning with 0x0000000000000000"),
        ],
    )
    def test_are_named(self, path, content, expected):
        path.write_bytes(content)
        line = refusal(path)
        assert line.startswith("expected a PyTorch (.ckpt, .pt, .bin), Paddle (.pdparams) or .safe")
        assert line.endswith(expected)

    def test_archives_of_something_else(self, path):
        np.savez(path.open("wb"), w=VALUES)
        assert "expected one, as torch.save writes it" in refusal(path)

    def test_pickles_of_something_else(self, path):
        path.write_bytes(pickle.dumps("text"))
        assert refusal(path).startswith(
            "expected tensors by name (a state_dict), found a single value"
        )

    def test_safetensors_that_are_cut_in_the_header(self, path):
        path.write_bytes(save({"w": VALUES})[:40])
        assert refusal(path).startswith("not a whole .safetensors file")


class TestWhatIsNoFile:
    def test_nothing(self, path):
        assert refusal(path) == "cannot be read: No such file or directory"

    def test_a_folder(self, path):
        path.mkdir()
        assert refusal(path) == "cannot be read: expected a file, this is a folder"

    def test_a_pipe_which_nobody_writes_to(self, path):
        os.mkfifo(path)
        assert refusal(path) == "cannot be read: expected a file, this is no regular file"

    def test_a_device(self, tmp_path):
        (tmp_path / "link").symlink_to("/dev/zero")
        assert "no regular file" in refusal(tmp_path / "link")
