"""The network's calls along one trajectory: halves of guidance, kept features, formats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import paddle
from paddle import Tensor

from sdbatch.guidance import Guidance
from sdbatch.networks import DenoisingNetwork
from sdbatch.shortcuts import NetworkCall


@dataclass(frozen=True)
class Reading:
    """What the network reads beside latents and timestep, a row each; None where it reads none.

    Of guided pictures the rows are double, the negative half first.

    Attributes:
        context: text states [n, tokens, width].
        pooled: pooled text [n, pooled_dim] (SDXL).
        time_ids: float32 [n, 6] (SDXL).
        guidance_scale: float32 [n], for a network that has guidance inside.
    """

    context: Tensor
    pooled: Tensor | None = None
    time_ids: Tensor | None = None
    guidance_scale: Tensor | None = None

    def conditional(self) -> Reading:
        """The second half of the rows."""
        parts = (self.context, self.pooled, self.time_ids, self.guidance_scale)
        return Reading(*(None if part is None else _second_half(part) for part in parts))


class Denoising:
    """One micro-batch's way through the network; call it once for each of `calls`.

    Latents stay float32 between steps, whatever the network's precision.

    Args:
        network: the UNet.
        calls: how each is made, in their order.
        reading: what it reads; double if `guidance` is given.
        guidance: of the pictures; None where they have none.
        channels: float32 [B, c, h, w] read beside the latents, or None.
    """

    def __init__(
        self,
        network: DenoisingNetwork,
        calls: Sequence[NetworkCall],
        reading: Reading,
        guidance: Guidance | None,
        channels: Tensor | None,
    ):
        self._network, self._guidance, self._channels = network, guidance, channels
        self._calls = iter(calls)
        self._keeps = not all(call.whole for call in calls)
        self._both = reading
        self._conditional = reading if guidance is None else reading.conditional()
        self._deep: Tensor | None = None

    def __call__(self, latents: Tensor, timestep: float) -> Tensor:
        """The network's output for latents [B, C, h, w], guided where this call is to be."""
        call = next(self._calls)
        x = latents if self._channels is None else paddle.concat([latents, self._channels], axis=1)
        x = paddle.concat([x, x]) if call.guided else x
        timesteps = paddle.full([x.shape[0]], timestep, dtype="float32")
        reading = self._both if call.guided else self._conditional
        output = self._predict(call, x.astype(self._network.dtype), timesteps, reading)
        output = output.astype("float32")
        return self._guidance.combine(*output.chunk(2)) if call.guided else output

    def _predict(self, call: NetworkCall, x: Tensor, timesteps: Tensor, r: Reading) -> Tensor:
        network, more = self._network, (r.pooled, r.time_ids, r.guidance_scale)
        if not self._keeps:
            return network(x, timesteps, r.context, *more)
        if call.whole:
            output, self._deep = network.whole(x, timesteps, r.context, *more)
            return output
        if len(self._deep) > len(x):  # guidance has ended since they were kept
            self._deep = _second_half(self._deep)
        return network.outermost(x, timesteps, r.context, self._deep, *more)


def _second_half(x: Tensor) -> Tensor:
    return x.chunk(2)[1]
