"""Read and write `.pdparams`: a pickled dictionary from names to NumPy arrays.

`paddle.save` writes a state_dict as arrays, and anything else with tensors as pairs of the tensor's
own name and its array. bfloat16 is stored as the uint16 of its bits; uint16 itself Paddle has not.
Source: https://github.com/PaddlePaddle/Paddle, python/paddle/framework/io.py and io_utils.py.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

import numpy as np

from sdbatch.errors import UserError
from sdbatch.weights.files.file_window import FileWindow, Malformed, shown
from sdbatch.weights.files.named_tensors import array_info, named_tensors
from sdbatch.weights.files.pickle_values import Call, Name, Placeholder, Refused
from sdbatch.weights.files.pickled_numpy import Array
from sdbatch.weights.files.pickles import CALLS, read_pickle
from sdbatch.weights.files.tensor_file import DTYPES, TensorFile, TensorInfo

_NAMES = "StructuredToParameterName@@"
_PIECES = "UnpackBigParamInfor@@"
_NOT_IN_PADDLE = ("U16", "U32", "U64")
_ALIGNMENT = 64


def open_paddle(path: Path) -> TensorFile:
    """Find the tensors of a file that `paddle.save` or `write_paddle` wrote; none is read.

    Raises:
        UserError: the file is missing, damaged, no such file, or asks to call something.
    """
    with FileWindow(path) as window:
        value, end = read_pickle(window, 0, window.size, PADDLE_CALLS)
        if end != window.size:
            raise Malformed(f"expected {end} bytes, found {window.size}: what follows is no tensor")
        if isinstance(value, dict):
            value.pop(_NAMES, None)
            if _PIECES in value:
                raise Malformed(
                    "has tensors of over 1 GiB in pieces, as paddle.save writes them with protocol "
                    "2 or 3; load it with Paddle and save it with protocol=4"
                )

        def info(value: object) -> TensorInfo | None:
            if not isinstance(value, Array):
                return None
            place = array_info(window, value)
            return replace(place, dtype="BF16") if place.dtype == "U16" else place

        return named_tensors(window, value, info)


def _dense_tensor(window: FileWindow, args: tuple) -> object:
    """`eval("data", {"data": array})`, which is how Paddle writes tensors of static programs.

    Exactly that is taken for the array. Nothing is evaluated, here or anywhere.
    """
    if len(args) == 2 and args[0] == "data" and isinstance(args[1], dict):
        array = args[1].get("data")
        if len(args[1]) == 1 and isinstance(array, Array):
            return array
    raise Refused(Placeholder("builtins", "eval"))


PADDLE_CALLS: Mapping[Name, Call] = MappingProxyType({**CALLS, ("builtins", "eval"): _dense_tensor})
"""Everything that may be called in a file of `paddle.save`."""


def write_paddle(path: Path, tensors: Iterable[tuple[str, np.ndarray, str]]) -> None:
    """Write tensors one after the other; `paddle.load` reads the file like one of `paddle.save`.

    Each tensor's bytes begin at a multiple of 64, so that they can be mapped and used in place.

    Args:
        path: the file to write.
        tensors: name, values and dtype (a key of `DTYPES`) of each; the values of bfloat16 are the
            uint16 of its bits.

    Raises:
        OSError: naming the file, if it cannot be written.
        UserError: Paddle has no such dtype.
        ValueError: values that are not of their dtype.
    """
    file = path.open("wb")
    try:
        file.write(b"\x80\x04}(")  # protocol 4; a dictionary; a mark
        for name, array, dtype in tensors:
            if dtype in _NOT_IN_PADDLE:
                raise UserError(f"{path}: {shown(name)}: Paddle has no dtype {dtype}")
            if array.dtype != DTYPES[dtype]:
                raise ValueError(f"{name}: {array.dtype} values for {dtype}")
            with _naming(path):
                _write_item(file, name, np.ascontiguousarray(array).reshape(array.shape))
            del array  # before the next one is made
        with _naming(path):
            file.write(b"u.")  # put the items into the dictionary; the end
            file.flush()
            os.fsync(file.fileno())
    finally:
        with suppress(OSError):  # of what could not be written, which was said
            file.close()


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Writing does not say which file the disk had no room for."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _write_item(file: BinaryIO, name: str, array: np.ndarray) -> None:
    text = name.encode()
    file.write(b"X" + struct.pack("<I", len(text)) + text)
    # The module names are NumPy 1's, which NumPy 2 knows as well.
    file.write(b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85C\1b\x87R")
    kind = f"{array.dtype.kind}{array.dtype.itemsize}".encode()
    order = b"|" if array.dtype.itemsize == 1 else b"<"
    file.write(b"(K\1(" + b"".join(_integer(size) for size in array.shape) + b"t")
    file.write(b"cnumpy\ndtype\nX" + struct.pack("<I", len(kind)) + kind + b"\x89\x88\x87R")
    file.write(b"(K\3X\1\0\0\0" + order + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb")
    file.write(b"\x89")  # in C order
    file.write(_filler(-(file.tell() + 9) % _ALIGNMENT))
    file.write(b"\x8e" + struct.pack("<Q", array.nbytes))
    file.write(array.reshape(-1).view(np.uint8).data)
    file.write(b"tb")


def _integer(value: int) -> bytes:
    return b"\x8a\x08" + struct.pack("<q", value)


def _filler(size: int) -> bytes:
    """Opcodes that do nothing: bytes that are dropped again."""
    if size == 0:
        return b""
    if size < 3:
        size += _ALIGNMENT
    return b"C" + bytes([size - 3]) + bytes(size - 3) + b"0"
