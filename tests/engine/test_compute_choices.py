"""How networks are computed on each card, by both Paddle lines."""

from dataclasses import replace

import pytest

from sdbatch.engine.cards import CARDS, Hardware, card
from sdbatch.engine.compute_choices import (
    choose_attention,
    choose_channels_last,
    choose_cinn,
    choose_cuda_graphs,
    choose_deleted_passes,
    choose_engine,
    choose_environment,
    choose_optimization_level,
    choose_precision,
    choose_tensorrt,
    choose_vae_precision,
    head_sizes,
)
from sdbatch.errors import UserError
from sdbatch.models.kernels import BY_PRODUCTS, AttentionKernels
from tests.engine.shapes import shape

OLD, NEW = (2, 6), (3, 3)
CPU = Hardware("cpu", None, 10**10, cores=4)
VOLTA_TURING = ["v100_16gb", "v100", "t4"]
AMPERE_ADA = ["a10", "a100_40gb", "a100", "rtx3090", "rtx4090", "l40s"]
HOPPER = ["h100", "h200"]
assert sorted(VOLTA_TURING + AMPERE_ADA + HOPPER) == sorted(CARDS)

ON_BOTH_LINES = [
    *((name, line) for name in VOLTA_TURING + AMPERE_ADA for line in (OLD, NEW)),
    *((name, NEW) for name in HOPPER),
]


def precision(name: str, asked: str = "auto", line=NEW, engine: str = "static") -> str:
    hardware = CPU if name == "cpu" else card(name)
    return choose_precision(hardware, line, engine, asked).value


def limits(name: str, heads, line=NEW) -> tuple[int, int]:
    kernels = choose_attention(card(name), line, heads).value
    return kernels.flash, kernels.memory_efficient


def sd_heads(family: str, name: str):
    model = shape(family)
    vae = choose_vae_precision(card(name), "fp16", model.vae.force_upcast).value
    return head_sizes(model.unet, model.vae, "fp16", vae)


class TestEngine:
    @pytest.mark.parametrize("name", CARDS)
    def test_is_a_program_in_memory_on_a_gpu(self, name):
        assert choose_engine(card(name), "auto").value == "static"

    def test_is_onednn_on_a_cpu(self):
        assert choose_engine(CPU, "auto").value == "inference"

    @pytest.mark.parametrize("hardware", [CPU, card("t4")])
    @pytest.mark.parametrize("name", ["dygraph", "static", "inference"])
    def test_is_the_one_asked_for(self, hardware, name):
        assert choose_engine(hardware, name).value == name


class TestPrecision:
    @pytest.mark.parametrize(("name", "line"), ON_BOTH_LINES)
    def test_is_fp16_on_a_gpu(self, name, line):
        assert precision(name, line=line) == "fp16"

    @pytest.mark.parametrize("line", [OLD, NEW])
    def test_is_fp32_on_a_cpu(self, line):
        assert precision("cpu", line=line) == "fp32"

    @pytest.mark.parametrize("name", CARDS)
    def test_may_be_fp32_anywhere(self, name):
        assert precision(name, "fp32") == "fp32"

    @pytest.mark.parametrize("name", AMPERE_ADA + HOPPER)
    def test_may_be_bf16_from_ampere_on(self, name):
        assert precision(name, "bf16") == "bf16"

    @pytest.mark.parametrize("name", VOLTA_TURING)
    def test_is_no_bf16_before(self, name):
        with pytest.raises(UserError, match=r"precision=bf16: .* has no bf16 .*expected fp16"):
            precision(name, "bf16")

    def test_may_be_bf16_on_a_cpu_with_paddle_3s_onednn(self):
        assert precision("cpu", "bf16", engine="inference") == "bf16"

    @pytest.mark.parametrize(
        ("asked", "line", "engine", "message"),
        [
            ("fp16", NEW, "inference", "no fp16 on a CPU; expected fp32 or bf16"),
            ("bf16", OLD, "inference", "needs Paddle 3; expected fp32"),
            ("bf16", NEW, "dygraph", "expected engine=inference, found dygraph"),
        ],
    )
    def test_is_refused_on_a_cpu_that_lacks_it(self, asked, line, engine, message):
        with pytest.raises(UserError, match=message):
            precision("cpu", asked, line, engine)

    def test_is_no_bf16_on_a_cpu_without_its_instructions(self):
        hardware = replace(CPU, bf16=False)
        with pytest.raises(UserError, match=r"this CPU multiplies no bfloat16 .*; expected fp32"):
            choose_precision(hardware, NEW, "inference", "bf16")
        assert choose_precision(hardware, NEW, "inference", "auto").value == "fp32"


