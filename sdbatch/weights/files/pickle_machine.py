"""The stack machine that runs a pickle's opcodes, and the memory that its objects are charged."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from sdbatch.weights.files.file_window import Cursor, FileWindow, Malformed
from sdbatch.weights.files.pickle_values import (
    MADE_AS_DICTIONARIES,
    Call,
    Name,
    Placeholder,
    Refused,
    as_key,
)
from sdbatch.weights.files.pickled_numpy import Array, NumpyType

# Bytes, measured on CPython 3.10 to 3.12 and rounded up.
STEP = 40
"""Any opcode: it may push a number."""
OBJECT = 200
"""An object of a class of ours, text without its characters."""
_TUPLE, _LIST, _DICTIONARY, _ITEM, _MEMO = 56, 88, 280, 60, 80

# Making nothing of them would be safe as well, but nobody should trust a file that names them.
_HARMFUL = ("nt", "os", "posix", "subprocess", "sys")


class Machine:
    """The stack, the marks, the memo, and what several opcodes do with them.

    All methods raise `Malformed` where the stack does not hold what they need.
    """

    def __init__(
        self,
        window: FileWindow,
        cursor: Cursor,
        calls: Mapping[Name, Call],
        persistent: Callable[[object], object] | None,
    ):
        self.window = window
        self.cursor = cursor
        self.memo: dict[int, object] = {}
        self._calls = calls
        self._persistent = persistent
        self._stack: list = []
        self._below: list[list] = []  # the stack as it was at each mark

    def push(self, value: object, size: int = 0) -> None:
        """Put a value on the stack that takes so much memory beside its opcode's."""
        if size:
            self.window.charge(size)
        self._stack.append(value)

    def push_tuple(self, items: list) -> None:
        """Put a tuple on the stack."""
        self.push(tuple(items), _TUPLE + 8 * len(items))

    def push_list(self, items: list) -> None:
        """Put a list on the stack; it is taken over."""
        self.push(items, _LIST + 16 * len(items))

    def push_dictionary(self) -> None:
        """Put an empty dictionary on the stack."""
        self.push({}, _DICTIONARY)

    def top(self) -> Any:
        """The last value, which stays."""
        if not self._stack:
            raise Malformed("nothing on the stack")
        return self._stack[-1]

    def pop(self) -> Any:
        """The last value, taken off."""
        value = self.top()
        del self._stack[-1]
        return value

    def mark(self) -> None:
        """Begin a sequence of any length."""
        self.window.charge(_LIST)
        self._below.append(self._stack)
        self._stack = []

    def pop_to_mark(self) -> list:
        """Everything since the last mark, which goes too."""
        if not self._below:
            raise Malformed("no mark on the stack")
        items, self._stack = self._stack, self._below.pop()
        return items

    def drop(self) -> None:
        """Forget the last value, or the last mark."""
        if self._stack:
            del self._stack[-1]
        else:
            self.pop_to_mark()

    def remember(self, index: int) -> None:
        """Put the last value into the memo too."""
        self.window.charge(_MEMO)
        self.memo[index] = self.top()

    def recall(self, index: int) -> None:
        """Put a value of the memo on the stack."""
        if index not in self.memo:
            raise Malformed(f"nothing is remembered as {index}")
        self._stack.append(self.memo[index])

    def integer(self, size: int) -> int:
        """The next bytes as an unsigned number."""
        return int.from_bytes(self.cursor.take(size), "little")

    def index(self) -> int:
        """The next line as an index into the memo."""
        line = self.cursor.line()
        if not re.fullmatch(rb"[0-9]{1,10}", line):
            raise Malformed("a memo index that is no number")
        return int(line)

    def extend(self, items: list) -> None:
        """Append items to the list on the stack."""
        target = self.top()
        if _is_opaque(target):
            return
        if not isinstance(target, list):
            raise Malformed(f"items for {type(target).__name__}; expected a list")
        self.window.charge(16 * len(items))
        target.extend(items)

    def set_items(self, items: list) -> None:
        """Put keys and values, alternating, into the dictionary on the stack."""
        target = self.top()
        if _is_opaque(target):
            return
        if not isinstance(target, dict) or len(items) % 2:
            raise Malformed(f"{len(items)} keys and values for {type(target).__name__}")
        self.window.charge(_ITEM * (len(items) // 2))
        for i in range(0, len(items), 2):
            target[as_key(self.window, items[i])] = items[i + 1]

    def add_members(self) -> None:
        """Discard the members of a set since the last mark."""
        self.pop_to_mark()
        if not _is_opaque(self.top()):
            raise Malformed(f"members for {type(self.top()).__name__}; expected a set")

    def call(self, function: object, args: object) -> None:
        """Push what the table has for a call.

        Raises:
            Refused: it has nothing.
        """
        if not isinstance(args, tuple):
            raise Malformed(f"a call with {type(args).__name__} for its arguments")
        if not isinstance(function, Placeholder):
            raise Refused(f"a value of type {type(function).__name__}")
        if function.made:
            raise Refused(f"an object of {function}")
        if function.key not in self._calls:
            raise Refused(function)
        self.push(self._calls[function.key](self.window, args), OBJECT)

    def make(self, cls: object, args: object) -> None:
        """Push what stands for a new object of a class, whatever its arguments.

        Raises:
            Refused: no checkpoint has objects of that class.
        """
        if not isinstance(cls, Placeholder) or cls.made or not isinstance(args, tuple):
            raise Malformed(f"a new object of {type(cls).__name__}; expected a class")
        if cls.module.partition(".")[0] in _HARMFUL:
            raise Refused(cls)
        known = cls.key in MADE_AS_DICTIONARIES
        self.push({} if known else Placeholder(cls.module, cls.name, made=True), OBJECT)

    def build(self) -> None:
        """Give the object on the stack its state, or discard the state."""
        state, target = self.pop(), self.top()
        if isinstance(target, (Array, NumpyType)):
            target.build(state)
        elif isinstance(target, dict):
            items = state.get("_parameters") if isinstance(state, dict) else None
            if isinstance(items, dict):  # a ParameterDict's; other attributes matter to nobody
                self.window.charge(_DICTIONARY + _ITEM * len(items))
                target.update(items)
        elif not _is_opaque(target):
            raise Malformed(f"a state for {type(target).__name__}")

    def fetch(self) -> None:
        """Replace the id on the stack by the object that it stands for."""
        identity = self.pop()
        if self._persistent is None:
            raise Malformed("an object kept outside the pickle; expected none")
        self.push(self._persistent(identity), OBJECT)


def _is_opaque(target: object) -> bool:
    """An object of an unknown class takes everything and keeps nothing."""
    return isinstance(target, Placeholder) and target.made
