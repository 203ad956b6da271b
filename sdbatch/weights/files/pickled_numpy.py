"""NumPy's arrays, dtypes and scalars as pickles hold them, without making any.

An array is a place in the file, a dtype a short code out of a table.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from sdbatch.weights.files.file_window import FileWindow, Malformed, shown
from sdbatch.weights.files.pickle_values import Call, FileBytes, Name, Placeholder, Text
from sdbatch.weights.files.tensor_file import DTYPES

_NUMPY_CODES = {
    **{"f8": "F64", "f4": "F32", "f2": "F16", "i8": "I64", "i4": "I32", "i2": "I16", "i1": "I8"},
    **{"u8": "U64", "u4": "U32", "u2": "U16", "u1": "U8", "b1": "BOOL"},
}


class NumpyType:
    """A NumPy dtype: its code such as f4, and its byte order, which comes later."""

    __slots__ = ("code", "order")

    def __init__(self, code: str):
        self.code = code
        self.order = "|"

    def build(self, state: object) -> None:
        """Take the state that follows the constructor.

        Raises:
            Malformed: it is none, or that of a structured type.
        """
        if not (isinstance(state, tuple) and len(state) >= 5 and _is_short(state[1])):
            raise Malformed("a NumPy dtype with a malformed state")
        if any(part is not None for part in state[2:5]):
            raise Malformed("a NumPy array of a structured dtype; expected plain numbers")
        self.order = str(state[1])

    def key(self) -> str:
        """The key of `DTYPES`.

        Raises:
            Malformed: it is not among them.
        """
        key = _NUMPY_CODES.get(self.code)
        if key is None or self.order not in ("<", "|", "=") or sys.byteorder != "little":
            raise Malformed(
                f"NumPy dtype {shown(self.order + self.code)} is not supported; expected "
                f"little-endian {', '.join(_NUMPY_CODES)}"
            )
        return key


class Array:
    """A NumPy array, empty until its state comes."""

    __slots__ = ("content", "dtype", "fortran", "shape")

    def __init__(self) -> None:
        self.content = None

    def build(self, state: object) -> None:
        """Take the state that follows the constructor.

        Raises:
            Malformed: it is none.
        """
        if not (isinstance(state, tuple) and len(state) == 5):
            raise Malformed("a NumPy array with a malformed state")
        _, self.shape, self.dtype, self.fortran, content = state
        self.content = content.place if isinstance(content, Text) else content
        if not isinstance(self.dtype, NumpyType) or not isinstance(self.shape, tuple):
            raise Malformed("a NumPy array with a malformed state")


def _reconstruct(window: FileWindow, args: tuple) -> Array:
    if not args or not isinstance(args[0], Placeholder):
        raise Malformed("a NumPy array of no class")
    return Array()


def _from_buffer(window: FileWindow, args: tuple) -> Array:
    """Protocol 5's arrays."""
    if len(args) != 4 or args[3] not in ("C", "F"):
        raise Malformed("a NumPy array with a malformed state")
    content, dtype, shape, order = args
    array = Array()
    array.build((1, shape, dtype, order == "F", content))
    return array


def _numpy_type(window: FileWindow, args: tuple) -> NumpyType:
    if not args or not _is_short(args[0]):
        raise Malformed("a NumPy dtype without a name")
    return NumpyType(str(args[0]))


def _is_short(text: object) -> bool:
    """Whether text is no longer than the names of dtypes, of which any number may be kept."""
    return isinstance(text, str) and len(text) <= 16


def _scalar(window: FileWindow, args: tuple) -> object:
    """A NumPy scalar as the Python number; of other types, as nothing in particular."""
    if not args or not isinstance(args[0], NumpyType):
        raise Malformed("a NumPy scalar without a dtype")
    if args[0].code not in _NUMPY_CODES:
        return Placeholder("numpy", "generic", made=True)
    dtype = DTYPES[args[0].key()]
    place = args[1].place if len(args) > 1 and isinstance(args[1], Text) else args[-1]
    if not isinstance(place, FileBytes) or place.stop - place.start > 2 * dtype.itemsize:
        raise Malformed("a NumPy scalar of the wrong size")
    content = window.read(place.start, place.stop - place.start)
    if place.as_text:
        try:
            content = content.decode().encode("latin-1")
        except UnicodeError as error:
            raise Malformed("a NumPy scalar that is not Latin-1 text") from error
    if len(content) != dtype.itemsize:
        raise Malformed("a NumPy scalar of the wrong size")
    return np.frombuffer(content, dtype)[0].item()


NUMPY_CALLS: Mapping[Name, Call] = MappingProxyType(
    {
        ("numpy", "dtype"): _numpy_type,
        ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
        ("numpy.core.multiarray", "scalar"): _scalar,
        ("numpy.core.numeric", "_frombuffer"): _from_buffer,
    }
)
"""What NumPy's objects are made with, by NumPy 1's names."""
