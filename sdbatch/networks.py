"""The networks as the pipeline calls them, however they are executed.

A bare `UNet` or `VAE` layer is such a network too; `sdbatch.engine.load` puts what its engine
compiled into these.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import paddle
from paddle import Tensor

from sdbatch.models.config import UNetConfig, VAEConfig


@dataclass(frozen=True)
class DenoisingNetwork:
    """A UNet ready to be called; the functions take and give what `UNet`'s methods do."""

    config: UNetConfig
    dtype: paddle.dtype
    predict: Callable[..., Tensor]
    whole: Callable[..., tuple[Tensor, Tensor]]
    outermost: Callable[..., Tensor]

    def __call__(self, *arguments: Tensor | None) -> Tensor:
        """As `UNet.forward`."""
        return self.predict(*arguments)


@dataclass(frozen=True)
class Autoencoder:
    """A VAE ready to be called; `encode` and `decode` take and give what `VAE`'s methods do."""

    config: VAEConfig
    dtype: paddle.dtype
    encode: Callable[[Tensor], tuple[Tensor, Tensor]]
    decode: Callable[[Tensor], Tensor]
