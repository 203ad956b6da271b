"""Where sampling starts: pure noise, a noised picture, or a picture with a part to be painted anew.

Random numbers are drawn in the order of diffusers' pipelines `pipeline_stable_diffusion.py`,
`..._img2img.py` and `..._inpaint.py`, so that the same seed starts from the same latents.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import paddle
from paddle import Tensor

from sdbatch.networks import Autoencoder
from sdbatch.request import ImageInputs, ImageRequest
from sdbatch.samplers import Draw, Trajectory


@dataclass(frozen=True)
class Start:
    """What a sampler is given.

    Attributes:
        latents: float32 [B, C, h, w] at the noise of network call `first_call`.
        first_call: index into the trajectory's timesteps.
        between: what is done to latents after each network call (blending by a mask), or None.
        channels: float32 [B, 1 + C, h, w] that an inpainting network reads beside the latents: mask
            and masked picture; or None.
    """

    latents: Tensor
    first_call: int = 0
    between: Callable[[Tensor, int], Tensor] | None = None
    channels: Tensor | None = None


def start(
    vae: Autoencoder,
    trajectory: Trajectory,
    requests: Sequence[ImageRequest],
    inputs: Sequence[ImageInputs],
    draw: Draw,
    *,
    reads_mask: bool,
) -> Start:
    """Where a micro-batch starts.

    Args:
        vae: brings pictures into latent space.
        trajectory: of the sampler, for the requests' step count.
        requests: with one `batch_key`.
        inputs: their pictures and masks.
        draw: the next noise [B, C, h, w] of every picture's own stream.
        reads_mask: the network has channels for mask and masked picture (9-channel inpainting).
    """
    strength = requests[0].strength
    if strength is None:
        return Start(trajectory.initial(draw()))
    first_call = trajectory.first_call(strength)
    pictures = paddle.to_tensor(np.stack([one.init for one in inputs]))
    if inputs[0].mask is None:
        clean = encode(vae, pictures, draw)
        return Start(trajectory.noised(clean, draw(), first_call), first_call)

    mask = np.stack([one.mask for one in inputs])
    kept_part = pictures * paddle.to_tensor(1 - mask)
    # As diffusers' nearest-neighbour interpolation: the first pixel of each latent cell decides.
    small = paddle.to_tensor(mask[:, :, :: vae.config.downscale, :: vae.config.downscale])
    pure = strength == 1
    clean = None if reads_mask and pure else encode(vae, pictures, draw)
    noise = draw()
    latents = trajectory.initial(noise) if pure else trajectory.noised(clean, noise, first_call)
    # diffusers encodes the masked picture for both kinds of networks: a draw before later ones.
    kept = encode(vae, kept_part, draw)
    if reads_mask:
        return Start(latents, first_call, channels=paddle.concat([small, kept], axis=1))

    def blend(x: Tensor, call: int) -> Tensor:
        return (1 - small) * trajectory.noised(clean, noise, call + 1) + small * x

    return Start(latents, first_call, between=blend)


def encode(vae: Autoencoder, pictures: Tensor, draw: Draw) -> Tensor:
    """A sample of the latents of pictures [B, 3, H, W] in -1..1: float32 [B, C, h, w], scaled.

    One picture at a time, so that memory does not grow with the batch.
    """
    dtype = vae.dtype
    moments = [vae.encode(one.astype(dtype)) for one in pictures.split(len(pictures))]
    mean, log_variance = (
        paddle.concat(part).astype("float32") for part in zip(*moments, strict=True)
    )
    return vae.config.scaling_factor * (mean + paddle.exp(0.5 * log_variance) * draw())
