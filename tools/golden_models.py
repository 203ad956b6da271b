"""Record what PyTorch makes of the bundled demo checkpoints, for the tests to compare with.

Run in an environment with torch, diffusers and transformers (not sdbatch's own):

    pip install torch diffusers transformers safetensors pillow
    python tools/golden_models.py            # writes tests/golden/models/

Everything is float32 on a CPU. Inputs are recorded beside outputs, because half of them are of low
variance on purpose: random inputs hide a wrong epsilon.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import diffusers
import numpy as np
import torch
import transformers
from diffusers import DDIMScheduler, DDPMScheduler, PNDMScheduler, StableDiffusionPipeline
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
MODELS = {"demo": "shapes.csv", "demo_zh": "shapes_zh.csv"}
SOLVERS = {
    "ddpm": (DDPMScheduler, {}),
    "ddim": (DDIMScheduler, {}),
    "plms": (PNDMScheduler, {"skip_prk_steps": True}),
}
STEPS, GUIDANCE = 20, 5.0
TEXTS = {
    "demo": [
        "",
        "a small red circle on a blue background",
        "A LARGE  Star, purple;  on\ta white background!",
        "green green green green " * 30,
        "café naïve déjà-vu 123 4.56 don't you're",
        "水墨画风格的城市夜景 and a star",
        "emoji 🎨 ok <|endoftext|> after",
    ],
    "demo_zh": [
        "",
        "蓝色背景上的红色小圆形",
        "红色 ， 大五角星。 abc 42 (未知字)",
        "一个黄色的大心形，位于左边，背景是白色" * 4,
        "Ａ全角　空格 café",
    ],
}
SCHEDULES = [
    {"beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02},
    {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    {"beta_schedule": "squaredcos_cap_v2"},
    {
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "rescale_betas_zero_snr": True,
    },
]


def load(name: str) -> StableDiffusionPipeline:
    """A bundled checkpoint as PyTorch's own pipeline, float32."""
    folder = ROOT / "sdbatch" / "assets" / name
    pipe = StableDiffusionPipeline.from_pretrained(
        folder, torch_dtype=torch.float32, safety_checker=None
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


@torch.no_grad()
def components(pipe: StableDiffusionPipeline, texts: list[str]) -> dict[str, np.ndarray]:
    """Inputs and outputs of the text encoder, the UNet and both halves of the VAE."""
    ids = pipe.tokenizer(
        texts,
        padding="max_length",
        truncation=True,
        max_length=pipe.tokenizer.model_max_length,
        return_tensors="pt",
    ).input_ids
    states = pipe.text_encoder(ids)[0]
    generator = torch.Generator().manual_seed(7)
    flat = 0.3 + 1e-3 * torch.randn(2, 4, 16, 16, generator=generator)
    random = torch.randn(2, 4, 16, 16, generator=generator)
    odd = torch.randn(2, 4, 18, 10, generator=generator)
    timesteps, context = torch.tensor([981, 1]), states[:2]
    flat_context = 0.1 + 1e-3 * torch.randn(context.shape, generator=generator)
    pixels = torch.rand(1, 3, 64, 96, generator=generator) * 2 - 1
    flat_pixels = 0.2 + 1e-3 * torch.randn(1, 3, 64, 64, generator=generator)
    record = {"ids": ids, "states": states, "timesteps": timesteps}
    for name, latents, text in (
        ("random", random, context),
        ("flat", flat, flat_context),
        ("odd", odd, context),
    ):
        record[f"unet_{name}_latents"], record[f"unet_{name}_context"] = latents, text
        record[f"unet_{name}_output"] = pipe.unet(latents, timesteps, text).sample
    for name, latents in (("random", random[:1, :, :8, :12]), ("flat", flat[:1, :, :8, :8])):
        record[f"decode_{name}_latents"] = latents
        record[f"decode_{name}_output"] = pipe.vae.decode(latents).sample
    for name, image in (("random", pixels), ("flat", flat_pixels)):
        moments = pipe.vae.encode(image).latent_dist
        record[f"encode_{name}_pixels"] = image
        record[f"encode_{name}_mean"] = moments.mean
        record[f"encode_{name}_log_variance"] = moments.logvar
    return {key: value.numpy() for key, value in record.items()}


def pictures(
    pipe: StableDiffusionPipeline, solver: str, prompts: list[str], seeds: list[int]
) -> list[Image.Image]:
    """One picture a prompt, each from a generator of its own."""
    kind, extra = SOLVERS[solver]
    pipe.scheduler = kind.from_config(pipe.scheduler.config, **extra)
    return pipe(
        prompts,
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        negative_prompt=["" if i % 4 else "blue" for i in range(len(prompts))],
        generator=[torch.Generator().manual_seed(seed) for seed in seeds],
        output_type="pil",
    ).images


def schedules() -> list[dict]:
    """Signal shares and visited timesteps of several scheduler configs."""
    records = []
    for betas in SCHEDULES:
        scheduler = DDIMScheduler(**betas)
        alphas = [float(a) for a in scheduler.alphas_cumprod[::111]]
        record = {"config": betas, "alphas_cumprod_every_111": alphas, "timesteps": []}
        for spacing in ("leading", "trailing", "linspace"):
            for offset, steps in ((0, 7), (1, 20), (1, 50)):
                scheduler = DDIMScheduler(**betas, timestep_spacing=spacing, steps_offset=offset)
                scheduler.set_timesteps(steps)
                record["timesteps"].append([spacing, offset, steps, scheduler.timesteps.tolist()])
        records.append(record)
    return records


def main() -> None:
    """Write every golden file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "tests" / "golden" / "models")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(2)
    jobs = {}
    for name, table in MODELS.items():
        pipe = load(name)
        np.savez_compressed(out / f"{name}.npz", **components(pipe, TEXTS[name]))
        with (ROOT / "prompts" / table).open(encoding="utf-8") as file:
            prompts = [row["prompt"] for row in csv.DictReader(file)][:16]
        seeds = [1000 + 7 * i for i in range(14)] + [2**32 + 5, 2**63 - 1]
        jobs[name] = {"texts": TEXTS[name], "prompts": prompts, "seeds": seeds}
        for solver in SOLVERS:
            sheet = Image.new("RGB", (4 * 128, 4 * 128))
            for i, picture in enumerate(pictures(load(name), solver, prompts, seeds)):
                sheet.paste(picture, ((i % 4) * 128, (i // 4) * 128))
            sheet.save(out / f"{name}_{solver}.png", optimize=True)
    record = {
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "transformers": transformers.__version__,
        "steps": STEPS,
        "guidance_scale": GUIDANCE,
        "negative_prompt": "blue in every fourth picture from the first, else empty",
        "models": jobs,
        "schedules": schedules(),
    }
    text = json.dumps(record, ensure_ascii=False, indent=1)
    (out / "golden.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
