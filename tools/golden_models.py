"""Record what PyTorch makes of the demo checkpoints and of tiny networks, for the tests.

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
import re
from pathlib import Path

import diffusers
import numpy as np
import torch
import transformers
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from PIL import Image
from safetensors.torch import save
from transformers import CLIPTextConfig, CLIPTextModel

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

# What the demo checkpoints do not have, at widths of 32 and 64.
TINY = {
    "norm_num_groups": 8,
    "layers_per_block": 1,
    "cross_attention_dim": 32,
    "use_linear_projection": True,
    "sample_size": 12,
}
TINY_UNETS = {
    "tiny_sd2": {
        **TINY,
        "block_out_channels": [32, 32, 64],
        "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
        "attention_head_dim": [2, 4, 8],
        "upcast_attention": True,
    },
    "tiny_sdxl": {
        **TINY,
        "block_out_channels": [32, 64, 32],
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
        "attention_head_dim": [2, 4, 8],
        "transformer_layers_per_block": [1, 2, 3],
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 16 + 6 * 8,
    },
    # Distilled with guidance inside, as LCM checkpoints are.
    "tiny_lcm": {
        **TINY,
        "block_out_channels": [32, 64],
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
        "attention_head_dim": 4,
        "time_cond_proj_dim": 16,
    },
}
TINY_TEXT = {
    "architectures": ["CLIPTextModel"],
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 16,
    "hidden_act": "gelu",  # SD 2.x; the demo has SD 1.x's quick_gelu
    "bos_token_id": 62,
    "eos_token_id": 63,
    "pad_token_id": 0,
}
TINY_VAE = {
    "block_out_channels": [16, 32],
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
    "layers_per_block": 1,
    "norm_num_groups": 8,
}
WRITES_TO_A_NORM = re.compile(
    r"\b(conv_in|conv1|conv2|conv_shortcut|time_emb_proj|proj_in|to_out\.0|ff\.net\.2|proj_out"
    r"|(down|up)samplers\.0\.conv)\."
)


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


def set_random_weights(network: torch.nn.Module, quiet: bool = False) -> np.ndarray:
    """Fill a network with float16 values of three levels; returns them as a .safetensors file.

    So few levels make the file small; a transposed or swapped weight shows all the same. In a
    `quiet` network what a norm will read is written small, so that the norm shows its epsilon.
    """
    generator = torch.Generator().manual_seed(3)
    state = {}
    for key, old in network.state_dict().items():
        levels = torch.randint(-1, 2, old.shape, generator=generator).float()
        if old.ndim > 1:
            fan_in = old[0].numel()
            state[key] = levels * 2 ** round(float(np.log2(1.2 / fan_in**0.5)))
        else:
            is_norm_weight = "norm" in key and key.endswith("weight")
            state[key] = levels / 4 + float(is_norm_weight)
        if quiet and WRITES_TO_A_NORM.search(key):
            state[key] *= 2**-8
    network.load_state_dict(state)
    network.eval()
    data = save({key: value.half() for key, value in state.items()})
    return np.frombuffer(data, np.uint8)


@torch.no_grad()
def tiny_unet(config: dict, quiet: bool) -> dict[str, np.ndarray]:
    """A tiny UNet: its config, weights, inputs (random and of low variance) and outputs."""
    unet = UNet2DConditionModel(**config)
    weights = set_random_weights(unet, quiet)
    record = {"unet_config": np.array(json.dumps(config)), "unet": weights}
    generator = torch.Generator().manual_seed(5)
    inputs = {
        "timesteps": torch.tensor([981, 1]),
        "context": torch.randn(2, 7, 32, generator=generator),
    }
    added = None
    if config.get("addition_embed_type"):
        pooled = torch.randn(2, 16, generator=generator)
        time_ids = torch.tensor([[1024, 768, 0, 64, 1024, 768], [512, 512, 0, 0, 640, 512]])
        inputs |= {"pooled": pooled, "time_ids": time_ids}
        added = {"text_embeds": pooled, "time_ids": time_ids}
    told = None
    if config.get("time_cond_proj_dim"):
        inputs["guidance_scale"] = torch.tensor([8.5, 1.5])
        embedding = StableDiffusionPipeline.get_guidance_scale_embedding
        told = embedding(None, inputs["guidance_scale"] - 1, config["time_cond_proj_dim"])
    # 12 x 10 halves to 6 x 5 and 3 x 3: the way up must follow the skips, not double.
    random = torch.randn(2, 4, 12, 10, generator=generator)
    inputs |= {"random_latents": random, "flat_latents": 0.3 + 1e-3 * random}
    for name in ("random", "flat"):
        inputs[f"{name}_output"] = unet(
            inputs[f"{name}_latents"],
            inputs["timesteps"],
            inputs["context"],
            timestep_cond=told,
            added_cond_kwargs=added,
        ).sample
    return record | {key: value.numpy() for key, value in inputs.items()}


@torch.no_grad()
def tiny_vae() -> dict[str, np.ndarray]:
    """A tiny autoencoder: its config, weights, inputs and outputs."""
    vae = AutoencoderKL(**TINY_VAE)
    weights = set_random_weights(vae, quiet=True)
    record = {"vae_config": np.array(json.dumps(TINY_VAE)), "vae": weights}
    generator = torch.Generator().manual_seed(5)
    pixels = torch.randn(2, 3, 12, 10, generator=generator)
    latents = torch.randn(2, 4, 6, 5, generator=generator)
    moments = vae.encode(pixels).latent_dist
    results = {
        "pixels": pixels,
        "mean": moments.mean,
        "log_variance": moments.logvar,
        "latents": latents,
        "decoded": vae.decode(latents).sample,
    }
    return record | {key: value.numpy() for key, value in results.items()}


@torch.no_grad()
def tiny_text() -> dict[str, np.ndarray]:
    """A tiny CLIP text encoder with the erf GELU of OpenCLIP: config, weights, ids and states."""
    encoder = CLIPTextModel(CLIPTextConfig(**TINY_TEXT))
    record = {"text_config": np.array(json.dumps(TINY_TEXT)), "text": set_random_weights(encoder)}
    ids = torch.tensor([[62, *range(1, 9), 63, *[0] * 6], [62, 5, 5, 40, 63, *[0] * 11]])
    return record | {"ids": ids.numpy(), "states": encoder(ids)[0].numpy()}


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
    for name, config in TINY_UNETS.items():
        unet = tiny_unet(config, quiet=name == "tiny_sd2")
        more = tiny_text() if name == "tiny_sd2" else {}
        np.savez_compressed(out / f"{name}.npz", **unet, **more)
    np.savez_compressed(out / "tiny_vae.npz", **tiny_vae())
    record = {
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "transformers": transformers.__version__,
        "steps": STEPS,
        "guidance_scale": GUIDANCE,
        "negative_prompt": "blue in every fourth picture from the first, else empty",
        "models": jobs,
    }
    text = json.dumps(record, ensure_ascii=False, indent=1)
    (out / "golden.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
