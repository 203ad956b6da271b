"""Values kept while they fit into so many bytes: the ones unused for longest go first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class ByteCache(Generic[Value]):
    """A mapping that forgets.

    Args:
        limit: in bytes, of all values together.
        size: bytes of a value.
    """

    def __init__(self, limit: int, size: Callable[[Value], int]) -> None:
        self._limit, self._size = limit, size
        self._values: OrderedDict[Hashable, Value] = OrderedDict()
        self._used = 0

    @property
    def used(self) -> int:
        """Bytes of all values that are kept."""
        return self._used

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of a key, made where it is not there, and kept unless it alone is too large."""
        if key in self._values:
            self._values.move_to_end(key)
            return self._values[key]
        value = make()
        size = self._size(value)
        if size <= self._limit:
            self._values[key] = value
            self._used += size
            while self._used > self._limit:
                _, forgotten = self._values.popitem(last=False)
                self._used -= self._size(forgotten)
        return value
