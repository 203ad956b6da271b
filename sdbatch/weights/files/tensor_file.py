"""A file of named tensors: where each one lies, and how its bytes become an array.

The formats differ in how they say where the tensors are (`safetensors`, `torch_file`,
`paddle_file`); once that is known they are all read here, one tensor at a time, straight from the
file. Imports no Paddle.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

# By the names that safetensors gives them.
DTYPES: Mapping[str, np.dtype] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),  # widened to float32 by `TensorFile.read`
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
MAX_DIMENSIONS = 32  # NumPy 1's limit
_MAP_UNIT = mmap.ALLOCATIONGRANULARITY


@dataclass(frozen=True)
class TensorInfo:
    """Where one tensor lies.

    Attributes:
        dtype: a key of `DTYPES`.
        shape: its sizes.
        start, stop: the bytes of the file that hold it.
        strides: step of each axis in elements; None where the elements lie in C order.
        as_text: the bytes are Latin-1 text in UTF-8, as pickle protocol 2 writes bytes.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int
    strides: tuple[int, ...] | None = None
    as_text: bool = False


@dataclass(frozen=True)
class TensorFile:
    """One opened file: its tensors, which are read on demand, and what else it says.

    Whoever makes one has checked every `TensorInfo` against the file's size.
    """

    path: Path
    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def read(self, key: str) -> np.ndarray:
        """One tensor as a private memory map (bfloat16 comes as a float32 copy).

        The map is copy-on-write: writing to it never reaches the file. (A read-only one could not
        be handed to Paddle without a copy.)
        """
        info = self.tensors[key]
        array = self._elements(info)
        if info.strides is not None and array.size:
            steps = [step * array.itemsize for step in info.strides]
            array = np.lib.stride_tricks.as_strided(array, info.shape, steps)
            array = np.ascontiguousarray(array)
        if info.dtype == "BF16":
            array = widened(array)
        return array.reshape(info.shape)

    def items(self) -> Iterator[tuple[str, np.ndarray]]:
        """All tensors in file order, so that a disk is read once from front to back."""
        for key in sorted(self.tensors, key=lambda name: self.tensors[name].start):
            yield key, self.read(key)

    def _elements(self, info: TensorInfo) -> np.ndarray:
        """Everything between start and stop as a flat array."""
        dtype = DTYPES[info.dtype]
        if math.prod(info.shape) == 0:  # nothing can be mapped
            return np.empty(0, dtype)
        pages, offset = self._map(info)
        if info.as_text:
            text = pages[offset:].decode("utf-8")
            return np.frombuffer(bytearray(text.encode("latin-1")), dtype)
        return np.frombuffer(pages, dtype, (info.stop - info.start) // dtype.itemsize, offset)

    def _map(self, info: TensorInfo) -> tuple[mmap.mmap, int]:
        """The pages that hold one tensor, and where in them it begins.

        Each tensor has its own map, unmapped with its last user. (np.memmap would do, but resolves
        the path each time: a third of a UNet's loading.)
        """
        start = info.start - info.start % _MAP_UNIT  # maps begin at whole pages
        with self.path.open("rb") as file:
            pages = mmap.mmap(
                file.fileno(), info.stop - start, access=mmap.ACCESS_COPY, offset=start
            )
        return pages, info.start - start


def widened(bits: np.ndarray) -> np.ndarray:
    """bfloat16 bits as the float32 values they stand for."""
    return (bits.astype("<u4") << 16).view("<f4")
