"""What is drawn on each golden sheet: prompts, settings, samplers and input pictures.

Rows have the names of `ImageRequest`'s fields; sizes are (width, height), crops (left, top).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw

# Latents of 9 x 11 cells: halves that are rounded up.
WIDTH, HEIGHT = 72, 88
DEMO_PROMPTS = (
    ("a large red star on a white background", ""),
    ("a small yellow square on a blue background", ""),
    ("a large blue triangle on a yellow background", "red"),
    ("a large green circle on a black background", ""),
    ("a large orange heart on a purple background", "a small blue star"),
    ("a small white circle on a red background", ""),
    ("a large purple square on a orange background", "blue"),
    ("a small black heart on a green background", ""),
)
LONG_PROMPTS = (
    ("a large red star " + "on a white background " * 25, ""),
    ("green " * 74 + "a large blue triangle on a yellow background", "red"),
    ("a small white circle on a red background", "a large blue star " * 20),
    ("a large black heart on a yellow background", ""),
)


def rows(texts, seed: int, **settings) -> list[dict]:
    """One row a pair of prompt and negative prompt."""
    defaults = {"width": WIDTH, "height": HEIGHT, "steps": 12, "guidance_scale": 5.0}
    return [
        {
            "prompt": prompt,
            "negative_prompt": negative,
            "seed": seed + 7 * i,
            **defaults,
            **settings,
        }
        for i, (prompt, negative) in enumerate(texts)
    ]


def image_rows(strengths, image: str, **settings) -> list[dict]:
    """Two rows a strength, the second one's picture of another shape than is asked for."""
    made = []
    for i, strength in enumerate(strengths):
        pair = rows(DEMO_PROMPTS[2 * i : 2 * i + 2], 500 + 20 * i, strength=strength, **settings)
        pair[0]["image"], pair[1]["image"] = image, "large.png"
        made += pair
    return made


# Two rows share a size and a scale, others do not: micro-batches of one and of two.
SD2 = [
    *rows([("a large red star on a white background", "")], 41, width=48, height=64),
    *rows([("a small blue heart", "a yellow square, 123!")], 42, width=64, height=48),
    *rows([("a green circle!! on a red background", "blue")], 43, width=48, height=48),
    *rows([("", "a black triangle")], 44, width=48, height=48, guidance_scale=7.5),
]
# SDXL has zeros in place of an empty negative prompt, as diffusers where it is given none.
SDXL = [
    *rows([("a large red star on a white background", "")], 51, width=48, height=64),
    *rows([("a small blue heart", "red")], 52, width=64, height=48, crop=(64, 16)),
    *rows(
        [("a green circle!! on a red background", "a blue square")],
        53,
        width=40,
        height=56,
        original_size=(640, 512),
        target_size=(192, 320),
    ),
    *rows(
        [("a large orange heart on a purple background", "")],
        54,
        width=64,
        height=48,
        original_size=(100, 300),
        crop=(0, 40),
        target_size=(1024, 768),
        guidance_scale=7.5,
    ),
    *rows([("", ""), ("a small white circle", "red")], 55, width=48, height=48),
]
STRENGTHS, SDXL_STRENGTHS, MASK_STRENGTHS = (0.4, 0.75, 1.0), (0.6,), (1.0, 0.6)
JOBS = {
    "demo": rows(DEMO_PROMPTS, 4000),
    "few_steps": rows(DEMO_PROMPTS, 4000, steps=6, guidance_scale=1.5),
    "unguided": rows(DEMO_PROMPTS[:4], 4000, guidance_scale=1.0),
    "rescaled": rows(DEMO_PROMPTS[:4], 4000, guidance_scale=7.5, guidance_rescale=0.7),
    "long": rows(LONG_PROMPTS, 1300),
    "sd2_long": rows(LONG_PROMPTS, 1400, width=48, height=48),
    "sd2": SD2,
    "sd2_rescaled": [{**row, "guidance_rescale": 0.7} for row in SD2],
    "sdxl": SDXL,
    "sdxl_rescaled": [{**row, "guidance_rescale": 0.7} for row in SDXL],
    "img2img": image_rows(STRENGTHS, "init.png"),
    "sdxl_img2img": image_rows(SDXL_STRENGTHS, "init.png", width=48, height=64),
    "inpaint": image_rows(MASK_STRENGTHS, "init.png", mask="mask.png"),
}


@dataclass(frozen=True)
class Sheet:
    """One golden sheet.

    Attributes:
        name: of the file.
        checkpoint: demo, or a kind of tiny checkpoint.
        job: its rows, a key of `JOBS`.
        sampler: solver, sigmas, spacing and eta, each where it is not the checkpoint's own.
        text: clip_skip; long_prompts, where texts are read to their ends.
    """

    name: str
    checkpoint: str
    job: str
    sampler: dict = field(default_factory=dict)
    text: dict = field(default_factory=dict)


