"""Record the pictures that PyTorch diffusers makes by every sampler, family and kind of job.

Run in an environment with torch, diffusers and transformers (not sdbatch's own):

    pip install torch diffusers transformers scipy pillow
    python tools/golden_pictures.py              # writes tests/golden/pictures/
    python tools/golden_pictures.py --only sdxl  # only the sheets whose names begin so

A sheet is one lossless WebP file, pictures from left to right. `pictures.json` says of each what
sdbatch must be asked for: rows in the words of `ImageRequest` (sizes are width, height; crops left,
top), samplers in those of `SamplerOptions`. Everything is float32 on a CPU, one generator per
picture, and schedulers are made as is usual: `XScheduler.from_config(pipe.scheduler.config, ...)`.
"""

from __future__ import annotations

import argparse
import dataclasses
import gzip
import json
import tempfile
from pathlib import Path

import diffusers
import torch
import transformers
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMScheduler,
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    DPMSolverSinglestepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    LCMScheduler,
    PNDMScheduler,
    SchedulerMixin,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionXLImg2ImgPipeline,
    TCDScheduler,
    UNet2DConditionModel,
    UniPCMultistepScheduler,
)
from golden_pictures_jobs import JOBS, SHEETS, Sheet, inputs
from PIL import Image
from tiny_checkpoints import DEMO, KINDS, SHAPES, configs, write_checkpoint
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

ROOT = Path(__file__).resolve().parent.parent
SOLVERS = {
    "ddpm": (DDPMScheduler, {}),
    "ddim": (DDIMScheduler, {}),
    "pndm": (PNDMScheduler, {}),
    "plms": (PNDMScheduler, {"skip_prk_steps": True}),
    "euler": (EulerDiscreteScheduler, {}),
    "euler_a": (EulerAncestralDiscreteScheduler, {}),
    "heun": (HeunDiscreteScheduler, {}),
    "dpmpp_2m": (DPMSolverMultistepScheduler, {}),
    "dpmpp_3m": (DPMSolverMultistepScheduler, {"solver_order": 3}),
    "dpmpp_2m_sde": (DPMSolverMultistepScheduler, {"algorithm_type": "sde-dpmsolver++"}),
    "dpmpp_2s": (DPMSolverSinglestepScheduler, {}),
    "dpmpp_3s": (DPMSolverSinglestepScheduler, {"solver_order": 3}),
    "unipc": (UniPCMultistepScheduler, {}),
    "lcm": (LCMScheduler, {}),
    "tcd": (TCDScheduler, {}),
}
# What the pipelines call otherwise, what they have the other way round, what they are not told.
RENAMED = {"steps": "num_inference_steps", "crop": "crops_coords_top_left"}
TURNED = ("original_size", "crop", "target_size")
NOT_TOLD = ("seed", "image", "mask", "long_prompts")


def record_shapes() -> None:
    """The names and shapes of the tiny checkpoints' weights, from modules without memory."""
    found = {}
    for kind in ("sd2", "sdxl"):
        with torch.device("meta"):
            networks = {name: network(name, config) for name, config in configs(kind).items()}
        found[kind] = {
            name: {key: list(value.shape) for key, value in module.state_dict().items()}
            for name, module in networks.items()
        }
    text = json.dumps(found, separators=(",", ":"))
    SHAPES.write_bytes(gzip.compress(text.encode(), mtime=0))


def network(name: str, config: dict) -> torch.nn.Module:
    """The module that a config describes."""
    if name == "unet":
        return UNet2DConditionModel.from_config(config)
    if name == "vae":
        return AutoencoderKL.from_config(config)
    projects = config["architectures"] == ["CLIPTextModelWithProjection"]
    kind = CLIPTextModelWithProjection if projects else CLIPTextModel
    return kind(CLIPTextConfig(**config))


def load(folder: Path) -> DiffusionPipeline:
    """A checkpoint as PyTorch's own pipeline, float32."""
    pipe = DiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    if type(pipe.text_encoder) is CLIPTextModel and not hasattr(pipe.text_encoder, "text_model"):
        # diffusers 0.42 looks for the last norm in here when layers are skipped (`clip_skip`);
        # transformers 5 has it in the encoder itself.
        CLIPTextModel.text_model = property(lambda self: self)
    return pipe


def scheduler(pipe: DiffusionPipeline, options: dict) -> SchedulerMixin:
    """The scheduler for sdbatch's options; without a solver the checkpoint's own."""
    if "solver" not in options:
        return type(pipe.scheduler).from_config(pipe.scheduler.config)
    kind, extra = SOLVERS[options["solver"]]
    if options.get("sigmas", "model") != "model":
        extra = {**extra, f"use_{options['sigmas']}_sigmas": True}
    if "spacing" in options:
        extra = {**extra, "timestep_spacing": options["spacing"]}
    return kind.from_config(pipe.scheduler.config, **extra)


