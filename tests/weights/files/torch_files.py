"""Files as `torch.save` writes them, made without PyTorch, and opcodes for those it never would."""

import io
import pickle
import struct
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from types import FunctionType

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
SYSTEM = {
    "protocol_version": 1001,
    "little_endian": True,
    "type_sizes": {"short": 2, "int": 4, "long": 4},
}
KINDS = {
    "<f8": "DoubleStorage",
    "<f4": "FloatStorage",
    "<f2": "HalfStorage",
    "<i8": "LongStorage",
    "<i4": "IntStorage",
    "<i2": "ShortStorage",
    "|i1": "CharStorage",
    "|u1": "ByteStorage",
    "|b1": "BoolStorage",
}


@dataclass(frozen=True, eq=False)
class Global:
    """Pickles as the name of something that need not exist."""

    module: str
    name: str

    def __call__(self, *args):
        raise AssertionError("never called: it only stands in pickles")


@dataclass(frozen=True, eq=False)
class Call:
    """Pickles as the result of calling a `Global`, or of calling that result again."""

    function: "Global | Call"
    args: tuple
    state: object = None

    def __call__(self, *args):
        raise AssertionError("never called: it only stands in pickles")

    def __reduce__(self):
        return self.function, self.args, self.state


@dataclass(frozen=True, eq=False)
class Storage:
    """Pickles as the id of a storage; `key` and `elements` may be anything."""

    key: object
    kind: Global
    elements: object
    content: bytes
    view: object = None


REBUILD = Global("torch._utils", "_rebuild_tensor_v2")


def storage(key: str, array: np.ndarray, kind: str = "") -> Storage:
    """The elements of an array as a storage."""
    kind = kind or KINDS[array.dtype.str]
    return Storage(key, Global("torch", kind), array.size, array.tobytes())


def view(of: Storage, offset: object, shape: object, strides: object) -> Call:
    """A tensor of given extent."""
    return Call(REBUILD, (of, offset, shape, strides, False, OrderedDict()))


def tensor(key: str, array: np.ndarray, kind: str = "") -> Call:
    """A whole tensor with a storage of its own."""
    strides = np.cumprod([1, *array.shape[:0:-1]])[::-1] if array.ndim else ()
    return view(storage(key, array, kind), 0, array.shape, tuple(map(int, strides)))


class _Pickler(pickle._Pickler):
    """Knows the stand-ins above. (The C pickler would look the names up.)"""

    def __init__(self, file, protocol: int, legacy: bool = False):
        super().__init__(file, protocol)
        self.legacy = legacy
        self.storages: dict[object, Storage] = {}
        self.texts: dict[object, object] = {}

    def persistent_id(self, obj):
        if not isinstance(obj, Storage):
            return None
        self.storages.setdefault(obj.key, obj)
        identity = ("storage", obj.kind, self._same(obj.key), self._same("cpu"), obj.elements)
        return (*identity, obj.view) if self.legacy else identity

    def _same(self, text):
        """The same object for equal strings, which is then written once."""
        return self.texts.setdefault(text, text)

    def _save_global(self, obj):
        if self.proto < 4:
            self.write(f"c{obj.module}\n{obj.name}\n".encode())
        else:
            self.save(obj.module)
            self.save(obj.name)
            self.write(b"\x93")
        self.memoize(obj)

    # Spelled out, because dill, which PaddleNLP imports, changes the base class's.
    dispatch = {  # noqa: RUF012
        type(None): pickle._Pickler.save_none,
        bool: pickle._Pickler.save_bool,
        int: pickle._Pickler.save_long,
        float: pickle._Pickler.save_float,
        bytes: pickle._Pickler.save_bytes,
        str: pickle._Pickler.save_str,
        tuple: pickle._Pickler.save_tuple,
        list: pickle._Pickler.save_list,
        dict: pickle._Pickler.save_dict,
        type: pickle._Pickler.save_type,
        FunctionType: pickle._Pickler.save_global,
        bytearray: pickle._Pickler.save_bytearray,
        pickle.PickleBuffer: pickle._Pickler.save_picklebuffer,
        Global: _save_global,
    }


def dumps(value: object, protocol: int = 2) -> bytes:
    """One pickle."""
    file = io.BytesIO()
    _Pickler(file, protocol).dump(value)
    return file.getvalue()


