"""Read what `torch.save` wrote, in both of its forms, without PyTorch and without unpickling.

Since PyTorch 1.6 that is an uncompressed zip archive: `data.pkl` describes the tensors, and
`data/<key>` are their storages. Before, it was a sequence of pickles with the storages after them.
Source: https://github.com/pytorch/pytorch, torch/serialization.py (`_save`, `_legacy_load`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from sdbatch.weights.files.file_window import Cursor, FileWindow, Malformed, shown
from sdbatch.weights.files.named_tensors import array_info, named_tensors, strided_info
from sdbatch.weights.files.pickled_numpy import Array
from sdbatch.weights.files.pickles import read_pickle
from sdbatch.weights.files.tensor_file import DTYPES, TensorFile, TensorInfo
from sdbatch.weights.files.torch_values import (
    TORCH_CALLS,
    Storage,
    Tensor,
    legacy_object,
    storage_of,
)
from sdbatch.weights.files.zip_members import zip_members

_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001
_LEGACY_START = re.compile(
    rb"(\x80[\x02-\x05](\x95.{8})?)?"
    rb"(\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19|L119547037146038801333356L\n)\.",
    re.DOTALL,
)
_TAR_MARK = slice(257, 262)


def open_torch(path: Path) -> TensorFile:
    """Find the tensors of a `.ckpt`, `.pt`, `.pth` or `.bin` file; none is read.

    Raises:
        UserError: the file is missing, damaged, no file of `torch.save`, or asks to call something.
    """
    with FileWindow(path) as window:
        start = window.read(0, min(window.size, 512))
        if start.startswith(b"PK"):
            return _open_zip(window)
        if is_legacy(start):
            return _open_legacy(window)
        if is_tar(start):
            raise Malformed(
                "a tar archive, which PyTorch wrote before 0.1.10; load it with PyTorch and save "
                "it again"
            )
        raise Malformed("expected a file that torch.save wrote, found something else")


def is_legacy(start: bytes) -> bool:
    """Whether a file with this start was written by `torch.save` as before PyTorch 1.6."""
    return _LEGACY_START.match(start) is not None


def is_tar(start: bytes) -> bool:
    """Whether a file with this start is a tar archive, as `torch.save` wrote at first."""
    return start[_TAR_MARK] == b"ustar"


def _open_zip(window: FileWindow) -> TensorFile:
    members = zip_members(window)
    roots = [
        name[: -len("data.pkl")] for name in members if re.fullmatch(r"([^/]+/)?data\.pkl", name)
    ]
    if len(roots) != 1:
        raise Malformed(
            f"a zip archive with {len(roots)} files data.pkl; expected one, as torch.save writes it"
        )
    root = roots[0]
    if f"{root}constants.pkl" in members:
        raise Malformed(
            "a TorchScript archive, which holds a program; expected tensors saved by torch.save"
        )
    for name, place in members.items():
        if place is None:
            raise Malformed(
                f"{shown(name)}: compressed in the zip archive; expected it stored, as torch.save "
                "does"
            )
    start, stop = members.get(f"{root}byteorder", (0, 0))
    if (order := window.read(start, min(stop - start, 10))) not in (b"", b"little"):
        raise Malformed(f"byte order {shown(order.decode('latin-1'))}; expected little")
    value, _ = read_pickle(window, *members[f"{root}data.pkl"], TORCH_CALLS, storage_of)
    prefix = f"{root}data/"
    places = {n[len(prefix) :]: place for n, place in members.items() if n.startswith(prefix)}
    return named_tensors(window, value, _places(window, places))


def _open_legacy(window: FileWindow) -> TensorFile:
    storages: dict[str, Storage] = {}

    def persistent(identity: object) -> object:
        found = legacy_object(identity)
        if isinstance(found, Storage):
            storages.setdefault(found.key, found)
        return found

    _, position = read_pickle(window, 0, window.size)  # the magic number
    version, position = read_pickle(window, position, window.size)
    system, position = read_pickle(window, position, window.size)
    if version != _VERSION:
        raise Malformed(f"a version of PyTorch's format that is unknown; expected {_VERSION}")
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise Malformed("byte order big; expected little")
    value, position = read_pickle(window, position, window.size, TORCH_CALLS, persistent)
    keys, position = read_pickle(window, position, window.size)
    places = _legacy_places(window, position, keys, storages)
    return named_tensors(window, value, _places(window, places))


def _legacy_places(
    window: FileWindow, position: int, keys: object, storages: Mapping[str, Storage]
) -> dict[str, tuple[int, int]]:
    """First byte and end of each storage: after its length, one after the other."""
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise Malformed("the list of storages is malformed")
    cursor = Cursor(window, position, window.size)
    places = {}
    for key in keys:
        if key not in storages or key in places:
            raise Malformed(f"storage {shown(key)}: listed twice, or belongs to no tensor")
        dtype = storages[key].dtype
        if dtype not in DTYPES:
            raise Malformed(f"storage {shown(key)}: {dtype} is not supported")
        window.charge(300)
        length = int.from_bytes(cursor.take(8), "little")
        places[key] = cursor.skip(length * DTYPES[dtype].itemsize)
    return places


def _places(
    window: FileWindow, storages: Mapping[str, tuple[int, int]]
) -> Callable[[object], TensorInfo | None]:
    """What `named_tensors` asks, for storages that lie there in the file."""

    def info(value: object) -> TensorInfo | None:
        if isinstance(value, Array):
            return array_info(window, value)
        if not isinstance(value, Tensor):
            return None
        if value.storage.key not in storages:
            raise Malformed(f"its storage {shown(value.storage.key)} is missing")
        start, stop = _extent(value.storage, *storages[value.storage.key])
        return strided_info(value.dtype, value.shape, value.strides, value.offset, start, stop)

    return info


def _extent(storage: Storage, start: int, stop: int) -> tuple[int, int]:
    """First byte and end of what a storage has of its place in the file."""
    if storage.dtype not in DTYPES:
        return start, stop  # a view of it is refused for its dtype
    itemsize = DTYPES[storage.dtype].itemsize
    begin = start + storage.offset * itemsize
    end = begin + storage.elements * itemsize
    if end > stop:
        raise Malformed(
            f"its storage {shown(storage.key)} should have {end - start} bytes, the file has "
            f"{stop - start}"
        )
    return begin, end
