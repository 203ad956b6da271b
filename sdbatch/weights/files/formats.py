"""Open a file of tensors, whatever its format. What is in it decides, not what it is called."""

from __future__ import annotations

import re
from pathlib import Path

from sdbatch.weights.files.file_window import FileWindow, Malformed, shown
from sdbatch.weights.files.paddle_file import open_paddle
from sdbatch.weights.files.safetensors import open_safetensors
from sdbatch.weights.files.tensor_file import TensorFile
from sdbatch.weights.files.torch_file import is_legacy, is_tar, open_torch

_ZIP = (b"PK\3\4", b"PK\5\6")
_PICKLE = re.compile(rb"\x80[\0-\5][^\0]|[(\]}]|c[\w.]+\n[\w.]+\n")
_OTHERS = {
    b"version https://git-lfs": "a Git LFS pointer instead of what it stands for; `git lfs pull`",
    b"\x1f\x8b": "a gzip archive; unpack it first",
    b"7z\xbc\xaf": "a 7z archive; unpack it first",
    b"Rar!": "a RAR archive; unpack it first",
    b"GGUF": "a GGUF file",
    b"\x89HDF": "an HDF5 file",
}


def open_tensor_file(path: Path) -> TensorFile:
    """Find the tensors in a file of `torch.save`, `paddle.save` or safetensors; none is read.

    Raises:
        UserError: the file is missing, damaged, of another format, or asks to call something.
    """
    with FileWindow(path) as window:
        start = window.read(0, min(window.size, 512))
        is_json = start[8:9] == b"{"
        fits = int.from_bytes(start[:8], "little") <= window.size - 8
        if is_json and fits:  # asked first: the length may look like the start of a pickle
            open_file = open_safetensors
        elif start.startswith(_ZIP) or is_legacy(start) or is_tar(start):
            open_file = open_torch
        elif _PICKLE.match(start):
            open_file = open_paddle
        elif is_json and start[0] not in b"<{":
            open_file = open_safetensors
        else:
            raise Malformed(
                "expected a PyTorch (.ckpt, .pt, .bin), Paddle (.pdparams) or .safetensors file, "
                f"found {_what(start)}"
            )
    return open_file(path)


def _what(start: bytes) -> str:
    """What a file is that begins like this."""
    for mark, name in _OTHERS.items():
        if start.startswith(mark):
            return name
    if not start:
        return "an empty file"
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return "a web page; download the file itself"
    if re.fullmatch(rb"[\t\r\n\x20-\x7e]+", start[:32]):
        return f"text that begins with '{shown(start[:60].decode('latin-1'))}'"
    return f"something else, beginning with 0x{start[:8].hex()}"
