"""Read the header of a `.safetensors` file.

The format: 8 bytes little-endian header length, a JSON header, then the tensors' bytes. Nothing in
the file is ever executed. Own reader because it must say precisely what is wrong with a file, and
because the `safetensors` library's NumPy front end has no bfloat16.
Format: https://huggingface.co/docs/safetensors, section "Format".
"""

from __future__ import annotations

import json
import math
import reprlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdbatch.errors import UserError, one_line
from sdbatch.weights.files.tensor_file import DTYPES, MAX_DIMENSIONS, TensorFile, TensorInfo

# So that nobody's file takes more than 200 MB to read. SDXL's header has 0.4 MB and 25,000 parts;
# some LoRAs carry several MB of notes on their training.
_MAX_HEADER = 16 << 20
_MAX_TEXT = 40 << 20  # of the header in memory, where one rare character makes all of them wide
_MAX_QUOTES = 500_000
_MAX_PARTS = 300_000


def open_safetensors(path: Path) -> TensorFile:
    """Read and check the header; no tensor is read.

    Raises:
        UserError: the file is missing, truncated, or not a safetensors file.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > size - 8:
                raise UserError(
                    f"{path}: not a whole .safetensors file: "
                    f"the header should have {length} bytes, the file has {size} in all"
                )
            if length > _MAX_HEADER:
                raise UserError(
                    f"{path}: a header of {length} bytes; expected at most {_MAX_HEADER}"
                )
            header = _parse(path, file.read(length))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not a .safetensors file: its header is not JSON") from error
    if not isinstance(header, dict):
        raise UserError(f"{path}: not a .safetensors file: its header is not a JSON object")
    metadata = header.pop("__metadata__", None)
    tensors = {key: _tensor_info(path, key, raw, 8 + length) for key, raw in header.items()}
    _check_ranges(path, tensors, 8 + length, size)
    return TensorFile(path, tensors, metadata if isinstance(metadata, dict) else {})


def _parse(path: Path, raw: bytes) -> object:
    """The header's JSON, if it is not made to fill the memory.

    Raises:
        UserError: it is, or a key is there twice.
        ValueError: it is not JSON.
    """

    def without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise UserError(f"{path}: the header has a key twice")
        return found

    # Strings are cut out before counting: notes on a training are full of commas.
    plain = raw.replace(rb"\\", b"").replace(rb"\"", b"")
    parts = 0
    if (quotes := plain.count(b'"')) <= _MAX_QUOTES:
        outside = b"".join(plain.split(b'"')[::2])
        parts = outside.count(b"[") + outside.count(b"{") + outside.count(b",")
    del plain
    text = raw.decode("utf-8")
    if quotes > _MAX_QUOTES or parts > _MAX_PARTS or sys.getsizeof(text) > _MAX_TEXT:
        raise UserError(f"{path}: the header describes more than any checkpoint has")
    return json.loads(text, object_pairs_hook=without_duplicates)


def _check_ranges(path: Path, tensors: Mapping[str, TensorInfo], start: int, size: int) -> None:
    """The tensors must fill the rest of the file, each where the one before ends."""
    for key, info in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].stop)):
        if info.start != start:
            raise UserError(
                f"{path}: {one_line(key[:200])}: begins at byte {info.start}, expected {start}: "
                "the tensors overlap or leave a gap"
            )
        start = info.stop
    if size < start:
        raise UserError(f"{path}: truncated: expected {start} bytes, found {size}")
    if size > start:
        raise UserError(f"{path}: expected {start} bytes, found {size}: what follows is no tensor")


def _tensor_info(path: Path, key: str, raw: object, data_start: int) -> TensorInfo:
    where = f"{path}: {one_line(key[:200])}"
    try:
        dtype, shape, (begin, end) = raw["dtype"], raw["shape"], raw["data_offsets"]
        sound = isinstance(dtype, str) and _is_shape(shape)
        sound = sound and _is_size(begin) and _is_size(end)
    except (TypeError, KeyError, ValueError):
        sound = False
    if not sound:
        raise UserError(f"{where}: malformed entry in the header: {reprlib.repr(raw)[:200]}")
    if dtype not in DTYPES:
        raise UserError(
            f"{where}: dtype {one_line(dtype[:50])} is not supported; "
            f"expected one of {', '.join(DTYPES)}"
        )
    expected = math.prod(shape) * DTYPES[dtype].itemsize
    if end - begin != expected:
        raise UserError(
            f"{where}: {dtype} of shape {shape} needs {expected} bytes, "
            f"the header gives it {end - begin}"
        )
    return TensorInfo(dtype, tuple(shape), data_start + begin, data_start + end)


def _is_shape(value: object) -> bool:
    """A list of sizes that NumPy can count to, even where one of them is 0."""
    return (
        isinstance(value, list)
        and len(value) <= MAX_DIMENSIONS
        and all(map(_is_size, value))
        and math.prod(size or 1 for size in value) <= sys.maxsize // 8
    )


def _is_size(value: object) -> bool:
    return type(value) is int and 0 <= value <= sys.maxsize
