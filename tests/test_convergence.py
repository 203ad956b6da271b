"""Higher-order solvers really are: in 20 steps they come nearer to where 1000 small steps lead."""

import json

import numpy as np
import paddle
import pytest

from sdbatch.request import ImageRequest
from sdbatch.samplers import SamplerOptions
from tests.conftest import GOLDEN

STEPS = 20


@pytest.fixture(scope="module")
def golden_end(pipelines) -> tuple[dict, np.ndarray]:
    """The job, and the pictures of 1000 steps of DDIM in PyTorch: float32 [4, 128, 128, 3]."""
    with np.load(GOLDEN.parent / "convergence.npz") as file:
        job, latents = json.loads(str(file["job"])), file["latents"]
    vae = pipelines("demo").vae
    with paddle.no_grad():
        pixels = vae.decode(paddle.to_tensor(latents / vae.config.scaling_factor)).numpy()
    return job, np.clip(pixels.transpose(0, 2, 3, 1) / 2 + 0.5, 0, 1)


@pytest.fixture(scope="module")
def distance(pipelines, golden_end):
    """`distance(options)`: root mean square from there, in units of the pixels' range."""
    job, end = golden_end

    def measure(options: SamplerOptions) -> float:
        requests = [
            ImageRequest(prompt, "", seed, 128, 128, STEPS, job["guidance_scale"])
            for prompt, seed in zip(job["prompts"], job["seeds"], strict=True)
        ]
        found = pipelines("demo", options).generate(requests)
        return float(np.sqrt(np.mean((found - end) ** 2)))

    return measure


@pytest.fixture(scope="module")
def ddim(distance) -> float:
    """How far DDIM itself is off in as many steps, from the same first timestep."""
    return distance(SamplerOptions("ddim", spacing="trailing"))


def test_dpmpp_2m_comes_nearer_than_ddim(distance, ddim):
    assert distance(SamplerOptions("dpmpp_2m", spacing="trailing")) < ddim


def test_with_karras_sigmas_in_half_the_distance(distance, ddim):
    assert distance(SamplerOptions("dpmpp_2m", sigmas="karras")) < ddim / 2
