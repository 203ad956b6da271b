"""Train the VAE: python -m tools.train_demo.train_vae --minutes 16."""

from __future__ import annotations

import argparse
import os
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL

from .networks import build_vae, describe, pictures_to_tensor, tensor_to_picture
from .schedule import TimeBudget, set_learning_rate
from .world import PICTURE_SIZE, render, sample_scene

PEAK_RATE = 1.5e-3
WARMUP_STEPS = 100
KL_WEIGHT = 1e-3
CROP_SIZE = 64
# Crops are cheap, so most of the time goes to them; the mid-block attention and the corners
# still have to see whole pictures, so the last quarter trains on those.
CROP_SHARE = 0.75


def sample_batch(rng: random.Random, count: int, crop: int = PICTURE_SIZE) -> torch.Tensor:
    """Draw random scenes, each cut to a random square: float32 [count, 3, crop, crop]."""
    pictures = []
    for _ in range(count):
        pixels = np.asarray(render(sample_scene(rng), rng))
        if crop < PICTURE_SIZE:
            top = rng.randrange(PICTURE_SIZE - crop + 1)
            left = rng.randrange(PICTURE_SIZE - crop + 1)
            pixels = pixels[top : top + crop, left : left + crop]
        pictures.append(pixels)
    return pictures_to_tensor(pictures)


def losses(vae: AutoencoderKL, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Reconstruction error and KL divergence per latent value, both scalars."""
    posterior = vae.encode(pictures).latent_dist
    latents = posterior.sample()
    decoded = vae.decode(latents).sample
    error = F.l1_loss(decoded, pictures) + 0.5 * F.mse_loss(decoded, pictures)
    return error, posterior.kl().mean() / latents[0].numel()


def train(vae: AutoencoderKL, rng: random.Random, minutes: float) -> None:
    """Fit the VAE in place until the time is up."""
    vae.to(memory_format=torch.channels_last)  # convolutions on a CPU are faster this way
    optimizer = torch.optim.AdamW(vae.parameters(), lr=PEAK_RATE, weight_decay=1e-4)
    budget = TimeBudget(minutes)
    step = 0
    while (spent := budget.spent()) <= 1:
        set_learning_rate(optimizer, PEAK_RATE, step / WARMUP_STEPS, spent, floor=0.01)
        cropped = spent < CROP_SHARE
        pictures = sample_batch(rng, 16, CROP_SIZE) if cropped else sample_batch(rng, 6)
        error, divergence = losses(vae, pictures)
        optimizer.zero_grad()
        (error + KL_WEIGHT * divergence).backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        step += 1
        if step % 50 == 0:
            print(
                f"step {step}, {budget.elapsed():.0f} s: "
                f"error {error.item():.4f}, kl {divergence.item():.3f}",
                flush=True,
            )


@torch.no_grad()
def set_scaling_factor(vae: AutoencoderKL, rng: random.Random) -> None:
    """Store the factor that brings latents to unit deviation, as the noise schedule assumes."""
    latents = torch.cat([vae.encode(sample_batch(rng, 16)).latent_dist.sample() for _ in range(16)])
    vae.register_to_config(scaling_factor=float(1 / latents.std()))
    print(f"scaling factor {vae.config.scaling_factor:.4f}", flush=True)


@torch.no_grad()
def check(vae: AutoencoderKL, rng: random.Random, sheet: Path) -> None:
    """Print the PSNR over eight new pictures and save them above their reconstructions."""
    pictures = sample_batch(rng, 8)
    decoded = vae.decode(vae.encode(pictures).latent_dist.mode()).sample.clamp(-1, 1)
    # The values span 2, so the peak power is 4.
    psnr = 10 * torch.log10(4 / F.mse_loss(decoded, pictures)).item()
    print(f"PSNR {psnr:.1f} dB", flush=True)
    rows = [torch.cat(list(row), dim=2) for row in (pictures, decoded)]
    tensor_to_picture(torch.cat(rows, dim=1)).save(sheet)


def main(argv: Sequence[str] | None = None) -> None:
    """Train, measure and save the VAE."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=16.0, help="training time (16)")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("outputs/train_demo"),
        help="the work folder shared by all steps; the VAE goes to OUT/vae (outputs/train_demo)",
    )
    parser.add_argument("--seed", type=int, default=0, help="for weights and pictures (0)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="CPU threads (all)")
    args = parser.parse_args(argv)

    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    rng = random.Random(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)

    vae = build_vae()
    print(describe(vae), flush=True)
    train(vae, rng, args.minutes)
    vae.eval()
    set_scaling_factor(vae, rng)
    check(vae, rng, args.out / "vae.png")
    vae.to(memory_format=torch.contiguous_format)
    vae.save_pretrained(args.out / "vae")


if __name__ == "__main__":
    main()
