"""Build a Paddle layer and fill it with a checkpoint's tensors, strictly.

Nothing is initialised at random first (`paddle.LazyGuard`), and one tensor is in flight at a time.
Where the file's dtype is the layer's and the layer stays on the CPU, the parameter is the memory
map itself: no copy is made, and processes that load the same file share its pages. (Paddle 2.6
copies.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import paddle
from paddle import nn

from sdbatch.weights.assign import Targets, assigned
from sdbatch.weights.files.tensor_file import widened
from sdbatch.weights.maps import KeyMap, Layout, Patch, same, unchanged


def build(factory: Callable[[], nn.Layer], dtype: str) -> nn.Layer:
    """Make a layer of `dtype` whose parameters have shapes but no values yet.

    The layer is in evaluation mode and wants no gradients; `fill` must follow before it is used.
    """
    before = paddle.get_default_dtype()
    paddle.set_default_dtype(dtype)
    try:
        with paddle.LazyGuard():
            layer = factory()
    finally:
        paddle.set_default_dtype(before)
    layer.eval()
    for parameter in layer.parameters():
        parameter.stop_gradient = True
    return layer


def fill(
    layer: nn.Layer,
    tensors: Iterable[tuple[str, np.ndarray]],
    layout: Layout,
    to_layer: KeyMap = same,
    *,
    source: str,
    patch: Patch = unchanged,
) -> None:
    """Set every weight of `layer`, each exactly once, on the current device.

    Weights of `nn.Linear` are [out, in] in PyTorch and [in, out] in Paddle: which tensors are
    transposed is decided by the type of the layer that owns the parameter, because square ones
    would fit either way. (Our own `Linear` keeps PyTorch's order; PaddleNLP's encoders do not.)

    Args:
        layer: made by `build`.
        tensors, layout, to_layer, source, patch: as for `assign.assigned`, whose errors come from
            here too.
    """
    targets = Targets.of(layer)
    for assignment in assigned(targets, tensors, layout, to_layer, source=source, patch=patch):
        array = assignment.array
        if assignment.target in targets.in_out:
            array = array.T
        _set(targets.tensors[assignment.target], array)


def _set(parameter: paddle.Tensor, array: np.ndarray) -> None:
    tensor = _to_tensor(np.ascontiguousarray(_rounded(array, parameter.dtype)))
    if tensor.dtype != parameter.dtype:
        tensor = tensor.astype(parameter.dtype)
    device = paddle.device.get_device()
    if device != "cpu":
        tensor = tensor.cuda(int(device.partition(":")[2] or 0))
    tensor._share_buffer_to(parameter)


def _rounded(array: np.ndarray, dtype: paddle.dtype) -> np.ndarray:
    """The values that `dtype` can hold, each the nearest: Paddle 2.6 on a CPU would round down."""
    if dtype == paddle.float16:
        return array.astype(np.float16, copy=False)
    if dtype == paddle.bfloat16:
        return widened(bfloat16_bits(array))
    return array


def bfloat16_bits(array: np.ndarray) -> np.ndarray:
    """The nearest bfloat16 values, to even where two are as near, as their 16 bits."""
    values = array.astype(np.float32)
    nan = np.isnan(values)  # which the sum would carry over into other values
    bits = values.view(np.uint32)
    bits += 0x7FFF + ((bits >> 16) & 1)
    found = (bits >> 16).astype(np.uint16)
    found[nan] = 0x7FC0
    return found


def _to_tensor(array: np.ndarray) -> paddle.Tensor:
    """A CPU tensor over the array's memory (Paddle 3) or a copy of it (Paddle 2.6)."""
    if array.size == 0 or not array.flags.writeable or not array.flags.aligned:
        return paddle.to_tensor(array, place=paddle.CPUPlace())
    if paddle.__version__.startswith("2."):
        return paddle.utils.dlpack.from_dlpack(array.__dlpack__())
    return paddle.utils.dlpack.from_dlpack(array)
