"""A Paddle layer recorded as a program whose weights are inputs.

A program that holds no weights takes a second to make and 2 MB on disk whatever the network's size,
serves every checkpoint of the same shape, and lets weights be held once: the predictor reads the
very memory that the layer's parameters lie in, which can be the checkpoint's memory map.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paddle
from paddle import Tensor, nn

Outputs = Tensor | tuple[Tensor, ...]

RECORDING = threading.RLock()
"""Held while a program is recorded, and by threads beside the device's while they run layers.

A thread that first comes to Paddle while another one records keeps that one's mode for good, and
whatever it calls with tensors then fails. So none may come at that time.
"""


@dataclass(frozen=True)
class InputSpec:
    """One tensor that a network is called with: `shape` without the batch, and Paddle's dtype."""

    shape: tuple[int, ...]
    dtype: str

    @classmethod
    def of(cls, tensor: Tensor) -> InputSpec:
        """The spec of a tensor [batch, ...]."""
        return cls(tuple(tensor.shape[1:]), dtype_name(tensor))


def dtype_name(tensor: Tensor) -> str:
    """E.g. `float32`."""
    return str(tensor.dtype).rpartition(".")[2]


def weights_of(layer: nn.Layer) -> dict[str, Tensor]:
    """Every parameter and buffer, by the name that it has as an input of the program."""
    return {name: holder[key] for name, holder, key in _places(layer)}


def trace(
    layer: nn.Layer,
    call: Callable[..., Outputs],
    inputs: Sequence[InputSpec | None],
    stem: Path,
) -> Path:
    """Record `call(*inputs)` with any batch size, and save the program.

    Args:
        layer: whose weights become inputs; it is unchanged afterwards.
        call: calls the layer, or a method of it.
        inputs: specs of the arguments; None where an argument is None.
        stem: the file's path without its suffix.

    Returns:
        The file: `.json` from Paddle 3, `.pdmodel` from 2.6. Its inputs are named `input_0`,
        `input_1` (by position), and as in `weights_of`.
    """
    with _static_mode():
        main = paddle.static.Program()
        with paddle.static.program_guard(main, paddle.static.Program()):
            arguments = [spec and _declared(i, spec) for i, spec in enumerate(inputs)]
            with _weights_as_inputs(layer) as weights:
                outputs = call(*arguments)
            fetches = list(outputs) if isinstance(outputs, tuple) else [outputs]
            given = [argument for argument in arguments if argument is not None] + weights
            used = _used_names(main, fetches)
            feeds = [value for value in given if value.name in used]
            executor = paddle.static.Executor(paddle.CPUPlace())
            # It insists on writing parameters, of which there are none.
            paddle.static.save_inference_model(str(stem), feeds, fetches, executor, program=main)
    return next(path for s in (".json", ".pdmodel") if (path := stem.with_suffix(s)).exists())


@contextlib.contextmanager
def _static_mode() -> Iterator[None]:
    with RECORDING:
        paddle.enable_static()
        try:
            yield
        finally:
            paddle.disable_static()


def input_name(position: int) -> str:
    """Of an argument, by its position."""
    return f"input_{position}"


def _declared(position: int, spec: InputSpec) -> Any:
    return paddle.static.data(input_name(position), [-1, *spec.shape], spec.dtype)


def _places(layer: nn.Layer) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Where each weight is kept: (name, dictionary, key)."""
    for prefix, part in layer.named_sublayers(include_self=True):
        for holder in (part._parameters, part._buffers):
            for key, value in holder.items():
                if value is not None:
                    yield (f"{prefix}.{key}" if prefix else key), holder, key


@contextlib.contextmanager
def _weights_as_inputs(layer: nn.Layer) -> Iterator[list[Any]]:
    """Within the context, the layer's weights are inputs of the program being recorded."""
    places = [(holder, key, holder[key]) for _, holder, key in list(_places(layer))]
    names = [name for name, _, _ in _places(layer)]
    declared = []
    try:
        for name, (holder, key, value) in zip(names, places, strict=True):
            holder[key] = paddle.static.data(name, list(value.shape), dtype_name(value))
            declared.append(holder[key])
        yield declared
    finally:
        for holder, key, value in places:
            holder[key] = value


def _used_names(program: Any, fetches: Sequence[Any]) -> set[str]:
    """The names of the inputs that the results depend on; Paddle 3 wants to be given no others."""
    if hasattr(fetches[0], "get_defining_op"):
        return _used_names_pir(fetches)
    used = {value.name for value in fetches}
    for operation in reversed(program.global_block().ops):
        if used.intersection(operation.output_arg_names):
            used.update(operation.input_arg_names)
    return used


def _used_names_pir(fetches: Sequence[Any]) -> set[str]:
    names, seen, waiting = set(), set(), [value.get_defining_op() for value in fetches]
    while waiting:
        operation = waiting.pop()
        if operation.id() in seen:
            continue
        seen.add(operation.id())
        if operation.name() == "pd_op.data":
            names.add(operation.result(0).name)
        sources = (value for value in operation.operands_source() if value.initialized())
        waiting.extend(source.get_defining_op() for source in sources)
    return names
