"""Estimated memory against the bytes that Paddle counts, and against what is promised."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from sdbatch.engine.estimate import Estimate, ModelShape, Work, estimate
from sdbatch.models.config import UNetConfig, VAEConfig
from sdbatch.models.kernels import AttentionKernels
from sdbatch.weights.source import open_checkpoint
from tests.conftest import ASSETS, ROOT
from tests.engine.shapes import SIDES, shape
from tests.models.configs import SD15_UNET, SD15_VAE, SD21_UNET

FLASH = AttentionKernels(flash=160, memory_efficient=512)
EAGER = Work(
    width=512,
    height=512,
    batch=1,
    guided=True,
    number_bytes=4,
    vae_number_bytes=4,
    kernels=AttentionKernels(),
    on_gpu=False,
    columns=True,
)
HALF = replace(EAGER, number_bytes=2, vae_number_bytes=2, kernels=FLASH, on_gpu=True, columns=False)

DEMO_UNET = json.loads((ASSETS / "demo/unet/config.json").read_text())
DEMO_VAE = json.loads((ASSETS / "demo/vae/config.json").read_text())
MIDDLE_UNET = {**SD15_UNET, "block_out_channels": [32, 64, 96, 96]}
LINEAR_UNET = {
    **SD21_UNET,
    "block_out_channels": [32, 64, 96, 96],
    "attention_head_dim": [1, 2, 4, 4],
}
MIDDLE_VAE = {**SD15_VAE, "block_out_channels": [32, 32, 64, 64]}
SLICED, WHOLE = 1 << 20, 10**10


def case(network, config, pictures, height, width, score_bytes):
    return {
        "network": network,
        "config": config,
        "rows": pictures if network == "vae" else 2 * pictures,
        "height": height,
        "width": width,
        "score_bytes": score_bytes,
    }


# Each needs more than the one before it, weights included.
CASES = {
    "demo UNet": case("unet", DEMO_UNET, 1, 16, 16, SLICED),
    "odd sides": case("unet", MIDDLE_UNET, 2, 25, 31, SLICED),
    "demo VAE": case("vae", DEMO_VAE, 1, 16, 16, SLICED),
    "batch of 4": case("unet", DEMO_UNET, 4, 32, 32, SLICED),
    "linear projections": case("unet", LINEAR_UNET, 4, 40, 40, SLICED),
    "middle VAE": case("vae", MIDDLE_VAE, 1, 32, 32, SLICED),
    "scores at once": case("unet", MIDDLE_UNET, 2, 32, 32, WHOLE),
}


@pytest.fixture(scope="module")
def counted() -> dict[str, int]:
    """Peaks of all cases, from a process of their own."""
    result = subprocess.run(
        [sys.executable, "-m", "tests.engine.counting", json.dumps(list(CASES.values()))],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return dict(zip(CASES, json.loads(result.stdout.splitlines()[-1]), strict=True))


def estimated(case: dict) -> int:
    is_vae = case["network"] == "vae"
    model = ModelShape(
        UNetConfig.from_dict(DEMO_UNET if is_vae else case["config"]),
        VAEConfig.from_dict(case["config"] if is_vae else MIDDLE_VAE),
        0,
        0,
        0,
    )
    scale = model.vae.downscale
    work = replace(
        EAGER,
        width=scale * case["width"],
        height=scale * case["height"],
        batch=case["rows"] if is_vae else case["rows"] // 2,
        kernels=AttentionKernels(score_bytes=case["score_bytes"]),
    )
    found = estimate(model, work)
    return found.decoding if is_vae else found.denoising


@pytest.mark.parametrize("name", CASES)
def test_activations_are_what_paddle_counts(name, counted):
    assert 0.9 < estimated(CASES[name]) / counted[name] < 1.15


def test_sd15_in_half_precision_takes_at_most_3_gb():
    found = estimate(shape("sd1"), HALF)
    assert found.allocated <= 3.0e9
    assert found.total <= 3 << 30  # with the CUDA context


def test_weights_are_parameters_by_their_precision():
    model = shape("sdxl")
    found = estimate(model, replace(HALF, vae_number_bytes=4))
    assert found.unet_weights == 2 * 2_567_463_684
    assert found.vae_weights == 4 * 83_653_863
    assert found.text_weights == 2 * model.text_parameters


def test_an_engine_with_an_order_of_its_own_holds_weights_twice():
    once, twice = (estimate(shape("sd1"), replace(EAGER, weight_copies=n)) for n in (1, 2))
    assert twice.unet_weights == 2 * once.unet_weights
    assert twice.text_weights == once.text_weights


def test_a_checkpoint_tells_its_own_shape():
    checkpoint = open_checkpoint(ASSETS / "demo")
    unet, vae = UNetConfig.from_dict(DEMO_UNET), VAEConfig.from_dict(DEMO_VAE)
    model = ModelShape.of(checkpoint, unet, vae)
    counts = model.unet_parameters, model.vae_parameters, model.text_parameters
    assert sum(counts) == checkpoint.parameters
    assert all(counts)


def test_denoising_and_decoding_share_their_memory():
    memory = Estimate(5, 3, 2, denoising=20, decoding=30, process=7)
    assert (memory.allocated, memory.total) == (40, 47)


def of(**changes) -> Estimate:
    return estimate(shape("sd1"), replace(HALF, **changes))


def test_a_batch_enlarges_denoising_but_decodes_one_picture_at_a_time():
    one, four = of(batch=1), of(batch=4)
    assert 3.5 * one.denoising < four.denoising < 4.5 * one.denoising
    assert four.decoding < 1.1 * one.decoding


def test_guidance_doubles_the_rows():
    assert of(guided=False, batch=2).denoising == of(batch=1).denoising


@pytest.mark.parametrize("family", SIDES)
def test_scores_cost_what_a_kernel_without_them_saves(family):
    work = replace(HALF, width=SIDES[family], height=SIDES[family])
    by_products = replace(work, kernels=AttentionKernels(score_bytes=WHOLE))
    model = shape(family)
    assert estimate(model, by_products).denoising > 2 * estimate(model, work).denoising


def test_scores_wider_than_half_precision_cost_more():
    sd2 = shape("sd2")
    narrow = replace(sd2, unet=replace(sd2.unet, upcast_attention=False))
    work = replace(HALF, kernels=AttentionKernels(score_bytes=WHOLE))
    assert estimate(sd2, work).denoising > 2 * estimate(narrow, work).denoising


def test_tiles_bound_the_decoder_whatever_the_picture():
    whole, tiled = of(width=2048, height=2048), of(width=2048, height=2048, tile=512)
    assert tiled.decoding < 0.2 * whole.decoding
    assert of(tile=1024) == of()


def test_a_larger_picture_takes_more():
    small, large = of(), of(width=1024, height=1024)
    assert large.denoising > 3 * small.denoising
    assert large.decoding > 3 * small.decoding
