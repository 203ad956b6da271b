"""Read `.safetensors` files as memory-mapped NumPy arrays.

The format: 8 bytes little-endian header length, a JSON header, then the tensors' bytes. Nothing in
the file is ever executed. Own reader because it must say precisely what is wrong with a file, and
because the `safetensors` library's NumPy front end has no bfloat16.
Format: https://huggingface.co/docs/safetensors, section "Format".
"""

from __future__ import annotations

import json
import math
import mmap
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sdbatch.errors import UserError, one_line

_DTYPES = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),  # widened to float32 by `SafetensorsFile.read`
    "I64": np.dtype("<i8"),
    "U64": np.dtype("<u8"),
    "I32": np.dtype("<i4"),
    "U32": np.dtype("<u4"),
    "I16": np.dtype("<i2"),
    "U16": np.dtype("<u2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
_MAP_UNIT = mmap.ALLOCATIONGRANULARITY
_MAX_HEADER = 100_000_000  # the limit of the reference implementation
_MAX_DIMENSIONS = 32  # NumPy 1's limit


@dataclass(frozen=True)
class TensorInfo:
    """Where one tensor lies: dtype name as in the header, shape, byte range in the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


class SafetensorsFile:
    """One file: its header read and checked, its tensors read on demand."""

    def __init__(self, path: Path):
        """Open and check the header.

        Raises:
            UserError: the file is missing, truncated, or not a safetensors file.
        """
        self.path = path
        self.tensors: Mapping[str, TensorInfo] = _read_header(path)

    def read(self, key: str) -> np.ndarray:
        """One tensor as a private memory map (bfloat16 comes as a float32 copy).

        The map is copy-on-write: writing to it never reaches the file. (A read-only one could not
        be handed to Paddle without a copy.)
        """
        info = self.tensors[key]
        count = math.prod(info.shape)
        dtype = _DTYPES[info.dtype]
        if count == 0:  # nothing can be mapped
            array = np.empty(0, dtype)
        else:
            array = np.frombuffer(self._map(info), dtype, count, info.start % _MAP_UNIT)
        if info.dtype == "BF16":
            array = (array.astype("<u4") << 16).view("<f4")
        return array.reshape(info.shape)

    def _map(self, info: TensorInfo) -> mmap.mmap:
        """The pages that hold one tensor; each has its own map, unmapped with its last user.

        (np.memmap would do, but resolves the path each time: a third of a UNet's loading.)
        """
        start = info.start - info.start % _MAP_UNIT  # maps begin at whole pages
        length = info.stop - start
        with self.path.open("rb") as file:
            return mmap.mmap(file.fileno(), length, access=mmap.ACCESS_COPY, offset=start)

    def items(self) -> Iterator[tuple[str, np.ndarray]]:
        """All tensors in file order, so that a disk is read once from front to back."""
        for key in sorted(self.tensors, key=lambda name: self.tensors[name].start):
            yield key, self.read(key)


def _read_header(path: Path) -> dict[str, TensorInfo]:
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(size - 8, _MAX_HEADER):
                raise UserError(
                    f"{path}: not a whole .safetensors file: "
                    f"the header should have {length} bytes, the file has {size} in all"
                )
            header = json.loads(file.read(length))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not a .safetensors file: its header is not JSON") from error
    if not isinstance(header, dict):
        raise UserError(f"{path}: not a .safetensors file: its header is not a JSON object")
    header.pop("__metadata__", None)
    tensors = {key: _tensor_info(path, key, raw, 8 + length) for key, raw in header.items()}
    _check_ranges(path, tensors, 8 + length, size)
    return tensors


def _check_ranges(path: Path, tensors: Mapping[str, TensorInfo], start: int, size: int) -> None:
    """The tensors must fill the rest of the file, each where the one before ends."""
    for key, info in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].stop)):
        if info.start != start:
            raise UserError(
                f"{path}: {one_line(key)}: begins at byte {info.start}, expected {start}: "
                "the tensors overlap or leave a gap"
            )
        start = info.stop
    if size < start:
        raise UserError(f"{path}: truncated: expected {start} bytes, found {size}")
    if size > start:
        raise UserError(f"{path}: expected {start} bytes, found {size}: what follows is no tensor")


def _tensor_info(path: Path, key: str, raw: object, data_start: int) -> TensorInfo:
    where = f"{path}: {one_line(key)}"
    try:
        dtype, shape, (begin, end) = raw["dtype"], raw["shape"], raw["data_offsets"]
        sound = isinstance(dtype, str) and _is_shape(shape)
        sound = sound and _is_size(begin) and _is_size(end)
    except (TypeError, KeyError, ValueError):
        sound = False
    if not sound:
        raise UserError(f"{where}: malformed entry in the header: {one_line(raw)[:200]}")
    if dtype not in _DTYPES:
        raise UserError(
            f"{where}: dtype {one_line(dtype)} is not supported; "
            f"expected one of {', '.join(_DTYPES)}"
        )
    expected = math.prod(shape) * _DTYPES[dtype].itemsize
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
        and len(value) <= _MAX_DIMENSIONS
        and all(map(_is_size, value))
        and math.prod(size or 1 for size in value) <= sys.maxsize // 8
    )


def _is_size(value: object) -> bool:
    return type(value) is int and 0 <= value <= sys.maxsize
