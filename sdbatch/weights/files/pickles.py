"""Read a pickle without unpickling it: an interpreter of its opcodes that builds plain values.

A pickle is a program for a small stack machine. Here it can make numbers, text, tuples, lists and
dictionaries, and what the calls of a given table make of those. A class or function that it names
is never looked up: it becomes a `Placeholder`, and calling one that is not in the table is an
error. Bytes and long strings stay in the file.

`pickle_machine` is the stack machine, `pickle_opcodes` what its opcodes do, `pickle_values` and
`pickled_numpy` are what comes out. Opcodes: CPython's Lib/pickletools.py. Compare PyTorch's own
torch/_weights_only_unpickler.py, which makes the same distinction but real objects.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from sdbatch.weights.files.file_window import Cursor, FileWindow, Malformed, TooMuch
from sdbatch.weights.files.pickle_machine import STEP, Machine
from sdbatch.weights.files.pickle_opcodes import ACTIONS
from sdbatch.weights.files.pickle_values import PLAIN_CALLS, Call, Name, Refused
from sdbatch.weights.files.pickled_numpy import NUMPY_CALLS

CALLS: Mapping[Name, Call] = MappingProxyType({**PLAIN_CALLS, **NUMPY_CALLS})
"""Everything that may be called in any file, by Python 3's and NumPy 1's names."""


def read_pickle(
    window: FileWindow,
    position: int,
    stop: int,
    calls: Mapping[Name, Call] = CALLS,
    persistent: Callable[[object], object] | None = None,
) -> tuple[Any, int]:
    """The value of the pickle at `position`, and where it ends.

    Args:
        window: the file.
        position: the pickle's first byte.
        stop: where it must have ended.
        calls: what stands for the functions and classes that may be called.
        persistent: what stands for objects kept outside the pickle, by their ids.

    Raises:
        Malformed: it is damaged, refers to something that is not there, takes too much memory, or
            asks to call something that is not in `calls`.
    """
    machine = Machine(window, Cursor(window, position, stop), calls, persistent)
    opcode = b""
    try:
        while (opcode := machine.cursor.take(1)) != b".":
            window.charge(STEP)
            action = ACTIONS.get(opcode)
            if action is None:
                raise Malformed("unknown opcode")
            action(machine)
        return machine.pop(), machine.cursor.position
    except (Refused, TooMuch):
        raise
    except Malformed as error:
        where = f"opcode 0x{opcode.hex()} before byte {machine.cursor.position}"
        raise Malformed(f"malformed pickle: {error} ({where})") from error
