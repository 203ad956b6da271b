"""What each opcode of a pickle does to the machine."""

from __future__ import annotations

import codecs
import re
import struct
import warnings
from collections.abc import Callable, Mapping
from types import MappingProxyType

from sdbatch.weights.files.file_window import Malformed, shown
from sdbatch.weights.files.pickle_machine import OBJECT, Machine
from sdbatch.weights.files.pickle_values import FileBytes, Placeholder, Refused, Text

SHORT = 1 << 10
"""Strings of up to this many bytes are read, longer ones stay in the file."""
_MAX_INTEGER = 32  # bytes; the states of NumPy's random generators have 16

Action = Callable[[Machine], None]


def _packed(layout: str) -> Action:
    """Push a number of fixed size."""
    size, unpack = struct.calcsize(layout), struct.Struct(layout).unpack
    return lambda m: m.push(unpack(m.cursor.take(size))[0])


def _sized(size: int, push: Callable[[Machine, int], None]) -> Action:
    """Push what follows its own length, which takes `size` bytes."""
    return lambda m: push(m, m.integer(size))


def _long(m: Machine, count: int) -> None:
    if count > _MAX_INTEGER:
        raise Malformed(f"an integer of {count} bytes")
    m.push(int.from_bytes(m.cursor.take(count), "little", signed=True))


def _bytes(m: Machine, count: int) -> None:
    m.push(FileBytes(*m.cursor.skip(count)), OBJECT)


def _text(m: Machine, count: int) -> None:
    _string(m, count, "utf-8")


def _old_text(m: Machine, count: int) -> None:
    """Python 2's strings, which may be bytes just as well."""
    _string(m, count, "latin-1")


def _string(m: Machine, count: int, encoding: str) -> None:
    start, as_text = m.cursor.position, encoding == "utf-8"
    if count > SHORT:
        m.push(FileBytes(*m.cursor.skip(count), as_text), OBJECT)
        return
    try:
        text = Text(m.cursor.take(count), encoding)
    except UnicodeError as error:
        raise Malformed("text that is not UTF-8") from error
    text.start, text.stop, text.as_text = start, start + count, as_text
    m.push(text, OBJECT + 4 * count)


def _line(read: Callable[[bytes], object]) -> Action:
    """Push what stands there as a line, in protocol 0."""

    def action(m: Machine) -> None:
        line = m.cursor.line()
        try:
            m.push(read(line), OBJECT + 4 * len(line))
        except ValueError as error:
            raise Malformed(f"a malformed line: {shown(line.decode('latin-1'))}") from error

    return action


def _read_integer(line: bytes) -> int | bool:
    if line in (b"00", b"01"):
        return line == b"01"
    if not re.fullmatch(rb"[+-]?[0-9]{1,70}L?", line):
        raise ValueError
    return int(line.rstrip(b"L"))


def _read_string(line: bytes) -> str:
    if len(line) < 2 or line[:1] not in (b"'", b'"') or line[:1] != line[-1:]:
        raise ValueError
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes that are none
        return codecs.escape_decode(line[1:-1])[0].decode("latin-1")


def _read_unicode(line: bytes) -> str:
    text = line.decode("raw-unicode-escape")
    text.encode()  # refuses halves of surrogate pairs, which could never be printed
    return text


def _tuple(count: int) -> Action:
    return lambda m: m.push_tuple([m.pop() for _ in range(count)][::-1])


def _dictionary_to_mark(m: Machine) -> None:
    items = m.pop_to_mark()
    m.push_dictionary()
    m.set_items(items)


def _set_item(m: Machine) -> None:
    value, key = m.pop(), m.pop()
    m.set_items([key, value])


def _empty_set(m: Machine) -> None:
    m.push(Placeholder("builtins", "set", made=True), OBJECT)


def _frozen_set(m: Machine) -> None:
    m.pop_to_mark()
    m.push(Placeholder("builtins", "frozenset", made=True), OBJECT)


def _drop_to_mark(m: Machine) -> None:
    m.pop_to_mark()


def _name(m: Machine, module: str, name: str) -> Placeholder:
    m.window.charge(OBJECT + 4 * (len(module) + len(name)))
    return Placeholder(str(module), str(name))


def _name_in_lines(m: Machine) -> Placeholder:
    try:
        return _name(m, m.cursor.line().decode(), m.cursor.line().decode())
    except UnicodeError as error:
        raise Malformed("a name that is not UTF-8") from error


def _global(m: Machine) -> None:
    m.push(_name_in_lines(m))


