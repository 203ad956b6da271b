"""Read `.safetensors` files as memory-mapped NumPy arrays.

The format: 8 bytes little-endian header length, a JSON header, then the tensors' bytes. Nothing in
the file is ever executed. Own reader because it must say precisely what is wrong with a file, and
because the `safetensors` library's NumPy front end has no bfloat16.
Format: https://huggingface.co/docs/safetensors, section "Format".
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sdbatch.errors import UserError

_DTYPES = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),  # widened to float32 by `SafetensorsFile.read`
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
_MAX_HEADER = 100_000_000  # the limit of the reference implementation


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
        if count == 0:
            return np.empty(info.shape, _DTYPES[info.dtype])
        array = np.memmap(self.path, _DTYPES[info.dtype], "c", offset=info.start, shape=(count,))
        if info.dtype == "BF16":
            array = (array.astype("<u4") << 16).view("<f4")
        return array.reshape(info.shape)

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
    except ValueError as error:
        raise UserError(f"{path}: not a .safetensors file: its header is not JSON") from error
    if not isinstance(header, dict):
        raise UserError(f"{path}: not a .safetensors file: its header is not a JSON object")
    header.pop("__metadata__", None)
    tensors = {key: _tensor_info(path, key, raw, 8 + length) for key, raw in header.items()}
    needed = max((info.stop for info in tensors.values()), default=8 + length)
    if size < needed:
        raise UserError(f"{path}: truncated: expected {needed} bytes, found {size}")
    return tensors


def _tensor_info(path: Path, key: str, raw: object, data_start: int) -> TensorInfo:
    try:
        dtype, shape = raw["dtype"], tuple(raw["shape"])
        begin, end = raw["data_offsets"]
        expected = math.prod(shape) * _DTYPES[dtype].itemsize
    except (TypeError, KeyError, ValueError) as error:
        raise UserError(
            f"{path}: {key}: malformed or unknown entry in the header: {raw}"
        ) from error
    if begin < 0 or end - begin != expected:
        raise UserError(
            f"{path}: {key}: {dtype} of shape {list(shape)} needs {expected} bytes, "
            f"the header gives it {end - begin}"
        )
    return TensorInfo(dtype, shape, data_start + begin, data_start + end)