class TestVaePrecision:
    @pytest.mark.parametrize("name", CARDS)
    def test_is_the_unets(self, name):
        assert choose_vae_precision(card(name), "fp16", force_upcast=False).value == "fp16"

    @pytest.mark.parametrize("name", AMPERE_ADA + HOPPER)
    def test_has_the_range_of_fp32_where_fp16_overflows(self, name):
        assert choose_vae_precision(card(name), "fp16", force_upcast=True).value == "bf16"

    @pytest.mark.parametrize("name", VOLTA_TURING)
    def test_is_fp32_where_there_is_no_bf16(self, name):
        assert choose_vae_precision(card(name), "fp16", force_upcast=True).value == "fp32"

    @pytest.mark.parametrize("name", ["bf16", "fp32"])
    def test_is_left_alone_where_nothing_overflows(self, name):
        assert choose_vae_precision(card("a100"), name, force_upcast=True).value == name


def test_heads_are_those_of_the_checkpoints():
    vae = {(512, "fp32")}
    sd1, sd2, sdxl = (
        head_sizes(shape(family).unet, shape(family).vae, "fp16", "fp32")
        for family in ("sd1", "sd2", "sdxl")
    )
    assert sd1 == {(40, "fp16"), (80, "fp16"), (160, "fp16")} | vae
    assert sd2 == sdxl == {(64, "fp16")} | vae


class TestAttention:
    @pytest.mark.parametrize("line", [OLD, NEW])
    @pytest.mark.parametrize("name", AMPERE_ADA)
    @pytest.mark.parametrize(("family", "widest"), [("sd1", 160), ("sd2", 64), ("sdxl", 64)])
    def test_is_flash_on_ampere_and_ada(self, name, line, family, widest):
        assert limits(name, sd_heads(family, name), line) == (widest, 512)

    @pytest.mark.parametrize("line", [OLD, NEW])
    @pytest.mark.parametrize("name", VOLTA_TURING)
    @pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
    def test_is_memory_efficient_before(self, name, line, family):
        assert limits(name, sd_heads(family, name), line) == (0, 512)

    @pytest.mark.parametrize("name", HOPPER)
    @pytest.mark.parametrize(("family", "widest"), [("sd1", 160), ("sd2", 64), ("sdxl", 64)])
    def test_is_flash_on_hopper_and_products_in_the_vae(self, name, family, widest):
        assert limits(name, sd_heads(family, name)) == (widest, 0)

    @pytest.mark.parametrize(("name", "line"), ON_BOTH_LINES)
    def test_is_never_flash_in_fp32(self, name, line):
        expected = 0 if name in HOPPER else 512
        assert limits(name, {(64, "fp32"), (512, "fp32")}, line) == (0, expected)

    @pytest.mark.parametrize("name", AMPERE_ADA + HOPPER)
    def test_is_flash_up_to_256(self, name):
        assert limits(name, {(256, "bf16"), (264, "bf16")})[0] == 256

    @pytest.mark.parametrize(("name", "line"), ON_BOTH_LINES)
    def test_is_by_products_where_heads_are_not_in_steps_of_8(self, name, line):
        assert limits(name, {(12, "fp16"), (24, "fp16"), (96, "fp16")}, line) == (0, 0)

    @pytest.mark.parametrize(
        ("capability", "line", "has"),
        [((9, 0), OLD, False), ((12, 1), NEW, True), ((13, 0), NEW, False)],
    )
    def test_is_flash_up_to_the_last_card_that_the_line_knows(self, capability, line, has):
        hardware = Hardware("a card", capability, 10**10)
        kernels = choose_attention(hardware, line, {(64, "fp16")}).value
        assert kernels.flash == (64 if has else 0)
        assert kernels.memory_efficient == 0

    def test_never_takes_a_network_to_a_kernel_for_the_others_precision(self):
        # The limit of 160 would take the VAE's heads of 96, in fp32, along.
        heads = {(64, "fp16"), (160, "fp16"), (96, "fp32")}
        assert limits("a100", heads) == (64, 160)
        assert limits("h100", heads) == (64, 0)

    def test_is_by_products_in_slices_that_stay_in_the_cache_on_a_cpu(self):
        assert choose_attention(CPU, NEW, {(40, "fp32")}).value == BY_PRODUCTS

    def test_slices_scores_less_finely_on_a_gpu(self):
        kernels = choose_attention(card("h100"), NEW, {(512, "fp16")}).value
        assert kernels.score_bytes > AttentionKernels().score_bytes

    def test_says_which_head_goes_where(self):
        reason = choose_attention(card("h100"), NEW, {(64, "fp16"), (512, "bf16")}).reason
        assert reason == "heads of 64 (fp16) flash, 512 (bf16) products"


