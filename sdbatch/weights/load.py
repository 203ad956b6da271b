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

from sdbatch.errors import UserError
from sdbatch.weights.maps import KeyMap


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
    key_map: KeyMap,
    *,
    source: str,
) -> None:
    """Set every parameter of `layer` from `tensors`, each exactly once, on the current device.

    Weights of `nn.Linear` are [out, in] in PyTorch and [in, out] in Paddle: which tensors are
    transposed is decided by the type of the layer that owns the parameter, because square ones
    would fit either way. (Our own `Linear` keeps PyTorch's order; PaddleNLP's encoders do not.)

    Args:
        layer: made by `build`.
        tensors: (source key, array) pairs, read lazily.
        key_map: from source keys to parameter names.
        source: how errors name the checkpoint part, usually a path.

    Raises:
        UserError: a key nobody uses, a parameter nobody sets, one set twice, or a wrong shape.
    """
    parameters = dict(layer.named_parameters())
    transposed = _linear_weights(layer)
    done: dict[str, str] = {}
    for key, array in tensors:
        for name, value in key_map(key, array):
            if name not in parameters:
                raise UserError(f"{source}: {key}: unexpected key, no such weight in this model")
            if name in done:
                raise UserError(f"{source}: {key} and {done[name]} are both the weight {name}")
            _set(parameters[name], value, name in transposed, f"{source}: {key}")
            done[name] = key
    missing = sorted(parameters.keys() - done.keys())
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UserError(f"{source}: missing key: {missing[0]}{more} not in the checkpoint")


def _linear_weights(layer: nn.Layer) -> set[str]:
    return {
        f"{name}.weight".lstrip(".")
        for name, sublayer in layer.named_sublayers(include_self=True)
        if isinstance(sublayer, nn.Linear)
    }


def _set(parameter: paddle.Tensor, array: np.ndarray, transpose: bool, where: str) -> None:
    expected = list(parameter.shape)[::-1] if transpose else list(parameter.shape)
    if list(array.shape) != expected:
        raise UserError(f"{where}: expected shape {expected}, found {list(array.shape)}")
    tensor = _to_tensor(_rounded(array, parameter.dtype))
    if transpose:
        tensor = tensor.t().contiguous()
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
        bits = array.astype(np.float32).view(np.uint32)
        bits += 0x7FFF + ((bits >> 16) & 1)  # to even where two are as near
        bits &= 0xFFFF0000
        return bits.view(np.float32)
    return array


def _to_tensor(array: np.ndarray) -> paddle.Tensor:
    """A CPU tensor over the array's memory (Paddle 3) or a copy of it (Paddle 2.6)."""
    if array.size == 0 or not array.flags.writeable:
        return paddle.to_tensor(array, place=paddle.CPUPlace())
    if paddle.__version__.startswith("2."):
        return paddle.utils.dlpack.from_dlpack(array.__dlpack__())
    return paddle.utils.dlpack.from_dlpack(array)
