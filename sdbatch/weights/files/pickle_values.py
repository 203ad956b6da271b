"""What the pickle interpreter builds instead of objects, and the calls that it knows.

Nothing here imports or calls anything that a file names: a call is looked up by its name in a
table, and what stands in the table is a function of this module.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from sdbatch.weights.files.file_window import FileWindow, Malformed, shown

Call = Callable[[FileWindow, tuple], object]
Name = tuple[str, str]
"""Module and qualified name."""


class Refused(Malformed):
    """The file wants something done that is not among the known calls."""

    def __init__(self, what: object):
        super().__init__(
            f"refused: the file asks to call {what}; only tensors and plain values are read"
        )


@dataclass(frozen=True, slots=True)
class FileBytes:
    """Bytes that were left where they are.

    Attributes:
        start, stop: their place in the file.
        as_text: they stand there as Latin-1 text in UTF-8.
    """

    start: int
    stop: int
    as_text: bool = False


class Text(str):
    """A short string that knows its place: protocol 2 and Python 2 write bytes as strings."""

    __slots__ = ("as_text", "start", "stop")

    @property
    def place(self) -> FileBytes:
        """Where it stands in the file."""
        return FileBytes(self.start, self.stop, self.as_text)


@dataclass(frozen=True, slots=True)
class Placeholder:
    """A class or function that was named and not looked up.

    Attributes:
        module, name: as the file says.
        made: an object of that class, its state discarded, rather than the class itself.
    """

    module: str
    name: str
    made: bool = False

    def __str__(self) -> str:
        return shown(f"{self.module}.{self.name}")

    @property
    def key(self) -> Name:
        """What calls are looked up by: the name that Python 3 and NumPy 1 use."""
        return _MODERN.get(self.module, self.module), self.name


def as_key(window: FileWindow, value: object) -> object:
    """A dictionary key whose hash and comparison are cheap, whatever the file says.

    Tuples become text, because hashing nested ones can take for ever. Integers beyond 64 bits are
    refused, because any number of them could share one hash.

    Raises:
        Malformed: it is something else than a plain value.
    """
    if isinstance(value, tuple) and len(value) <= 8 and all(map(_is_simple, value)):
        value = f"({', '.join(map(str, value))})"
        window.charge(sys.getsizeof(value))
    if not _is_simple(value):
        raise Malformed(f"{_kind(value)} as a dictionary key")
    return value


def _is_simple(value: object) -> bool:
    if type(value) is int:
        return abs(value) <= sys.maxsize
    return value is None or isinstance(value, (str, float, bool, Placeholder))


def _kind(value: object) -> str:
    return f"a large {type(value).__name__}" if type(value) is int else type(value).__name__


def dictionary(window: FileWindow, args: tuple) -> dict:
    """OrderedDict() or OrderedDict(pairs), and what behaves like it."""
    if not args:
        return {}
    if len(args) != 1 or not isinstance(args[0], (list, tuple, dict)):
        raise Malformed("a dictionary made of something else than pairs")
    pairs = args[0].items() if isinstance(args[0], dict) else args[0]
    window.charge(200 + 150 * len(pairs))  # the same list may be copied again and again
    found = {}
    for pair in pairs:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise Malformed("a dictionary made of something else than pairs")
        found[as_key(window, pair[0])] = pair[1]
    return found


def _default_dictionary(window: FileWindow, args: tuple) -> dict:
    return dictionary(window, args[1:])


def _tuple(window: FileWindow, args: tuple) -> tuple:
    if len(args) != 1 or not isinstance(args[0], (list, tuple)):
        raise Malformed("a tuple made of something else than a sequence")
    window.charge(60 + 8 * len(args[0]))
    return tuple(args[0])


def _bytes(window: FileWindow, args: tuple) -> FileBytes:
    """bytes() is how protocol 2 writes no bytes; bytearray comes with what it copies."""
    if not args:
        return FileBytes(0, 0)
    return args[0] if isinstance(args[0], FileBytes) else _encode(window, args)


def _encode(window: FileWindow, args: tuple) -> FileBytes:
    """`_codecs.encode(text, "latin1")`, protocol 2's way of writing bytes."""
    if len(args) != 2 or args[1] not in ("latin1", "latin-1"):
        raise Malformed("text encoded as something else than latin1")
    if isinstance(args[0], Text):
        return args[0].place
    if not (isinstance(args[0], FileBytes) and args[0].as_text):
        raise Malformed("something else than text, encoded")
    return args[0]


def inert(module: str, name: str) -> Call:
    """A call whose result nobody needs."""

    def call(window: FileWindow, args: tuple) -> Placeholder:
        return Placeholder(module, name, made=True)

    return call


def _old_object(window: FileWindow, args: tuple) -> Placeholder:
    """`copyreg._reconstructor(cls, base, state)`, the NEWOBJ of protocols 0 and 1."""
    if not args or not isinstance(args[0], Placeholder):
        raise Malformed("an object of no class")
    return Placeholder(args[0].module, args[0].name, made=True)


_MODERN = {
    "__builtin__": "builtins",
    "copy_reg": "copyreg",
    "numpy._core.multiarray": "numpy.core.multiarray",
    "numpy._core.numeric": "numpy.core.numeric",
    "pathlib._local": "pathlib",
}
_INERT = {
    "builtins": ("set", "frozenset", "complex", "slice", "range"),
    "datetime": ("date", "datetime", "time", "timedelta", "timezone"),
    "pathlib": ("Path", "PosixPath", "PurePath", "PurePosixPath", "PureWindowsPath", "WindowsPath"),
}
DICTIONARIES: Mapping[Name, Call] = MappingProxyType(
    {
        ("builtins", "dict"): dictionary,
        ("collections", "Counter"): dictionary,
        ("collections", "OrderedDict"): dictionary,
        ("collections", "defaultdict"): _default_dictionary,
    }
)
MADE_AS_DICTIONARIES = frozenset({*DICTIONARIES, ("torch.nn.modules.container", "ParameterDict")})
"""Classes of which a new object is a dictionary; that of PyTorch has its items in its state."""
PLAIN_CALLS: Mapping[Name, Call] = MappingProxyType(
    {
        **DICTIONARIES,
        **{(module, name): inert(module, name) for module in _INERT for name in _INERT[module]},
        ("builtins", "bytearray"): _bytes,
        ("builtins", "bytes"): _bytes,
        ("builtins", "tuple"): _tuple,
        ("_codecs", "encode"): _encode,
        ("copyreg", "_reconstructor"): _old_object,
    }
)
"""What files of tensors call beside tensors and NumPy (`pickled_numpy`), by Python 3's names."""
