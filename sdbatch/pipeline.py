"""Text to pixels for one micro-batch: text encoder, sampler loop, VAE. No files, no processes.

Every picture is a function of its own request alone: its noise comes from its own generator, and
no operation mixes rows of the batch.
"""

from __future__ import annotations

import gc
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import paddle
from paddle import Tensor

from sdbatch.denoising import Denoising, Reading
from sdbatch.guidance import Guidance
from sdbatch.networks import Autoencoder, DenoisingNetwork
from sdbatch.noise import NOISE_SOURCES
from sdbatch.request import NO_INPUTS, ImageInputs, ImageRequest
from sdbatch.samplers import Sampler
from sdbatch.shortcuts import NO_SHORTCUTS, Shortcuts
from sdbatch.start import start
from sdbatch.stopwatch import Stopwatch
from sdbatch.text import ReadPrompt
from sdbatch.text.encoder import PromptEncoder
from sdbatch.tiling import decode_in_tiles


@dataclass(frozen=True)
class Pipeline:
    """The networks of one checkpoint, filled and on their device, and how to sample them.

    `noise` names where random numbers come from, a key of `NOISE_SOURCES`. `shortcuts` are what is
    left out of the network's calls; tokens are merged by the `unet` itself, which was made for it.
    Pictures with a side of more than `vae_tile` pixels are decoded in tiles of that size.
    """

    prompts: PromptEncoder
    unet: DenoisingNetwork
    vae: Autoencoder
    sampler: Sampler
    noise: str = "torch_cpu"
    shortcuts: Shortcuts = NO_SHORTCUTS
    vae_tile: int | None = None

    def read(self, prompt: str) -> ReadPrompt:
        """How long a prompt is for this model's tokenizer, and what of it is cut off."""
        return self.prompts.read(prompt)

    def expect(self, requests: Sequence[ImageRequest]) -> None:
        """Get ready for the texts of these requests, all at once."""
        self.prompts.expect(text for r in requests for text in (r.text, r.negative_text))

    def batch_key(self, request: ImageRequest) -> Hashable:
        """Requests whose keys are equal can be made together."""
        return (request.batch_key, self._chunks(request))

    @paddle.no_grad()
    def generate(
        self,
        requests: Sequence[ImageRequest],
        inputs: Sequence[ImageInputs] = (),
        watch: Stopwatch | None = None,
    ) -> np.ndarray:
        """Make the pictures of one micro-batch.

        Args:
            requests: at least one, all with the same `batch_key`.
            inputs: the pixels they name, one entry each; may be left out where none names any.
            watch: told the stages `text`, `denoise` and `decode`, and each sampling step.

        Returns:
            float32 [batch, height, width, 3] in 0..1; not finite where the networks overflowed.
        """
        if len({self.batch_key(request) for request in requests}) != 1:
            raise ValueError(
                "requests of one micro-batch must have one size, step count, strength, length of "
                "text and kind, and all guidance or none"
            )
        watch = watch or Stopwatch()
        with watch.stage("text"):
            reading = self._reading(requests)
            self._wait()
        with watch.stage("denoise"):
            latents = self._sample(requests, inputs, reading, watch)
            self._wait()
        with watch.stage("decode"):
            return self._decode(latents)

    def release(self) -> None:
        """Give memory back to the device after a batch that was too large for it."""
        gc.collect()
        if self._on_gpu:
            paddle.device.cuda.empty_cache()

    @property
    def peak_device_bytes(self) -> int | None:
        """The most memory that was in use on a GPU; None on a CPU."""
        return paddle.device.cuda.max_memory_allocated() if self._on_gpu else None

    @property
    def _on_gpu(self) -> bool:
        return paddle.device.get_device().startswith("gpu")

    def _wait(self) -> None:
        """Let a GPU finish, once a stage and never between steps, so that its time is its own."""
        if self._on_gpu:
            paddle.device.cuda.synchronize()

    def _sample(
        self,
        requests: Sequence[ImageRequest],
        inputs: Sequence[ImageInputs],
        reading: Reading,
        watch: Stopwatch,
    ) -> Tensor:
        """The latents of finished pictures, float32 [batch, channels, height, width]."""
        first = requests[0]
        shape = self._latent_shape(first)
        generators = [NOISE_SOURCES[self.noise](request.seed) for request in requests]

        def draw() -> Tensor:
            return paddle.to_tensor(np.stack([g.randn(shape) for g in generators]))

        trajectory, guided = self.sampler.trajectory(first.steps), self._guided(first)
        begin = start(
            self.vae,
            trajectory,
            requests,
            inputs or [NO_INPUTS] * len(requests),
            draw,
            reads_mask=self.unet.config.in_channels != self.unet.config.out_channels,
        )
        denoise = Denoising(
            self.unet,
            self.shortcuts.calls(len(trajectory.timesteps), begin.first_call, guided=guided),
            reading,
            Guidance.of(requests) if guided else None,
            begin.channels,
        )

        def step(latents: Tensor, timestep: float) -> Tensor:
            watch.tick()
            return denoise(latents, timestep)

        return self.sampler.run(
            step,
            begin.latents,
            first.steps,
            draw,
            first_call=begin.first_call,
            between=begin.between,
        )

    def _latent_shape(self, request: ImageRequest) -> tuple[int, int, int]:
        scale = self.vae.config.downscale
        channels = self.vae.config.latent_channels
        return channels, request.height // scale, request.width // scale

    @property
    def _guidance_inside(self) -> bool:
        """The network was distilled with guidance inside (LCM): it is told the scale."""
        return self.unet.config.time_cond_proj_dim is not None

    def _guided(self, request: ImageRequest) -> bool:
        """Whether the network is called for both halves of guidance."""
        return request.guided and not self._guidance_inside

    def _chunks(self, request: ImageRequest) -> int:
        """How many chunks of text states the network reads: both halves of guidance alike."""
        texts = [request.text]
        if self._guided(request):
            texts.append(request.negative_text)
        return max(self.prompts.read(text).chunks for text in texts)

    def _reading(self, requests: Sequence[ImageRequest]) -> Reading:
        """What the network reads beside latents, negative halves first where guided."""
        dtype, chunks = self.unet.dtype, self._chunks(requests[0])
        halves = [self.prompts.encode([r.text for r in requests], chunks)]
        if self._guided(requests[0]):
            negative = [r.negative_text for r in requests]
            halves.insert(0, self.prompts.encode(negative, chunks, negative=True))
        pooled = time_ids = scale = None
        if self.unet.config.addition_time_embed_dim is not None:
            pooled = paddle.concat([half.pooled for half in halves]).astype(dtype)
            sizes = [request.size_hints.time_ids for request in requests] * len(halves)
            time_ids = paddle.to_tensor(sizes, dtype="float32")
        if self._guidance_inside:
            scale = paddle.to_tensor([r.guidance_scale for r in requests], dtype="float32")
        context = paddle.concat([half.states for half in halves]).astype(dtype)
        return Reading(context, pooled, time_ids, scale)

    def _decode(self, latents: Tensor) -> np.ndarray:
        """One picture at a time, so that memory does not grow with the batch."""
        latents = (latents / self.vae.config.scaling_factor).astype(self.vae.dtype)
        pictures = [self._picture(one) for one in latents.split(len(latents))]
        pixels = paddle.concat(pictures).transpose([0, 2, 3, 1]).numpy()
        return np.clip(pixels / 2 + 0.5, 0, 1)

    def _picture(self, latents: Tensor) -> Tensor:
        """Latents [1, C, h, w] -> float32 pixels [1, 3, H, W]."""
        scale = self.vae.config.downscale
        if self.vae_tile is None or scale * max(latents.shape[2:]) <= self.vae_tile:
            return self.vae.decode(latents).astype("float32")
        return decode_in_tiles(self.vae.decode, latents, self.vae_tile // scale, scale)
