"""Write a checkpoint with the shapes of Stable Diffusion 1.5 and random weights (4.2 GB, float32).

For measuring only: its pictures are noise. Run with PyTorch and diffusers:

    python benchmarks/make_sd15.py /tmp/sd15-random
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

ASSETS = Path(__file__).resolve().parent.parent / "sdbatch" / "assets"


def main() -> None:
    """Build the five parts and save them as diffusers does."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    torch.manual_seed(0)
    shutil.copytree(ASSETS / "clip_tokenizer", folder / "tokenizer", dirs_exist_ok=True)
    shutil.copytree(
        ASSETS / "families" / "sd1" / "tokenizer", folder / "tokenizer", dirs_exist_ok=True
    )
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    config = CLIPTextConfig.from_pretrained(ASSETS / "families" / "sd1" / "text_encoder")
    text_encoder = CLIPTextModel(config)
    unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        sample_size=512,
    )
    scheduler = PNDMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        skip_prk_steps=True,
        steps_offset=1,
    )
    StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    for file in ("vocab.json", "merges.txt"):  # transformers 5 leaves them out
        shutil.copyfile(ASSETS / "clip_tokenizer" / file, folder / "tokenizer" / file)
    print(folder)


if __name__ == "__main__":
    main()
