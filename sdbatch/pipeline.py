"""Text to pixels for one micro-batch: text encoder, sampler loop, VAE. No files, no processes.

Every picture is a function of its own request alone: its noise comes from its own generator, and
no operation mixes rows of the batch.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import paddle
from paddle import Tensor

from sdbatch.guidance import Guidance
from sdbatch.models.unet import UNet
from sdbatch.models.vae import VAE
from sdbatch.noise import NOISE_SOURCES
from sdbatch.request import NO_INPUTS, ImageInputs, ImageRequest
from sdbatch.samplers import Sampler
from sdbatch.start import start
from sdbatch.stopwatch import Stopwatch
from sdbatch.text import ReadPrompt
from sdbatch.text.encoder import PromptEncoder

Conditioning = tuple[Tensor, Tensor | None, Tensor | None]


@dataclass(frozen=True)
class Pipeline:
    """The networks of one checkpoint, filled and on their device, and how to sample them.

    `noise` names where random numbers come from, a key of `NOISE_SOURCES`.
    """

    prompts: PromptEncoder
    unet: UNet
    vae: VAE
    sampler: Sampler
    noise: str = "torch_cpu"

    def read(self, prompt: str) -> ReadPrompt:
        """How long a prompt is for this model's tokenizer, and what of it is cut off."""
        return self.prompts.read(prompt)

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
            conditioning = self._conditioning(requests)
            self._wait()
        with watch.stage("denoise"):
            latents = self._sample(requests, inputs, conditioning, watch)
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
        return self.unet.conv_in.weight.place.is_gpu_place()

    def _wait(self) -> None:
        """Let a GPU finish, once a stage and never between steps, so that its time is its own."""
        if self._on_gpu:
            paddle.device.cuda.synchronize()

    def _sample(
        self,
        requests: Sequence[ImageRequest],
        inputs: Sequence[ImageInputs],
        conditioning: Conditioning,
        watch: Stopwatch,
    ) -> Tensor:
        """The latents of finished pictures, float32 [batch, channels, height, width]."""
        first = requests[0]
        shape = self._latent_shape(first)
        generators = [NOISE_SOURCES[self.noise](request.seed) for request in requests]

        def draw() -> Tensor:
            return paddle.to_tensor(np.stack([g.randn(shape) for g in generators]))

        begin = start(
            self.vae,
            self.sampler.trajectory(first.steps),
            requests,
            inputs or [NO_INPUTS] * len(requests),
            draw,
            reads_mask=self.unet.config.in_channels != self.unet.config.out_channels,
        )
        denoise = self._denoiser(requests, conditioning, begin.channels)

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
        texts = [request.prompt]
        if self._guided(request):
            texts.append(request.negative_prompt)
        return max(self.prompts.read(text).chunks for text in texts)

    def _denoiser(
        self,
        requests: Sequence[ImageRequest],
        conditioning: Conditioning,
        channels: Tensor | None,
    ) -> Callable[[Tensor, float], Tensor]:
        """`denoise(latents, timestep)`, guided; `channels` are read beside the latents.

        Latents stay float32 between steps, whatever the network's precision.
        """
        dtype = self.unet.conv_in.weight.dtype
        guidance = Guidance.of(requests) if self._guided(requests[0]) else None
        inside = None
        if self._guidance_inside:
            inside = paddle.to_tensor([r.guidance_scale for r in requests], dtype="float32")
        context, pooled, time_ids = conditioning

        def denoise(latents: Tensor, timestep: float) -> Tensor:
            x = latents if channels is None else paddle.concat([latents, channels], axis=1)
            x = x if guidance is None else paddle.concat([x, x])
            timesteps = paddle.full([x.shape[0]], timestep, dtype="float32")
            output = self.unet(x.astype(dtype), timesteps, context, pooled, time_ids, inside)
            output = output.astype("float32")
            return output if guidance is None else guidance.combine(*output.chunk(2))

        return denoise

    def _conditioning(self, requests: Sequence[ImageRequest]) -> Conditioning:
        """Text states, pooled text and size numbers, negative halves first where guided.

        Returns:
            [n, tokens, width]; for SDXL [n, pooled_dim] and [n, 6], else None.
        """
        dtype, chunks = self.unet.conv_in.weight.dtype, self._chunks(requests[0])
        halves = [self.prompts.encode([r.prompt for r in requests], chunks)]
        if self._guided(requests[0]):
            negative = [r.negative_prompt for r in requests]
            halves.insert(0, self.prompts.encode(negative, chunks, negative=True))
        context = paddle.concat([half.states for half in halves]).astype(dtype)
        if self.unet.add_embedding is None:
            return context, None, None
        pooled = paddle.concat([half.pooled for half in halves]).astype(dtype)
        sizes = [request.size_hints.time_ids for request in requests] * len(halves)
        return context, pooled, paddle.to_tensor(sizes, dtype="float32")

    def _decode(self, latents: Tensor) -> np.ndarray:
        """One picture at a time, so that memory does not grow with the batch."""
        latents = (latents / self.vae.config.scaling_factor).astype(
            self.vae.decoder.conv_in.weight.dtype
        )
        pictures = [self.vae.decode(one).astype("float32") for one in latents.split(len(latents))]
        pixels = paddle.concat(pictures).transpose([0, 2, 3, 1]).numpy()
        return np.clip(pixels / 2 + 0.5, 0, 1)