def for_job(pipe: DiffusionPipeline, row: dict) -> DiffusionPipeline:
    """The pipeline that a row is for, with the networks and the scheduler of `pipe`."""
    if "image" not in row:
        return pipe
    kind = StableDiffusionInpaintPipeline if "mask" in row else StableDiffusionImg2ImgPipeline
    if "text_encoder_2" in pipe.components:
        kind = StableDiffusionXLImg2ImgPipeline
    parts = {**pipe.components}
    if kind is not StableDiffusionXLImg2ImgPipeline:
        parts["requires_safety_checker"] = False
    made = kind(**parts)
    made.set_progress_bar_config(disable=True)
    return made


def picture(pipe: DiffusionPipeline, row: dict, sheet: Sheet, images: dict) -> Image.Image:
    """One picture, from a generator of its own."""
    given = {**row, **sheet.text}
    if "text_encoder_2" in pipe.components:
        # Zeros in its place, if the checkpoint says so, come only where there is none.
        given["negative_prompt"] = row["negative_prompt"] or None
    if "eta" in sheet.sampler:
        given["eta"] = sheet.sampler["eta"]
    arguments = {
        RENAMED.get(name, name): tuple(value[::-1]) if name in TURNED else value
        for name, value in given.items()
        if name not in NOT_TOLD
    }
    if sheet.text.get("long_prompts"):
        texts = arguments.pop("prompt"), arguments.pop("negative_prompt")
        prompt, negative = long_embeddings(pipe, *texts)
        arguments |= {"prompt_embeds": prompt, "negative_prompt_embeds": negative}
    if "image" in row:
        image, size = images[row["image"]], (row["width"], row["height"])
        if image.size != size:
            image = image.resize(size, Image.Resampling.LANCZOS)
        arguments["image"] = image
        if "mask" in row:
            arguments["mask_image"] = images[row["mask"]]
        else:  # its pipeline takes the size of the image
            del arguments["width"], arguments["height"]
    generator = torch.Generator().manual_seed(row["seed"])
    return for_job(pipe, row)(**arguments, generator=generator).images[0]


@torch.no_grad()
def long_embeddings(pipe: DiffusionPipeline, *texts: str) -> list[torch.Tensor]:
    """Text states of any length: chunks of 75 tokens, encoded each and then put end to end.

    Shorter texts are followed by chunks of the empty text.
    """
    tokenizer = pipe.tokenizer
    bos, eos, pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
    room = tokenizer.model_max_length - 2
    chunked = []
    for text in texts:
        ids = tokenizer(text, add_special_tokens=False, verbose=False).input_ids
        chunked.append([ids[i : i + room] for i in range(0, max(len(ids), 1), room)])
    count = max(map(len, chunked))
    states = []
    for chunks in chunked:
        rows = [[bos, *ids, eos] for ids in chunks + [[]] * (count - len(chunks))]
        rows = [row + [pad] * (room + 2 - len(row)) for row in rows]
        states.append(pipe.text_encoder(torch.tensor(rows))[0].reshape(1, count * (room + 2), -1))
    return states


def strip(pictures: list[Image.Image]) -> Image.Image:
    """Pictures of any sizes side by side."""
    width = sum(picture.width for picture in pictures)
    sheet = Image.new("RGB", (width, max(picture.height for picture in pictures)))
    left = 0
    for one in pictures:
        sheet.paste(one, (left, 0))
        left += one.width
    return sheet


def main() -> None:
    """Write every golden file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="")
    only = parser.parse_args().only
    out = SHAPES.parent
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(2)
    record_shapes()
    images = inputs()
    for name, image in images.items():
        image.save(out / name, optimize=True)
    with tempfile.TemporaryDirectory() as folder:
        pipes = {kind: load(write_checkpoint(kind, Path(folder) / kind)) for kind in KINDS}
        pipes["demo"] = load(DEMO)
        for sheet in SHEETS:
            if not sheet.name.startswith(only):
                continue
            pipe = pipes[sheet.checkpoint]
            own = pipe.scheduler
            made = []
            for row in JOBS[sheet.job]:
                pipe.scheduler = scheduler(pipe, sheet.sampler)
                made.append(picture(pipe, row, sheet, images))
                pipe.scheduler = own
            # Lossless, and three quarters of a PNG's size.
            options = {"lossless": True, "quality": 100, "method": 6}
            strip(made).save(out / f"{sheet.name}.webp", **options)
            print(sheet.name, flush=True)
    record = {
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "transformers": transformers.__version__,
        "jobs": JOBS,
        "sheets": [dataclasses.asdict(sheet) for sheet in SHEETS],
    }
    text = json.dumps(record, ensure_ascii=False, indent=0)
    (out / "pictures.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
