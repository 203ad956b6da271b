"""Count right colours: python -m tools.train_demo.measure MODEL TABLE.

Draws every prompt of a table made by shapes_table with diffusers' own pipeline and compares the
colours of the picture with those of the row.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from PIL import Image

from .colors import seen_colors
from .world import PICTURE_SIZE

BATCH_SIZE = 8


def draw(
    pipeline: StableDiffusionPipeline, prompts: list[str], steps: int, guidance: float, seed: int
) -> list[Image.Image]:
    """One picture per prompt, the noise of number i coming from seed + i."""
    pictures: list[Image.Image] = []
    for start in range(0, len(prompts), BATCH_SIZE):
        batch = prompts[start : start + BATCH_SIZE]
        seeds = range(seed + start, seed + start + len(batch))
        result = pipeline(
            batch,
            num_inference_steps=steps,
            guidance_scale=guidance,
            height=PICTURE_SIZE,
            width=PICTURE_SIZE,
            generator=[torch.Generator().manual_seed(number) for number in seeds],
        )
        pictures += result.images
    return pictures


def contact_sheet(pictures: list[Image.Image], columns: int = 8) -> Image.Image:
    """Lay pictures out in rows."""
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * PICTURE_SIZE, rows * PICTURE_SIZE))
    for index, picture in enumerate(pictures):
        row, column = divmod(index, columns)
        sheet.paste(picture, (column * PICTURE_SIZE, row * PICTURE_SIZE))
    return sheet


def main(argv: Sequence[str] | None = None) -> None:
    """Draw, compare, and print the rows that came out wrong and the count of right ones."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="a packed folder, demo or demo_zh")
    parser.add_argument("table", type=Path, help="CSV with id, prompt, color and ground")
    parser.add_argument("--rows", type=int, help="only the first rows of the table (all)")
    parser.add_argument("--steps", type=int, default=20, help="DDIM steps (20)")
    parser.add_argument("--guidance", type=float, default=5.0, help="guidance scale (5)")
    parser.add_argument("--seed", type=int, default=0, help="of the first picture (0)")
    parser.add_argument("--sheet", type=Path, help="save all pictures as one PNG")
    args = parser.parse_args(argv)

    with args.table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))[: args.rows]
    pipeline = StableDiffusionPipeline.from_pretrained(args.model).to(torch.float32)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)

    prompts = [row["prompt"] for row in rows]
    pictures = draw(pipeline, prompts, args.steps, args.guidance, args.seed)
    right = 0
    for row, picture in zip(rows, pictures, strict=True):
        color, ground = seen_colors(np.asarray(picture))
        if (color, ground) == (row["color"], row["ground"]):
            right += 1
        else:
            print(f"{row['id']}: {row['prompt']} -> {color} on {ground}")
    print(f"{right} of {len(rows)} with both colours right")
    if args.sheet:
        contact_sheet(pictures).save(args.sheet)


if __name__ == "__main__":
    main()
