"""PyTorch's storages and tensors as `torch.save` pickles them, unchecked and without PyTorch.

Source: https://github.com/pytorch/pytorch, torch/_utils.py (`_rebuild_tensor_v2` and its like) and
the functions `persistent_id` in torch/serialization.py.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from sdbatch.weights.files.file_window import FileWindow, Malformed, shown
from sdbatch.weights.files.pickle_values import Call, Name, Placeholder, Refused, inert
from sdbatch.weights.files.pickles import CALLS

_STORAGES: Mapping[str, str] = {
    "DoubleStorage": "F64",
    "FloatStorage": "F32",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "LongStorage": "I64",
    "IntStorage": "I32",
    "ShortStorage": "I16",
    "CharStorage": "I8",
    "ByteStorage": "U8",
    "UntypedStorage": "U8",
    "BoolStorage": "BOOL",
}
_DTYPES: Mapping[str, str] = {
    **{"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "bool": "BOOL"},
    **{"int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8", "uint8": "U8"},
    **{"uint16": "U16", "uint32": "U32", "uint64": "U64"},
}


@dataclass(frozen=True, slots=True)
class Storage:
    """What tensors are views of.

    Attributes:
        key: its name in the file.
        dtype: a key of `tensor_file.DTYPES`, or PyTorch's class of a type that is not among them.
        elements: how many it has.
        offset: the first one, where it is itself a part of the storage of that name.
    """

    key: str
    dtype: str | Placeholder
    elements: int
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Tensor:
    """A view of a storage; nothing but the storage has been checked."""

    storage: Storage
    dtype: str | Placeholder
    offset: object
    shape: object
    strides: object


def storage_of(identity: object) -> Storage:
    """The storage that an id in a zip archive's pickle stands for.

    Raises:
        Malformed: it is no such id.
    """
    if not isinstance(identity, tuple) or len(identity) != 5:
        raise Malformed("a malformed id of a storage")
    kind, cls, key, _, elements = identity
    if kind != "storage" or not isinstance(cls, Placeholder) or not isinstance(key, str):
        raise Malformed("a malformed id of a storage")
    if not _is_size(elements):
        raise Malformed(f"storage {shown(key)}: a malformed number of elements")
    return Storage(key, _STORAGES.get(cls.name, cls), elements)


def legacy_object(identity: object) -> Storage | Placeholder:
    """A storage, a part of one, or the class of a module (whose source code comes with it).

    Raises:
        Malformed: the id is none of these.
    """
    if not isinstance(identity, tuple) or len(identity) not in (4, 5, 6):
        raise Malformed("a malformed id of a storage")
    if identity[0] == "module" and isinstance(identity[1], Placeholder):
        return identity[1]
    whole = storage_of(identity[:5])
    view = identity[5] if len(identity) == 6 else None
    if view is None:
        return whole
    if not isinstance(view, tuple) or len(view) != 3 or not all(map(_is_size, view[1:])):
        raise Malformed(f"storage {shown(whole.key)}: a malformed view")
    return Storage(whole.key, whole.dtype, view[2], view[1])


def _is_size(value: object) -> bool:
    return type(value) is int and 0 <= value <= sys.maxsize


def _tensor(window: FileWindow, args: tuple) -> Tensor:
    """`_rebuild_tensor` and `_rebuild_tensor_v2`: storage, offset, size, stride, ..., metadata."""
    if len(args) < 4 or not isinstance(args[0], Storage):
        raise Malformed("a tensor that is not a view of a storage")
    if len(args) > 6 and isinstance(args[6], dict) and (args[6].get("neg") or args[6].get("conj")):
        raise Malformed("a tensor whose values are stored negated or conjugated")
    return Tensor(args[0], args[0].dtype, *args[1:4])


def _tensor_with_dtype(window: FileWindow, args: tuple) -> Tensor:
    """`_rebuild_tensor_v3`: the storage is of bytes, and the dtype follows the hooks."""
    if len(args) < 7 or not isinstance(args[6], Placeholder):
        raise Malformed("a tensor without a dtype")
    tensor = _tensor(window, args[:6] + args[7:8])
    dtype = _DTYPES.get(args[6].name, args[6])
    return Tensor(tensor.storage, dtype, tensor.offset, tensor.shape, tensor.strides)


def _parameter(window: FileWindow, args: tuple) -> Tensor:
    if not args or not isinstance(args[0], Tensor):
        raise Malformed("a parameter that is no tensor")
    return args[0]


def _with_attributes(window: FileWindow, args: tuple) -> object:
    """`_rebuild_from_type_v2(function, type, args, state)`: a tensor with attributes of its own."""
    if len(args) != 4 or not isinstance(args[0], Placeholder) or not isinstance(args[2], tuple):
        raise Malformed("a malformed tensor with attributes")
    if args[0].made or args[0].key not in _TENSORS:
        raise Refused(args[0])
    return _TENSORS[args[0].key](window, args[2])


def _size(window: FileWindow, args: tuple) -> tuple:
    if len(args) != 1 or not isinstance(args[0], tuple):
        raise Malformed("a torch.Size of something else than a tuple")
    return args[0]


_TENSORS: Mapping[Name, Call] = {
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _tensor_with_dtype,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
}
TORCH_CALLS: Mapping[Name, Call] = MappingProxyType(
    {
        **CALLS,
        **_TENSORS,
        ("torch._tensor", "_rebuild_from_type_v2"): _with_attributes,
        ("torch", "Size"): _size,
        ("torch", "device"): inert("torch", "device"),
        ("torch.serialization", "_get_layout"): inert("torch", "layout"),
    }
)
"""Everything that may be called in a file of `torch.save`."""
