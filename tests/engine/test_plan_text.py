"""The plan as people read it, and the page that quotes it."""

import subprocess
import sys

import pytest

from sdbatch.engine.cards import CARDS, Hardware, card
from sdbatch.engine.choices import Asked, choose
from sdbatch.engine.plan_text import UNMEASURED, explain, gigabytes
from sdbatch.errors import UserError
from tests.conftest import ROOT
from tests.engine.shapes import SIDES, shape

NEW = (3, 3)
CPU = Hardware("cpu", None, 12 * 10**9, cores=2)


def plan(hardware, family="sd1", line=NEW, **asked) -> str:
    return explain(hardware, line, shape(family), Asked(SIDES[family], SIDES[family], **asked))


def test_a_plan_names_the_card_and_the_line():
    assert plan(card("t4")).splitlines()[0] == ("plan for T4 (compute capability 7.5), Paddle 3.3")


def test_each_choice_has_a_line_with_its_reason():
    text = plan(card("h100"), "sdxl", batch_size=1)
    for line in (
        "  engine                static: one program a network",
        "  precision             fp16: half the memory",
        "  VAE precision         bf16: force_upcast",
        "  attention             flash up to 64: heads of 64 (fp16) flash, 512 (bf16) products",
        "  CUDA graphs           no: ",
        "  VAE tile              none: whole pictures fit",
        "  batch size            1: asked for",
    ):
        assert line in text
    assert "FLAGS_gpu_allocator_retry_time=1" in text


def test_memory_is_told_by_part():
    choices = choose(card("t4"), NEW, shape("sd1"), Asked(512, 512, batch_size=2))
    text = plan(card("t4"), batch_size=2)
    assert "memory, estimated: batch 2, 512x512" in text
    assert "  UNet weights            1.72 GB" in text
    assert f"  peak                    {gigabytes(choices.memory.total)} GB" in text
    assert "  free                   16.11 GB" in text


@pytest.mark.parametrize("name", CARDS)
def test_a_gpus_plan_says_that_it_is_unmeasured(name):
    assert plan(card(name)).splitlines()[-1] == UNMEASURED


def test_a_cpus_plan_has_no_card_in_it():
    text = plan(CPU)
    assert text.startswith("plan for cpu, 2 cores, Paddle 3.3\n")
    assert "CUDA context" not in text
    assert UNMEASURED not in text


def test_a_plan_that_cannot_be_is_refused():
    with pytest.raises(UserError, match="expected Paddle 3"):
        plan(card("h100"), line=(2, 6))


def test_a_plan_is_made_without_paddle():
    script = "import sys, sdbatch.engine.plan_text; print('paddle' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True
    )
    assert result.stdout == "False\n", result.stderr


MODELS = {"sd1": "SD 1.5", "sd2": "SD 2.1", "sdxl": "SDXL"}


@pytest.mark.parametrize("name", ["t4", "a100", "h100"])
@pytest.mark.parametrize("family", MODELS)
def test_the_page_on_gpus_quotes_these_estimates(name, family):
    side = SIDES[family]
    one, auto = (
        choose(card(name), NEW, shape(family), Asked(side, side, batch_size=batch))
        for batch in (1, "auto")
    )
    weights = one.memory.unet_weights + one.memory.vae_weights + one.memory.text_weights
    row = [
        f"{MODELS[family]}, {side}x{side}",
        f"`{name}`",
        *map(gigabytes, (weights, one.memory.denoising, one.memory.decoding)),
        *map(gigabytes, (one.memory.allocated, one.memory.total)),
        str(auto.batch_size.value),
        gigabytes(auto.memory.total),
    ]
    assert f"| {' | '.join(row)} |" in (ROOT / "docs/gpu.md").read_text("utf-8").splitlines()
