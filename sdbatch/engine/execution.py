"""How the networks are executed: called as they are, by `to_static`, or by Paddle Inference.

Whoever calls a network does not see which: `Execution.compile` makes a function with the same
arguments and results.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import paddle
from paddle import Tensor, nn

from sdbatch.engine.cache import ProgramCache
from sdbatch.engine.device import Device
from sdbatch.engine.memory import available_memory
from sdbatch.engine.options import EngineOptions, PredictorOptions
from sdbatch.engine.pages import forget_file_pages, return_freed_memory
from sdbatch.engine.predictor import Predictor
from sdbatch.engine.sources import source_digest
from sdbatch.engine.tracing import RECORDING, InputSpec, Outputs, dtype_name, trace, weights_of
from sdbatch.models.attention import attention_kernels
from sdbatch.models.kernels import BY_PRODUCTS, AttentionKernels
from sdbatch.models.parts import cutting

Call = Callable[..., Outputs]


@dataclass(frozen=True)
class Compilable:
    """A network, and the way of calling it that shall be fast.

    Attributes:
        name: e.g. `unet`; for errors and the cache.
        layer: whose weights are read.
        call: the layer itself, one of its methods, or a function of it; takes and gives tensors
            [batch, ...].
        describes: all that, with the weights' shapes, decides the layer's program; as JSON.
        files: whose pages can be let go once they were read: those that the layer's memory is a
            map of, or more.
        in_parts: whether the call names parts (`sdbatch.models.parts`) and does nothing else that
            takes long.
        seldom: called once for many calls of another network: nothing of it stays between calls.
        bears_bf16: whether bfloat16 on a CPU may be used for it; else it is in float32 there.
    """

    name: str
    layer: nn.Layer
    call: Call
    describes: Mapping[str, Any]
    files: Collection[Path] = ()
    in_parts: bool = False
    seldom: bool = False
    bears_bf16: bool = False


class Execution(Protocol):
    """A way of executing networks."""

    def compile(self, network: Compilable) -> Call:
        """`network.call`, faster. Compilation may wait for the first call with new shapes."""


@dataclass(frozen=True)
class Dygraph:
    """Layers called operation by operation."""

    kernels: AttentionKernels = BY_PRODUCTS

    def compile(self, network: Compilable) -> Call:
        """The call itself, with its attention kernels."""

        def call(*arguments: Tensor | None) -> Outputs:
            with attention_kernels(self.kernels):
                return network.call(*arguments)

        return call


@dataclass(frozen=True)
class Static:
    """Layers as programs in memory, by `paddle.jit.to_static`; with CINN where asked for."""

    kernels: AttentionKernels = BY_PRODUCTS
    cinn: bool = False

    def compile(self, network: Compilable) -> Call:
        """A program for each set of shapes, made at the first call with them."""

        backend = "CINN" if self.cinn else None
        compiled = paddle.jit.to_static(network.call, full_graph=True, backend=backend)
        recorded = set()

        def call(*arguments: Tensor | None, alive: nn.Layer = network.layer) -> Outputs:
            # `compiled` itself does not keep the layer alive.
            shapes = tuple(a if a is None else (*a.shape, a.dtype) for a in arguments)
            records = contextlib.nullcontext() if shapes in recorded else RECORDING
            with attention_kernels(self.kernels), records:
                outputs = compiled(*arguments)
            recorded.add(shapes)
            return outputs

        return call


@dataclass(frozen=True)
class Inference:
    """Layers as programs on disk, run by Paddle Inference.

    Attributes:
        options: of the predictor.
        cache: of programs.
        kernels: for attention.
    """

    options: PredictorOptions
    cache: ProgramCache
    kernels: AttentionKernels = BY_PRODUCTS

    def compile(self, network: Compilable) -> Call:
        """Programs for any batch size, one for each set of the other sizes."""
        return _Network(network, self)

    def key(self, network: Compilable, inputs: Sequence[InputSpec | None]) -> dict[str, Any]:
        """All that a program depends on. Weights are not part of it, only their shapes are."""
        return {
            "network": network.name,
            "describes": network.describes,
            "inputs": [spec and [list(spec.shape), spec.dtype] for spec in inputs],
            "weights": {
                name: [list(tensor.shape), dtype_name(tensor)]
                for name, tensor in weights_of(network.layer).items()
            },
            "attention": vars(self.kernels),
            "device": self.options.device.partition(":")[0],
            "paddle": [paddle.__version__, paddle.version.commit],
            "sdbatch": source_digest(),
        }


ROW_BY_ROW_BYTES = 512 << 20
"""Of a network's weights, from where on a CPU takes one row of a batch after the other.

oneDNN keeps convolutions' weights anew for each batch size (2.4 GB of SD 1.5's), and two rows at
once are no faster than one after the other from 64x64 cells on (docs/performance.md).
"""

FRUGAL_BYTES = 128 << 20
"""Of a network's weights, from where on a CPU spares memory at the cost of a few milliseconds.

