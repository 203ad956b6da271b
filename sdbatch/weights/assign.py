"""Which tensor of a source becomes which weight of a Paddle layer: all of them, each once.

One generator serves loading and conversion. Run on stand-ins that have a shape and no memory, it
accounts for a whole checkpoint before anything is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import paddle
from paddle import nn

from sdbatch.errors import UserError, one_line
from sdbatch.models.layers import Linear
from sdbatch.weights.maps import KeyMap, Layout, Patch, same, unchanged

_BATCH_NORMS = (nn.BatchNorm, nn.BatchNorm1D, nn.BatchNorm2D, nn.BatchNorm3D)
_BATCH_NORM_NAMES = {"running_mean": "_mean", "running_var": "_variance"}


@dataclass(frozen=True)
class Assignment:
    """One weight of the layer and what it gets.

    Attributes:
        key: the tensor's key in the source, as its layout writes it.
        target: the weight's name in the layer.
        array: the values as PyTorch orders them: linear weights [out, in].
        linear: whether it is the weight of a linear layer.
    """

    key: str
    target: str
    array: np.ndarray
    linear: bool


@dataclass(frozen=True)
class Targets:
    """The weights of a layer by name, and what follows from the type of the layer that owns them.

    Attributes:
        tensors: parameters, and the buffers that are saved.
        linear: weights of linear layers.
        in_out: those of them that Paddle keeps [in, out].
        names: PyTorch's name -> Paddle's, where they differ: running statistics of batch norms.
        counters: what PyTorch stores beside them and nobody reads.
    """

    tensors: dict[str, paddle.Tensor]
    linear: frozenset[str]
    in_out: frozenset[str]
    names: dict[str, str]
    counters: frozenset[str]

    @classmethod
    def of(cls, layer: nn.Layer) -> Targets:
        """Everything that a state dict of the layer holds."""
        linear, in_out, names, counters = set(), set(), {}, set()
        for prefix, sublayer in layer.named_sublayers(include_self=True):
            inside = f"{prefix}." if prefix else ""
            if isinstance(sublayer, (nn.Linear, Linear)):
                linear.add(f"{inside}weight")
            if isinstance(sublayer, nn.Linear):
                in_out.add(f"{inside}weight")
            if isinstance(sublayer, _BATCH_NORMS):
                names |= {inside + old: inside + new for old, new in _BATCH_NORM_NAMES.items()}
                counters.add(f"{inside}num_batches_tracked")
        return cls(
            tensors=dict(layer.state_dict()),
            linear=frozenset(linear),
            in_out=frozenset(in_out),
            names=names,
            counters=frozenset(counters),
        )

    def shape(self, name: str) -> list[int]:
        """The weight's shape as PyTorch orders it."""
        shape = list(self.tensors[name].shape)
        return shape[::-1] if name in self.in_out else shape


def assigned(
    targets: Targets,
    tensors: Iterable[tuple[str, np.ndarray]],
    layout: Layout,
    to_layer: KeyMap = same,
    *,
    source: str,
    patch: Patch = unchanged,
) -> Iterator[Assignment]:
    """Every weight of the layer with its value, in the source's order.

    Args:
        targets: of the layer.
        tensors: (source key, array) pairs, read lazily.
        layout: how the source names them.
        to_layer: from diffusers' names to the layer's.
        source: how errors name the part of the checkpoint, usually a path.
        patch: applied to every tensor once it has diffusers' name and PyTorch's orientation.

    Raises:
        UserError: a key nobody uses, a weight nobody sets, one set twice, or a wrong shape. A
            missing weight shows only at the end.
    """
    done: dict[str, str] = {}
    for key, array in tensors:
        if layout.why_dropped(key):
            continue
        for name, value in layout.rename(key, array):
            for given, moved in to_layer(name, value):
                target = targets.names.get(given, given)
                if target in targets.counters:
                    continue
                if target not in targets.tensors:
                    raise UserError(
                        f"{source}: {one_line(key)}: unexpected key, no such weight in this model"
                    )
                if target in done:
                    raise UserError(
                        f"{source}: {key} and {done[target]} are both the weight {target}"
                    )
                linear = target in targets.linear
                if layout.linear_in_out and linear and moved.ndim == 2:
                    moved = moved.T
                moved = patch(name, _as_kind(moved, targets.shape(target), linear))
                if list(moved.shape) != targets.shape(target):
                    raise UserError(
                        f"{source}: {key}: expected shape {targets.shape(target)}, "
                        f"found {list(moved.shape)}"
                    )
                done[target] = key
                yield Assignment(key, target, moved, linear)
    missing = sorted(targets.tensors.keys() - done.keys())
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UserError(f"{source}: missing key: {missing[0]}{more} not in the checkpoint")


def _as_kind(array: np.ndarray, shape: list[int], linear: bool) -> np.ndarray:
    """A 1x1 convolution and a linear layer are the same matrix, stored as either."""
    if linear and array.ndim == 4 and array.shape[2:] == (1, 1):
        return array.reshape(array.shape[:2])
    if array.ndim == 2 and shape[2:] == [1, 1]:
        return array.reshape(*array.shape, 1, 1)
    return array