class TestChannelsLast:
    @pytest.mark.parametrize("name", CARDS)
    def test_pays_in_half_precision_by_paddle_inference(self, name):
        assert choose_channels_last(card(name), "inference", "fp16").value
        assert not choose_channels_last(card(name), "inference", "fp32").value
        assert not choose_channels_last(card(name), "static", "fp16").value

    def test_is_onednns_own_affair_on_a_cpu(self):
        assert not choose_channels_last(CPU, "inference", "bf16").value


class TestPasses:
    @pytest.mark.parametrize("name", CARDS)
    def test_do_not_lower_what_is_lowered(self, name):
        deleted = choose_deleted_passes(card(name), "inference", channels_last=True).value
        assert deleted == ("auto_mixed_precision_pass",)

    def test_leave_the_layout_where_channels_last_does_not_pay(self):
        deleted = choose_deleted_passes(card("t4"), "inference", channels_last=False).value
        assert "transfer_layout_pass" in deleted

    @pytest.mark.parametrize("engine", ["static", "dygraph", "inference"])
    def test_are_paddles_own_on_a_cpu(self, engine):
        assert choose_deleted_passes(CPU, engine, channels_last=False).value == ()

    @pytest.mark.parametrize("engine", ["static", "inference"])
    def test_are_at_paddles_level(self, engine):
        assert choose_optimization_level(engine).value is None


class TestCompilers:
    def test_are_not_used_unasked(self):
        assert not choose_cinn(card("a100"), NEW, "static", asked=False).value
        assert not choose_tensorrt(card("a100"), "inference", asked=False).value
        assert not choose_cuda_graphs().value

    def test_are_used_when_asked_for(self):
        assert choose_cinn(card("a100"), NEW, "static", asked=True).value
        assert choose_tensorrt(card("a100"), "inference", asked=True).value

    @pytest.mark.parametrize(
        ("hardware", "line", "engine"),
        [(card("a100"), OLD, "static"), (card("a100"), NEW, "dygraph"), (CPU, NEW, "static")],
    )
    def test_cinn_is_refused_where_it_cannot_be_had(self, hardware, line, engine):
        with pytest.raises(UserError, match=r"engine\.cinn=true: expected .*, found engine="):
            choose_cinn(hardware, line, engine, asked=True)

    @pytest.mark.parametrize(("hardware", "engine"), [(card("a100"), "static"), (CPU, "inference")])
    def test_tensorrt_is_refused_where_it_cannot_be_had(self, hardware, engine):
        with pytest.raises(UserError, match=r"engine\.tensorrt=true: expected .*, found engine="):
            choose_tensorrt(hardware, engine, asked=True)


class TestEnvironment:
    @pytest.mark.parametrize("name", CARDS)
    def test_fails_at_once_and_repeats_itself_on_a_gpu(self, name):
        found = choose_environment(card(name)).value
        assert found["FLAGS_gpu_allocator_retry_time"] == "1"
        assert found["FLAGS_cudnn_exhaustive_search"] == "0"
        assert found["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"  # as `installed_cards` counts

    def test_is_empty_on_a_cpu(self):
        assert choose_environment(CPU).value == {}
