"""Record where 1000 steps of DDIM lead in PyTorch, for the test of convergence.

Run in an environment with torch, diffusers and transformers (not sdbatch's own):

    pip install torch diffusers transformers
    python tools/golden_convergence.py       # writes tests/golden/convergence.npz

Final latents of the demo checkpoint, float32 on a CPU, one generator a picture.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline

ROOT = Path(__file__).resolve().parent.parent
JOB = {
    "prompts": [
        "a large red star on a white background",
        "a small blue circle on a yellow background",
        "a large green heart on a black background",
        "a small purple square on an orange background",
    ],
    "seeds": [7, 8, 9, 10],
    "guidance_scale": 5.0,
    "steps": 1000,
}


def main() -> None:
    """Write the golden file."""
    pipe = StableDiffusionPipeline.from_pretrained(
        ROOT / "sdbatch" / "assets" / "demo", torch_dtype=torch.float32, safety_checker=None
    )
    # From the last timestep of training, as the solvers that are compared.
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, timestep_spacing="trailing")
    latents = pipe(
        JOB["prompts"],
        num_inference_steps=JOB["steps"],
        guidance_scale=JOB["guidance_scale"],
        generator=[torch.Generator().manual_seed(seed) for seed in JOB["seeds"]],
        output_type="latent",
    ).images
    path = ROOT / "tests" / "golden" / "convergence.npz"
    np.savez_compressed(path, job=np.array(json.dumps(JOB)), latents=latents.numpy())


if __name__ == "__main__":
    main()
