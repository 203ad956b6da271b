"""All choices together: for every card and line, and as options for an engine."""

from pathlib import Path

import pytest

from sdbatch.engine.cards import Hardware, card
from sdbatch.engine.choices import Asked, choose
from sdbatch.engine.estimate import estimate
from sdbatch.errors import UserError
from sdbatch.models.kernels import BY_PRODUCTS
from tests.engine.shapes import SIDES, shape
from tests.engine.test_compute_choices import NEW, OLD, ON_BOTH_LINES

CPU = Hardware("cpu", None, 12 * 10**9, cores=2)
SQUARE = Asked(512, 512)


@pytest.mark.parametrize(("name", "line"), ON_BOTH_LINES)
@pytest.mark.parametrize("family", SIDES)
def test_every_card_runs_every_family(name, line, family):
    side = SIDES[family]
    choices = choose(card(name), line, shape(family), Asked(side, side))
    assert choices.precision.value == "fp16"
    assert choices.batch_size.value >= 8
    assert choices.memory.total < card(name).memory_bytes


@pytest.mark.parametrize("name", ["h100", "h200"])
def test_hopper_needs_paddle_3(name):
    with pytest.raises(UserError, match="expected Paddle 3"):
        choose(card(name), OLD, shape("sd1"), SQUARE)


def test_memory_is_that_of_the_batch_chosen():
    model = shape("sdxl")
    choices = choose(card("v100_16gb"), OLD, model, Asked(1024, 1024))
    assert choices.work.batch == choices.batch_size.value
    assert choices.work.vae_number_bytes == 4
    assert choices.memory == estimate(model, choices.work)


def test_sd15_takes_at_most_3_gb_on_a_card_with_flash_attention():
    choices = choose(card("a100"), NEW, shape("sd1"), Asked(512, 512, batch_size=1))
    assert choices.attention.value.flash == 160
    assert choices.memory.allocated <= 3e9


def test_options_are_what_was_chosen():
    asked = Asked(512, 512, engine="inference", tensorrt=True)
    choices = choose(card("a100"), NEW, shape("sd1"), asked)
    options = choices.options(Path("programs"), 1 << 20)
    assert (options.name, options.cache, options.cache_bytes) == (
        "inference",
        Path("programs"),
        1 << 20,
    )
    assert options.kernels == choices.attention.value
    assert options.tensorrt
    assert not options.cinn
    assert options.deleted_passes == ("auto_mixed_precision_pass",)
    assert options.optimization_level is None


def test_a_cpu_has_options_too():
    choices = choose(CPU, NEW, shape("sd1"), SQUARE)
    options = choices.options(Path("programs"), 1)
    assert (options.name, options.kernels) == ("inference", BY_PRODUCTS)
    assert choices.precision.value == choices.vae_precision.value == "fp32"


def test_bf16_on_a_cpu_reads_weights_in_float32():
    model = shape("sd1")
    full, half = (
        choose(CPU, NEW, model, Asked(512, 512, precision=p)).memory for p in ("fp32", "bf16")
    )
    assert half.unet_weights == full.unet_weights
    assert half.text_weights == 4 * model.text_parameters


def test_what_cannot_be_had_is_refused():
    with pytest.raises(UserError, match="precision=fp16"):
        choose(CPU, NEW, shape("sd1"), Asked(512, 512, precision="fp16"))
    with pytest.raises(UserError, match=r"engine\.cinn=true"):
        choose(CPU, NEW, shape("sd1"), Asked(512, 512, cinn=True))