def sampler(solver: str, sigmas: str = "", spacing: str = "", eta: float | None = None) -> dict:
    """A sampler's options; those that are not given are the checkpoint's."""
    given = {"solver": solver, "sigmas": sigmas, "spacing": spacing, "eta": eta}
    return {name: value for name, value in given.items() if value not in ("", None)}


def named(prefix: str, checkpoint: str, job: str, options: dict) -> Sheet:
    """A sheet that is called after its sampler."""
    parts = [f"eta{value:g}" if name == "eta" else value for name, value in options.items()]
    return Sheet("_".join([prefix, *parts]).replace(".", ""), checkpoint, job, options)


DEMO_SAMPLERS = [
    *map(sampler, ("ddpm", "ddim", "pndm", "plms", "euler", "euler_a", "heun", "dpmpp_2m")),
    *map(sampler, ("dpmpp_3m", "dpmpp_2m_sde", "dpmpp_2s", "dpmpp_3s", "unipc")),
    *(sampler("euler", sigmas) for sigmas in ("karras", "exponential", "beta")),
    *(sampler("dpmpp_2m", sigmas) for sigmas in ("karras", "exponential", "beta")),
    *(sampler(solver, "karras") for solver in ("heun", "dpmpp_2m_sde", "dpmpp_2s", "unipc")),
    sampler("euler_a", spacing="trailing"),
    sampler("ddim", eta=1.0),
]
# The pipeline tells TCD an eta of 0 where it is told none, whatever the scheduler's default.
FEW_STEP_SAMPLERS = [sampler("lcm"), sampler("tcd", eta=0.0), sampler("tcd", eta=0.3)]
SHEETS = [
    *(named("demo", "demo", "demo", options) for options in DEMO_SAMPLERS),
    *(named("demo", "demo", "few_steps", options) for options in FEW_STEP_SAMPLERS),
    *(
        named(kind, kind, kind, options)
        for kind in ("sd2", "sdxl")
        for options in ({}, sampler("dpmpp_2m", "karras"), sampler("euler_a"))
    ),
    *(Sheet(f"{kind}_clip_skip", kind, kind, text={"clip_skip": 1}) for kind in ("sd2", "sdxl")),
    *(Sheet(f"{kind}_rescaled", kind, f"{kind}_rescaled") for kind in ("sd2", "sdxl")),
    Sheet("demo_unguided", "demo", "unguided"),
    Sheet("demo_rescaled", "demo", "rescaled"),
    Sheet("demo_long", "demo", "long", text={"long_prompts": True}),
    Sheet("sd2_long", "sd2", "sd2_long", text={"long_prompts": True}),
    *(
        named("img2img", "demo", "img2img", sampler(solver))
        for solver in ("ddim", "dpmpp_2m", "euler_a", "heun", "plms")
    ),
    *(
        named("inpaint", "demo", "inpaint", sampler(solver))
        for solver in ("ddim", "dpmpp_2m", "euler_a")
    ),
    *(
        named("inpaint9", "inpaint", "inpaint", sampler(solver))
        for solver in ("ddim", "dpmpp_2m", "euler_a")
    ),
    Sheet("sdxl_img2img", "sdxl", "sdxl_img2img"),
]


def inputs() -> dict[str, Image.Image]:
    """Pictures to begin from: one of the size that is asked for, one of another, and a mask."""
    size, large = (WIDTH, HEIGHT), (150, 130)
    mask = Image.new("L", size)
    draw = ImageDraw.Draw(mask)
    # Cells are 8 pixels; greys are on either side of the half.
    for inset, grey in ((10, 100), (14, 140), (18, 255)):
        draw.ellipse((inset, inset + 8, WIDTH - inset, HEIGHT - inset - 8), fill=grey)
    return {"init.png": drawing(size), "large.png": drawing(large), "mask.png": mask}


def drawing(size: tuple[int, int]) -> Image.Image:
    """A circle and a square on a ground of changing colour."""
    width, height = size
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    ground = np.stack([x * 255 // width, y * 255 // height, 255 - x * 200 // width], axis=-1)
    image = Image.fromarray(ground.astype(np.uint8))
    draw = ImageDraw.Draw(image)
    draw.ellipse((width // 5, height // 6, width * 3 // 5, height // 2), fill=(230, 40, 30))
    draw.rectangle((width // 2, height * 3 // 5, width * 5 // 6, height * 5 // 6), fill="white")
    return image
