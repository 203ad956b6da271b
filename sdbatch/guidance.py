"""Classifier-free guidance (Ho and Salimans 2022, arXiv 2207.12598): both halves in one batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import paddle
from paddle import Tensor

from sdbatch.request import ImageRequest


@dataclass(frozen=True)
class Guidance:
    """How far each picture of a batch is moved from its negative prompt towards its prompt.

    Attributes:
        scale: float32 [B, 1, 1, 1].
        rescale: float32 [B, 1, 1, 1] in 0..1, or None where no picture asks for it.
    """

    scale: Tensor
    rescale: Tensor | None

    @classmethod
    def of(cls, requests: Sequence[ImageRequest]) -> Guidance:
        """The guidance of one micro-batch, each picture with its own numbers."""
        rescale = [request.guidance_rescale for request in requests]
        return cls(
            _per_picture([request.guidance_scale for request in requests]),
            _per_picture(rescale) if any(rescale) else None,
        )

    def combine(self, unconditional: Tensor, conditional: Tensor) -> Tensor:
        """The guided output, from two float32 outputs [B, C, H, W]."""
        guided = unconditional + self.scale * (conditional - unconditional)
        if self.rescale is None:
            return guided
        # Guidance widens the output's spread, which overexposes: Lin et al. 2023, arXiv 2305.08891,
        # section 3.4; diffusers `rescale_noise_cfg`.
        spread = [x.std(axis=[1, 2, 3], keepdim=True) for x in (conditional, guided)]
        return self.rescale * guided * (spread[0] / spread[1]) + (1 - self.rescale) * guided


def _per_picture(values: Sequence[float]) -> Tensor:
    return paddle.to_tensor(list(values), dtype="float32").reshape([-1, 1, 1, 1])
