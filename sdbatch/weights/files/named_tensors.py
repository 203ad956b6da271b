"""From the value that a pickle holds to tensors by name.

Names are the keys on the way to a tensor, joined by dots: `{"state_dict": {"a.b": T}}` has
`state_dict.a.b`. Plain values beside tensors become the file's metadata, named alike.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from sdbatch.weights.files.file_window import FileWindow, Malformed, shown
from sdbatch.weights.files.pickle_values import FileBytes, Placeholder
from sdbatch.weights.files.pickled_numpy import Array
from sdbatch.weights.files.tensor_file import DTYPES, MAX_DIMENSIONS, TensorFile, TensorInfo

_MAX_DEPTH = 32
_MAX_NAME = 1000
_MAX_METADATA = 10_000
_MAX_VALUE = 500  # characters
_PIECE = 1 << 20
_ENTRY = 700  # bytes of a tensor's name and place in memory, beside the name's characters
_SEEN = 100  # bytes to remember a container by

Info = Callable[[object], TensorInfo | None]
"""Where a value lies, if it is a tensor; raises `Malformed` for a tensor that is unsound."""


def named_tensors(window: FileWindow, root: object, info: Info) -> TensorFile:
    """Everything in a pickle's value that is a tensor or a plain value.

    A list or dictionary that is found in several places counts where it is found first.

    Raises:
        Malformed: no tensors by name, a tensor that is unsound, two of one name, or nesting that
            no checkpoint has.
    """
    tensors: dict[str, TensorInfo] = {}
    metadata: dict[str, Any] = {}
    for name, value in _leaves(window, root):
        try:
            place = info(value)
        except Malformed as error:
            raise Malformed(f"{shown(name) or 'the tensor'}: {error}") from error
        if place is None:
            _note(window, metadata, name, value)
            continue
        if name in tensors:
            raise Malformed(f"{shown(name)}: there are two tensors of that name")
        if len(name) > _MAX_NAME:
            raise Malformed(f"{shown(name)}: a name of {len(name)} characters")
        window.charge(_ENTRY + sys.getsizeof(name))
        tensors[name] = place
    if not tensors and not isinstance(root, (dict, list, tuple)):
        what = f"an object of {root}" if isinstance(root, Placeholder) else "a single value"
        raise Malformed(f"expected tensors by name (a state_dict), found {what}")
    return TensorFile(window.path, tensors, metadata)


def _leaves(window: FileWindow, root: object) -> Iterator[tuple[str, object]]:
    """(name, value) of everything that is no container, in the file's order."""
    seen: set[int] = set()
    open_containers = [iter([("", root)])]
    while open_containers:
        for name, value in open_containers[-1]:
            if _is_pair(value):
                yield name, value[1]
            elif not isinstance(value, (dict, list, tuple)):
                yield name, value
            elif value and id(value) not in seen:
                window.charge(_SEEN)
                seen.add(id(value))
                if len(open_containers) > _MAX_DEPTH or len(name) > _MAX_NAME:
                    raise Malformed(f"{shown(name)}: nested too deeply")
                open_containers.append(_children(name, value))
                break
        else:
            open_containers.pop()


def _is_pair(value: object) -> bool:
    """Whether this is how Paddle writes a tensor: the name of the parameter, and an array."""
    pair = isinstance(value, tuple) and len(value) == 2
    return pair and isinstance(value[0], str) and isinstance(value[1], Array)


def _children(name: str, container: dict | list | tuple) -> Iterator[tuple[str, object]]:
    items = container.items() if isinstance(container, dict) else enumerate(container)
    prefix = f"{name}." if name else ""
    for key, value in items:
        yield f"{prefix}{key}", value


def _note(window: FileWindow, metadata: dict[str, Any], name: str, value: object) -> None:
    """Keep a plain value, unless it belongs to an optimizer, which has thousands."""
    if name.startswith("optimizer") or len(metadata) >= _MAX_METADATA or len(name) > _MAX_NAME:
        return
    if isinstance(value, (str, Placeholder)):
        value = str(value)
    if isinstance(value, (str, bool, int, float)) and len(f"{value}") <= _MAX_VALUE:
        window.charge(_SEEN + sys.getsizeof(name) + sys.getsizeof(value))
        metadata[name] = value