def _global_on_stack(m: Machine) -> None:
    name, module = m.pop(), m.pop()
    if not isinstance(module, str) or not isinstance(name, str):
        raise Malformed(f"a name of {type(module).__name__} and {type(name).__name__}")
    m.push(_name(m, module, name))


def _reduce(m: Machine) -> None:
    args, function = m.pop(), m.pop()
    m.call(function, args)


def _instance(m: Machine) -> None:
    function = _name_in_lines(m)
    m.call(function, tuple(m.pop_to_mark()))


def _object(m: Machine) -> None:
    items = m.pop_to_mark()
    if not items:
        raise Malformed("an object of no class")
    m.call(items[0], tuple(items[1:]))


def _new(m: Machine) -> None:
    args, cls = m.pop(), m.pop()
    m.make(cls, args)


def _new_with_keywords(m: Machine) -> None:
    m.pop()
    _new(m)


def _protocol(m: Machine) -> None:
    if (protocol := m.integer(1)) > 5:
        raise Malformed(f"protocol {protocol}; expected at most 5")


def _frame(m: Machine) -> None:
    """Frames say how far to read ahead, which matters to nobody here."""
    m.cursor.skip(8)


def _extension(m: Machine) -> None:
    raise Refused("what is registered as an extension")


def _elsewhere(m: Machine) -> None:
    raise Malformed("a reference to something outside the file")


ACTIONS: Mapping[bytes, Action] = MappingProxyType(
    {
        # Plain values.
        b"N": lambda m: m.push(None),
        b"\x88": lambda m: m.push(True),
        b"\x89": lambda m: m.push(False),
        b"K": _packed("<B"),
        b"M": _packed("<H"),
        b"J": _packed("<i"),
        b"G": _packed(">d"),
        b"\x8a": _sized(1, _long),
        b"\x8b": _sized(4, _long),
        b"C": _sized(1, _bytes),
        b"B": _sized(4, _bytes),
        b"\x8e": _sized(8, _bytes),
        b"\x96": _sized(8, _bytes),
        b"\x8c": _sized(1, _text),
        b"X": _sized(4, _text),
        b"\x8d": _sized(8, _text),
        b"U": _sized(1, _old_text),
        b"T": _sized(4, _old_text),
        b"I": _line(_read_integer),
        b"L": _line(_read_integer),
        b"F": _line(float),
        b"S": _line(_read_string),
        b"V": _line(_read_unicode),
        # Containers.
        b")": lambda m: m.push(()),
        b"\x85": _tuple(1),
        b"\x86": _tuple(2),
        b"\x87": _tuple(3),
        b"t": lambda m: m.push_tuple(m.pop_to_mark()),
        b"]": lambda m: m.push_list([]),
        b"l": lambda m: m.push_list(m.pop_to_mark()),
        b"a": lambda m: m.extend([m.pop()]),
        b"e": lambda m: m.extend(m.pop_to_mark()),
        b"}": lambda m: m.push_dictionary(),
        b"d": _dictionary_to_mark,
        b"s": _set_item,
        b"u": lambda m: m.set_items(m.pop_to_mark()),
        b"\x8f": _empty_set,
        b"\x90": lambda m: m.add_members(),
        b"\x91": _frozen_set,
        # Stack and memo.
        b"0": lambda m: m.drop(),
        b"1": _drop_to_mark,
        b"2": lambda m: m.push(m.top()),
        b"(": lambda m: m.mark(),
        b"p": lambda m: m.remember(m.index()),
        b"q": lambda m: m.remember(m.integer(1)),
        b"r": lambda m: m.remember(m.integer(4)),
        b"\x94": lambda m: m.remember(len(m.memo)),
        b"g": lambda m: m.recall(m.index()),
        b"h": lambda m: m.recall(m.integer(1)),
        b"j": lambda m: m.recall(m.integer(4)),
        # Names and objects.
        b"c": _global,
        b"\x93": _global_on_stack,
        b"R": _reduce,
        b"i": _instance,
        b"o": _object,
        b"\x81": _new,
        b"\x92": _new_with_keywords,
        b"b": lambda m: m.build(),
        b"Q": lambda m: m.fetch(),
        # The stream itself.
        b"\x80": _protocol,
        b"\x95": _frame,
        # What no file of tensors has: extensions, and references that only a program could follow.
        b"\x82": _extension,
        b"\x83": _extension,
        b"\x84": _extension,
        b"P": _elsewhere,
        b"\x97": _elsewhere,
        b"\x98": _elsewhere,
    }
)
"""Opcodes as CPython's Lib/pickle.py has them; STOP is the reader's."""