def legacy_file(value: object, protocol: int = 2, system: object = SYSTEM) -> bytes:
    """What `torch.save(..., _use_new_zipfile_serialization=False)` writes."""
    file = io.BytesIO()
    for part in (MAGIC, 1001, system):
        file.write(dumps(part, protocol))
    pickler = _Pickler(file, protocol, legacy=True)
    pickler.dump(value)
    file.write(dumps(sorted(pickler.storages), protocol))
    for key in sorted(pickler.storages):
        content, elements = pickler.storages[key].content, pickler.storages[key].elements
        file.write(struct.pack("<q", elements) + content)
    return file.getvalue()


def zip_members(value: object, protocol: int = 2) -> dict[str, bytes]:
    """The members that `torch.save` writes, without the archive's name."""
    file = io.BytesIO()
    pickler = _Pickler(file, protocol)
    pickler.dump(value)
    contents = {f"data/{key}": part.content for key, part in pickler.storages.items()}
    return {
        "data.pkl": file.getvalue(),
        ".format_version": b"1",
        ".storage_alignment": b"64",
        "byteorder": b"little",
        **contents,
        "version": b"3\n",
        ".data/serialization_id": b"0" * 40,
    }


def zip_file(value: object, name: str = "archive", protocol: int = 2) -> bytes:
    """What `torch.save` writes."""
    return archive({f"{name}/{k}": v for k, v in zip_members(value, protocol).items()})


def archive(
    members: dict[str, bytes] | list[tuple[str, bytes]],
    central: dict[str, int] | None = None,
    local: dict[str, int] | None = None,
) -> bytes:
    """A zip archive as PyTorch's writer makes it.

    `central` and `local` override fields of the first member's directory entry and header.
    """
    file, directory = io.BytesIO(), b""
    members = list(members.items()) if isinstance(members, dict) else members
    for number, (name, content) in enumerate(members):
        text, offset = name.encode(), file.tell()
        padding = 64 - (offset + 34 + len(text)) % 64
        extra = b"FB" + struct.pack("<H", padding) + b"Z" * padding
        fields = {"flags": 0x808, "method": 0, "packed": len(content), "size": len(content)}
        entry = {**fields, "offset": offset} | (central if central and not number else {})
        header = {**fields, "packed": 0, "size": 0} | (local if local and not number else {})
        file.write(
            struct.pack(
                "<4s5H3I2H",
                *(b"PK\3\4", 0, header["flags"], header["method"], 0, 0),
                *(0, header["packed"], header["size"], len(text), len(extra)),
            )
        )
        file.write(text + extra + content)
        crc = zlib.crc32(content)
        file.write(b"PK\7\x08" + struct.pack("<3I", crc, len(content), len(content)))
        directory += struct.pack(
            "<4s6H3I5H2I",
            *(b"PK\1\2", 0, 0, entry["flags"], entry["method"], 0, 0),
            *(crc, entry["packed"], entry["size"], len(text), 0, 0, 0, 0),
            *(0, entry["offset"]),
        )
        directory += text
    return file.getvalue() + directory + _end(len(members), len(directory), file.tell())


def _end(count: int, size: int, offset: int) -> bytes:
    """The end of the directory, in 64 bits and in 32."""
    wide = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 0x31E, 45, 0, 0, count, count, size, offset)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, offset + size, 1)
    return (
        wide
        + locator
        + struct.pack(
            "<4s4H2IH",
            *(b"PK\5\6", 0, 0, min(count, 0xFFFF), min(count, 0xFFFF)),
            *(min(size, 0xFFFFFFFF), min(offset, 0xFFFFFFFF), 0),
        )
    )


def sparse_zip(path, members: dict[str, bytes | int]) -> None:
    """An archive of which some members are only a size: zeros that take no disk.

    Written like those of PyTorch that are larger than 4 GiB.
    """
    directory = b""
    with path.open("wb") as file:
        for name, content in members.items():
            text, offset = name.encode(), file.tell()
            size = content if isinstance(content, int) else len(content)
            extra = struct.pack("<2H2Q", 1, 16, size, size)
            wide = 0xFFFFFFFF
            file.write(
                struct.pack("<4s5H3I2H", b"PK\3\4", 45, 0, 0, 0, 0, 0, wide, wide, len(text), 20)
            )
            file.write(text + extra)
            if isinstance(content, bytes):
                file.write(content)
            file.truncate(file.tell() + (content if isinstance(content, int) else 0))
            file.seek(0, 2)
            extra = struct.pack("<2H3Q", 1, 24, size, size, offset)
            entry = (b"PK\1\2", 45, 45, 0, 0, 0, 0, 0, wide, wide, len(text), 28, 0, 0, 0, 0, wide)
            directory += struct.pack("<4s6H3I5H2I", *entry) + text + extra
        offset = file.tell()
        file.write(directory + _end(len(members), len(directory), offset))