def array_info(window: FileWindow, array: Array) -> TensorInfo:
    """Where a NumPy array lies.

    Raises:
        Malformed: it has objects instead of numbers, or a shape that is not that of its bytes.
    """
    content = array.content
    if content is None:
        raise Malformed("a NumPy array without content")
    dtype = array.dtype.key()
    if not isinstance(content, FileBytes):
        raise Malformed(f"a NumPy array of {type(content).__name__}; expected bytes")
    shape, order = array.shape, []
    _check_sizes("shape", shape)
    length = _text_length(window, content) if content.as_text else content.stop - content.start
    expected = math.prod(shape) * DTYPES[dtype].itemsize
    if length != expected:
        raise Malformed(
            f"{dtype} of shape {_listed(shape)} needs {expected} bytes, there are {length}"
        )
    step = 1
    for size in shape:
        order.append(step)
        step *= size
    strides = tuple(order) if array.fortran and not _in_c_order(shape, order) else None
    return TensorInfo(dtype, shape, content.start, content.stop, strides, content.as_text)


def strided_info(
    dtype: object, shape: object, strides: object, offset: object, start: int, stop: int
) -> TensorInfo:
    """Where a tensor lies that is a view of a storage.

    Args:
        dtype: a key of `DTYPES`, or what else the file says.
        shape, strides, offset: in elements, as the file says.
        start, stop: the storage's bytes.

    Raises:
        Malformed: it does not lie in its storage, or has more elements than that.
    """
    if dtype not in DTYPES:
        raise Malformed(f"dtype {dtype} is not supported; expected one of {', '.join(DTYPES)}")
    _check_sizes("shape", shape)
    _check_sizes("strides", strides)
    if len(shape) != len(strides) or not _is_size(offset):
        raise Malformed(f"shape {_listed(shape)} with {len(strides)} strides")
    if 0 in shape:
        return TensorInfo(dtype, shape, start, start)
    itemsize = DTYPES[dtype].itemsize
    there = (stop - start) // itemsize
    last = offset + sum((size - 1) * step for size, step in zip(shape, strides, strict=True))
    if last >= there or math.prod(shape) > there:
        raise Malformed(
            f"{dtype} of shape {_listed(shape)} at {offset} with strides {_listed(strides)} needs "
            f"more than its storage, which has {there} elements"
        )
    view = None if _in_c_order(shape, strides) else strides
    return TensorInfo(dtype, shape, start + offset * itemsize, start + (last + 1) * itemsize, view)


def _in_c_order(shape: tuple, strides: tuple | list) -> bool:
    step = 1
    for size, found in zip(reversed(shape), reversed(strides), strict=True):
        if size > 1 and found != step:
            return False
        step *= size
    return True


def _check_sizes(what: str, sizes: object) -> None:
    """A tuple of numbers that NumPy can count to, even where one of them is 0."""
    if not isinstance(sizes, tuple) or len(sizes) > MAX_DIMENSIONS or not all(map(_is_size, sizes)):
        raise Malformed(f"malformed {what}")
    if math.prod(size or 1 for size in sizes) > sys.maxsize // 8 and what == "shape":
        raise Malformed(f"{what} {_listed(sizes)} is too large")


def _is_size(value: object) -> bool:
    return type(value) is int and 0 <= value <= sys.maxsize


def _listed(sizes: tuple) -> str:
    return f"[{', '.join(map(str, sizes))}]"


def _text_length(window: FileWindow, text: FileBytes) -> int:
    """How many bytes Latin-1 text stands for, if that is what it is."""
    if text.start not in window.text_lengths:
        window.text_lengths[text.start] = _counted(window, text)
    return window.text_lengths[text.start]


def _counted(window: FileWindow, text: FileBytes) -> int:
    length, lead = 0, np.zeros(1, bool)  # lead: whether the byte before begins a pair
    for start in range(text.start, text.stop, _PIECE):
        piece = np.frombuffer(window.read(start, min(_PIECE, text.stop - start)), np.uint8)
        begins = (piece == 0xC2) | (piece == 0xC3)
        continues = (piece & 0xC0) == 0x80
        expected = np.concatenate([lead, begins[:-1]])
        if (continues != expected).any() or (piece > 0xC3).any() or ((piece & 0xFE) == 0xC0).any():
            raise Malformed("text that is not Latin-1")
        length += len(piece) - int(continues.sum())
        lead = begins[-1:]
    if lead[0]:
        raise Malformed("text that is not Latin-1")
    return length
