"""Train UNet and text encoders: python -m tools.train_demo.train_denoiser --minutes 55."""

from __future__ import annotations

import argparse
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DDPMScheduler, UNet2DConditionModel
from transformers import BertModel, CLIPTextModel

from .networks import (
    NOISE_SCHEDULE,
    build_bert_encoder,
    build_clip_encoder,
    build_unet,
    describe,
    pictures_to_tensor,
)
from .schedule import TimeBudget, set_learning_rate
from .vocabularies import (
    BertVocabulary,
    ClipVocabulary,
    build_bert_vocabulary,
    build_clip_vocabulary,
)
from .world import Scene, caption_en, caption_zh, render, sample_scene

PEAK_RATE = 7e-4
WARMUP_STEPS = 200
BATCH_SIZE = 24
ENCODE_BATCH = 32
# Captions are dropped this often, or guidance would have no unconditional prediction to leave.
EMPTY_CAPTIONS = 0.1
SNR_CAP = 5.0


@dataclass(frozen=True)
class EncodedScenes:
    """Scenes with the VAE's view of them, scaled: mean and deviation, float32 [n, 4, 16, 16]."""

    scenes: list[Scene]
    mean: torch.Tensor
    deviation: torch.Tensor

    def sample(self, rows: list[int]) -> torch.Tensor:
        """Draw latents [len(rows), 4, 16, 16], new ones at every call."""
        mean = self.mean[rows]
        return mean + self.deviation[rows] * torch.randn(mean.shape)


@dataclass(frozen=True)
class Denoiser:
    """All that is trained together: the UNet and, per language, vocabulary and text encoder."""

    unet: UNet2DConditionModel
    clip: CLIPTextModel
    bert: BertModel
    clip_vocabulary: ClipVocabulary
    bert_vocabulary: BertVocabulary

    def networks(self) -> tuple[torch.nn.Module, ...]:
        """The three networks, in the order their parameters are optimized."""
        return self.unet, self.clip, self.bert

    def encode_en(self, captions: list[str]) -> torch.Tensor:
        """English captions to text features [n, 77, 128]."""
        ids = torch.tensor([self.clip_vocabulary.encode(caption) for caption in captions])
        return self.clip(ids).last_hidden_state

    def encode_zh(self, captions: list[str]) -> torch.Tensor:
        """Chinese captions to text features [n, 40, 128]; the padding is not masked."""
        ids = torch.tensor([self.bert_vocabulary.encode(caption) for caption in captions])
        return self.bert(ids).last_hidden_state


def build_denoiser() -> Denoiser:
    """Make vocabularies and untrained networks."""
    clip_vocabulary, bert_vocabulary = build_clip_vocabulary(), build_bert_vocabulary()
    clip, bert = build_clip_encoder(clip_vocabulary), build_bert_encoder(bert_vocabulary)
    return Denoiser(build_unet(), clip, bert, clip_vocabulary, bert_vocabulary)