oneDNN keeps each convolution's input as it reordered it: 4 GB of SD 1.5's decoder at 512x512.
"""


class _Network:
    """A network as one program or one for each part, its rows at once or one after the other."""

    def __init__(self, network: Compilable, execution: Inference):
        self._network, self._execution = network, execution
        self._weights = weights_of(network.layer)
        self._bytes = sum(int(t.numel()) * t.element_size() for t in self._weights.values())
        on_cpu = execution.options.device == "cpu"
        frugal = on_cpu and self._bytes >= FRUGAL_BYTES
        self._row_by_row = on_cpu and self._bytes >= ROW_BY_ROW_BYTES
        self._in_parts = frugal and network.in_parts
        self._transient = frugal and network.seldom
        self._names = {
            id(layer): name for name, layer in network.layer.named_sublayers(include_self=True)
        }
        self._programs: dict[str, _Programs] = {}

    def __call__(self, *arguments: Tensor | None) -> Outputs:
        if self._transient:
            forget_file_pages(self._network.files)
            return_freed_memory()
        if not self._row_by_row or len(arguments[0]) == 1:
            return self._rows(*arguments)
        rows = [
            self._rows(*(None if a is None else a[i : i + 1] for a in arguments))
            for i in range(len(arguments[0]))
        ]
        if isinstance(rows[0], Tensor):
            return paddle.concat(rows)
        return tuple(map(paddle.concat, zip(*rows, strict=True)))

    def _rows(self, *arguments: Tensor | None) -> Outputs:
        if not self._in_parts:
            return self._run("", self._network.call, arguments)
        with cutting(self._part):
            return self._network.call(*arguments)

    def _part(self, call: Call) -> Call:
        layer = call if isinstance(call, nn.Layer) else call.__self__
        function = "forward" if call is layer else call.__name__
        name = f"{self._names[id(layer)]}.{function}"
        return lambda *arguments: self._run(name, call, arguments)

    def _run(self, name: str, call: Call, arguments: Sequence[Tensor | None]) -> Outputs:
        if name not in self._programs:
            # The layer stays the whole network, for Paddle tells convolutions of one shape apart
            # by their weights' names, whatever program they are in.
            network = replace(self._network, name=f"{self._network.name}.{name}", call=call)
            self._programs[name] = _Programs(
                network, self._execution, self._weights, self._bytes, keep=not self._transient
            )
        outputs = self._programs[name].run(arguments)
        if self._transient and outputs[0].numel() > arguments[0].numel():
            # What comes is larger than the gaps that were left. Not after every part: to clear the
            # pages anew takes as long as half of the computation.
            return_freed_memory()
        return outputs if len(outputs) > 1 else outputs[0]


@dataclass
class _Programs:
    """One call's predictors by the shapes of their inputs; those unused for longest go first.

    Attributes:
        network, execution: see there.
        weights: of the network's layer.
        size: of the weights, in bytes.
        keep: whether predictors outlive the call that they were made for.
    """

    network: Compilable
    execution: Inference
    weights: Mapping[str, Tensor]
    size: int
    keep: bool
    _predictors: OrderedDict[tuple[InputSpec | None, ...], Predictor] = field(
        default_factory=OrderedDict, init=False
    )

    def run(self, arguments: Sequence[Tensor | None]) -> tuple[Tensor, ...]:
        specs = tuple(None if a is None else InputSpec.of(a) for a in arguments)
        if specs in self._predictors:
            self._predictors.move_to_end(specs)
            return self._predictors[specs].run(arguments)
        # A predictor keeps its own copy of the convolutions' weights.
        while self._predictors and available_memory() < 2 * self.size:
            self._predictors.popitem(last=False)
        predictor = self._make(specs)
        if self.keep:
            self._predictors[specs] = predictor
        outputs = predictor.run(arguments)
        # It has copied what it needs often, so the pages that it read need not stay.
        forget_file_pages(self.network.files)
        return outputs

    def _make(self, specs: tuple[InputSpec | None, ...]) -> Predictor:
        network, execution = self.network, self.execution

        def make(folder: Path) -> Path:
            with attention_kernels(execution.kernels), cutting(None):
                return trace(network.layer, network.call, specs, folder / "program")

        program = execution.cache.get(execution.key(network, specs), make)
        bf16 = execution.options.bf16 and network.bears_bf16
        return Predictor(program, self.weights, replace(execution.options, bf16=bf16))


def make_execution(options: EngineOptions, device: Device) -> Execution:
    """The way of executing that the options name, on a device that this process has entered."""
    if options.name == "dygraph":
        return Dygraph(options.kernels)
    if options.name == "static":
        return Static(options.kernels, options.cinn)
    predictor = PredictorOptions(
        device="cpu" if device.name == "cpu" else "gpu:0",
        threads=device.threads,
        bf16=device.name == "cpu" and device.precision == "bf16",
        deleted_passes=options.deleted_passes,
        optimization_level=options.optimization_level,
        tensorrt=options.tensorrt,
    )
    cache = ProgramCache(options.cache, options.cache_bytes)
    return Inference(predictor, cache, options.kernels)
