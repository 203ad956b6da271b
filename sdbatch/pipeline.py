"""Text to pixels for one micro-batch: text encoder, sampler loop, VAE. No files, no processes.

Every picture is a function of its own request alone: its noise comes from its own generator, and
no operation mixes rows of the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import paddle
from paddle import Tensor

from sdbatch.models.text import TextEncoder
from sdbatch.models.unet import UNet
from sdbatch.models.vae import VAE
from sdbatch.noise import TorchGenerator
from sdbatch.request import ImageRequest
from sdbatch.samplers import NoiseSchedule, Solver


@dataclass(frozen=True)
class Pipeline:
    """The networks of one checkpoint, filled and on their device, and how to sample them."""

    text_encoder: TextEncoder
    unet: UNet
    vae: VAE
    schedule: NoiseSchedule
    solver: Solver

    @paddle.no_grad()
    def generate(self, requests: Sequence[ImageRequest]) -> np.ndarray:
        """Make the pictures of one micro-batch.

        Args:
            requests: at least one, all with the same `batch_key`.

        Returns:
            float32 [batch, height, width, 3] in 0..1; not finite where the networks overflowed.
        """
        if len({request.batch_key for request in requests}) != 1:
            raise ValueError(
                "requests of one micro-batch must have one size, step count and guidance"
            )
        first = requests[0]
        shape = self._latent_shape(first)
        generators = [TorchGenerator(request.seed) for request in requests]

        def draw() -> Tensor:
            return paddle.to_tensor(np.stack([g.randn(shape) for g in generators]))

        latents = self.solver(self._denoiser(requests), draw(), self.schedule, first.steps, draw)
        return self._decode(latents)

    def _latent_shape(self, request: ImageRequest) -> tuple[int, int, int]:
        scale = self.vae.config.downscale
        channels = self.vae.config.latent_channels
        return channels, request.height // scale, request.width // scale

    def _denoiser(self, requests: Sequence[ImageRequest]):
        """`denoise(latents, timestep)` with classifier-free guidance (arXiv 2207.12598).

        Latents stay float32 between steps, whatever the network's precision.
        """
        dtype = self.unet.conv_in.weight.dtype
        guided = requests[0].guided
        texts = [r.prompt for r in requests]
        if guided:
            texts = [r.negative_prompt for r in requests] + texts
        context = self._encode(texts).astype(dtype)
        scale = paddle.to_tensor([r.guidance_scale for r in requests], dtype="float32")
        scale = scale.reshape([-1, 1, 1, 1])

        def denoise(latents: Tensor, timestep: int) -> Tensor:
            x = paddle.concat([latents, latents]) if guided else latents
            timesteps = paddle.full([x.shape[0]], timestep, dtype="float32")
            output = self.unet(x.astype(dtype), timesteps, context).astype("float32")
            if not guided:
                return output
            unconditional, conditional = output.chunk(2)
            return unconditional + scale * (conditional - unconditional)

        return denoise

    def _encode(self, texts: Sequence[str]) -> Tensor:
        """Text states [len(texts), tokens, width]; each distinct text is encoded once."""
        distinct = sorted(set(texts))
        states = self.text_encoder.encode(distinct)
        return states[paddle.to_tensor([distinct.index(text) for text in texts])]

    def _decode(self, latents: Tensor) -> np.ndarray:
        """One picture at a time, so that memory does not grow with the batch."""
        latents = (latents / self.vae.config.scaling_factor).astype(
            self.vae.decoder.conv_in.weight.dtype
        )
        pictures = [self.vae.decode(one).astype("float32") for one in latents.split(len(latents))]
        pixels = paddle.concat(pictures).transpose([0, 2, 3, 1]).numpy()
        return np.clip(pixels / 2 + 0.5, 0, 1)