@torch.inference_mode()
def _encode(vae: AutoencoderKL, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    posterior = vae.encode(pictures).latent_dist
    scale = vae.config.scaling_factor
    return posterior.mean.contiguous() * scale, posterior.std.contiguous() * scale


def encode_scenes(vae: AutoencoderKL, count: int, rng: random.Random) -> EncodedScenes:
    """Draw `count` random scenes and encode them once, so that no epoch has to."""
    scenes: list[Scene] = []
    means, deviations = [], []
    while len(scenes) < count:
        batch = [sample_scene(rng) for _ in range(min(ENCODE_BATCH, count - len(scenes)))]
        pictures = pictures_to_tensor([np.asarray(render(scene, rng)) for scene in batch])
        mean, deviation = _encode(vae, pictures)
        scenes += batch
        means.append(mean)
        deviations.append(deviation)
    # Tensors made in inference mode take no part in autograd, their copies do.
    return EncodedScenes(scenes, torch.cat(means).clone(), torch.cat(deviations).clone())


def snr_weights(alphas_cumprod: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
    """Weights [n] of the noise loss that cap easy, nearly clean timesteps at an SNR of 5.

    Min-SNR weighting (arXiv:2303.09556) for epsilon prediction.
    """
    signal = alphas_cumprod[timesteps]
    snr = signal / (1 - signal)
    return snr.clamp(max=SNR_CAP) / snr


class MovingAverage:
    """Exponential average of parameters; it follows closely at first, slowly later."""

    def __init__(self, parameters: list[torch.nn.Parameter]) -> None:
        self._parameters = parameters
        self._averages = [parameter.detach().clone() for parameter in parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the averages towards the parameters as they are after `step` steps."""
        decay = min(0.999, (1 + step) / (10 + step))
        current = [parameter.detach() for parameter in self._parameters]
        torch._foreach_mul_(self._averages, decay)
        torch._foreach_add_(self._averages, current, alpha=1 - decay)

    @torch.no_grad()
    def copy_to_parameters(self) -> None:
        """Put the averages in the place of the parameters."""
        for parameter, average in zip(self._parameters, self._averages, strict=True):
            parameter.copy_(average)


def train(model: Denoiser, data: EncodedScenes, rng: random.Random, minutes: float) -> None:
    """Fit the networks in place until the time is up; they end as their moving average."""
    noising = DDPMScheduler(**NOISE_SCHEDULE)
    parameters = [weight for network in model.networks() for weight in network.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=PEAK_RATE, weight_decay=1e-2, betas=(0.9, 0.98))
    average = MovingAverage(parameters)
    budget = TimeBudget(minutes)
    recent: list[float] = []
    step = 0
    while (spent := budget.spent()) <= 1:
        set_learning_rate(optimizer, PEAK_RATE, (step + 1) / WARMUP_STEPS, spent, floor=0.02)
        rows = [rng.randrange(len(data.scenes)) for _ in range(BATCH_SIZE)]
        latents = data.sample(rows)

        # Every third batch is Chinese: the UNet learns to listen to both encoders alike.
        chinese = step % 3 == 2
        caption, encode = (
            (caption_zh, model.encode_zh) if chinese else (caption_en, model.encode_en)
        )
        captions = [
            "" if rng.random() < EMPTY_CAPTIONS else caption(data.scenes[row], rng) for row in rows
        ]
        context = encode(captions)

        timesteps = torch.randint(0, NOISE_SCHEDULE["num_train_timesteps"], (BATCH_SIZE,))
        noise = torch.randn_like(latents)
        noisy = noising.add_noise(latents, noise, timesteps)
        predicted = model.unet(noisy, timesteps, context).sample
        errors = (predicted - noise).square().mean(dim=(1, 2, 3))
        loss = (snr_weights(noising.alphas_cumprod, timesteps) * errors).mean()

        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        step += 1
        average.update(step)
        recent.append(loss.item())
        if step % 250 == 0:
            mean_loss = sum(recent) / len(recent)
            print(f"step {step}, {budget.elapsed():.0f} s: loss {mean_loss:.4f}", flush=True)
            recent.clear()
    print(f"{step} steps", flush=True)
    average.copy_to_parameters()


def save(model: Denoiser, folder: Path) -> None:
    """Write unet/ and scheduler/, and tokenizer/ and text_encoder/ under en/ and zh/."""
    for network in model.networks():
        network.eval()
    model.unet.save_pretrained(folder / "unet")
    model.clip.save_pretrained(folder / "en" / "text_encoder")
    model.bert.save_pretrained(folder / "zh" / "text_encoder")
    model.clip_vocabulary.save(folder / "en" / "tokenizer")
    model.bert_vocabulary.save(folder / "zh" / "tokenizer")
    scheduler = DDIMScheduler(**NOISE_SCHEDULE, set_alpha_to_one=False, steps_offset=1)
    scheduler.save_pretrained(folder / "scheduler")


def main(argv: Sequence[str] | None = None) -> None:
    """Encode scenes, train on them and save everything but the VAE, which must be there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=55.0, help="training time (55)")
    parser.add_argument("--scenes", type=int, default=12000, help="scenes to train on (12000)")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("outputs/train_demo"),
        help="the work folder shared by all steps, with the trained VAE (outputs/train_demo)",
    )
    parser.add_argument("--seed", type=int, default=1, help="for weights, scenes and noise (1)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="CPU threads (all)")
    args = parser.parse_args(argv)
    if not (args.out / "vae").is_dir():
        parser.error(f"no VAE in {args.out / 'vae'}: run train_vae first")

    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    rng = random.Random(args.seed)

    model = build_denoiser()
    for network in model.networks():
        print(describe(network), flush=True)
    vae = AutoencoderKL.from_pretrained(args.out / "vae").eval()
    data = encode_scenes(vae, args.scenes, rng)
    print(f"{len(data.scenes)} scenes, latent deviation {data.mean.std().item():.3f}", flush=True)
    train(model, data, rng, args.minutes)
    save(model, args.out)


if __name__ == "__main__":
    main()
