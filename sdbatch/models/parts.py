"""Where a network may be cut, so that each of its parts is executed on its own.

A network names its parts as it calls them, `part(self.mid_block)(x)`; who executes it decides
whether that means anything (`sdbatch.engine.execution`). By default it does not.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from paddle import Tensor

Call = Callable[..., Tensor | tuple[Tensor, ...]]

_cut: Callable[[Call], Call] | None = None


def part(call: Call) -> Call:
    """A layer, or a method of one, that may be executed on its own: whatever takes its place.

    It must take and give tensors [batch, ...] alone, and no two of its results may be the same.
    """
    return call if _cut is None else _cut(call)


@contextlib.contextmanager
def cutting(cut: Callable[[Call], Call] | None) -> Iterator[None]:
    """Within the context, each part is replaced by `cut(part)`; by itself where that is None."""
    global _cut
    before, _cut = _cut, cut
    try:
        yield
    finally:
        _cut = before
