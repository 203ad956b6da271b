"""What is not a LoRA, or not one for the model, is refused by file and key."""

import math
from functools import partial

import pytest

from sdbatch.errors import UserError
from sdbatch.weights.lora import open_lora, refuse_misplaced
from sdbatch.weights.lora_names import SUPPORTED
from tests.weights import loras
from tests.weights.loras import KOHYA_TO_Q, SHAPES, TO_Q, change, flat, kohya, random, unet_patch

ADVICE = "was this LoRA made for another family (SD 1.x, 2.x, XL)?"


@pytest.fixture
def write(tmp_path):
    """`write(tensors, metadata, name)`: a LoRA file; returns its path."""
    return partial(loras.write, tmp_path)


@pytest.mark.parametrize(
    ("leaf", "method"),
    [
        (".hada_w1_a", "LoHa"),
        (".lokr_w1", "LoKr"),
        (".lokr_w2_b", "LoKr"),
        (".dora_scale", "DoRA"),
        (".lora_magnitude_vector.weight", "DoRA"),
        (".lora_magnitude_vector", "DoRA"),
        (".diff", "a full difference of weights"),
        (".diff_b", "a full difference of weights"),
        (".w_norm", "a full difference of weights"),
        (".on_input", "IA3"),
        (".ia3_l.weight", "IA3"),
        (".oft_blocks", "OFT"),
        (".a1.weight", "GLoRA"),
        (".b2.weight", "GLoRA"),
        (".lora_embedding_A", "a LoRA of an embedding table"),
        (".lora_B.bias", "a LoRA with biases"),
        (".lora_B.default.bias", "a LoRA with biases"),
        (".modules_to_save.weight", "a retrained module"),
    ],
)
def test_other_methods_are_refused_by_name(write, leaf, method):
    key = f"{KOHYA_TO_Q}{leaf}"
    path = write(kohya() | {key: random(2, 2)})
    with pytest.raises(UserError) as caught:
        open_lora(path)
    assert str(caught.value) == f"{path}: {key}: this is {method}; supported: {SUPPORTED}"


@pytest.mark.parametrize(
    "key",
    [
        f"{TO_Q}.weight",
        f"{KOHYA_TO_Q}.lora_down",
        f"{KOHYA_TO_Q}.scalar",
        f"unet.{TO_Q}.to_k_custom_diffusion.weight",
        "model.diffusion_model.input_blocks.0.0.weight",
        "x",
    ],
)
def test_other_keys_are_refused(write, key):
    path = write(kohya() | {key: random(2, 2)})
    with pytest.raises(UserError) as caught:
        open_lora(path)
    assert str(caught.value) == f"{path}: {key}: not a key of a LoRA; supported: {SUPPORTED}"


def test_an_embedding_bundled_with_a_lora(write):
    key = "bundle_emb.style.string_to_param.*"
    path = write(kohya() | {key: random(2, 2)})
    with pytest.raises(UserError, match="this is an embedding bundled with a LoRA"):
        open_lora(path)


def test_a_file_without_tensors(write):
    path = write({})
    with pytest.raises(UserError) as caught:
        open_lora(path)
    assert str(caught.value) == f"{path}: holds no LoRA: it has no tensors"


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        (["lora_up.weight"], "lora_up.weight: has no down, only up"),
        (["lora_down.weight", "alpha"], "alpha: has no up, only alpha and down"),
        (["alpha"], "alpha: has no down, only alpha"),
    ],
)
def test_a_factor_without_its_partner(write, kept, message):
    tensors = kohya(alpha=1)
    path = write({f"{KOHYA_TO_Q}.{leaf}": tensors[f"{KOHYA_TO_Q}.{leaf}"] for leaf in kept})
    with pytest.raises(UserError) as caught:
        open_lora(path)
    assert str(caught.value) == f"{path}: {KOHYA_TO_Q}.{message}"


@pytest.mark.parametrize(
    "shapes",
    [
        {"down": (2, 4), "up": (6, 3)},
        {"down": (4,), "up": (6, 4)},
        {"down": (2, 4), "up": (6,)},
        {"down": (0, 4), "up": (6, 0)},
        {"down": (2, 4, 1, 3), "up": (6, 2, 3, 1)},
        {"down": (2, 4, 1, 1), "mid": (2, 3, 3, 3), "up": (6, 2, 1, 1)},
        {"down": (2, 4, 3, 3), "mid": (2, 2, 3, 3), "up": (6, 2, 1, 1)},
        {"down": (2, 4), "mid": (2, 2), "up": (6, 2)},
    ],
)
def test_factors_that_do_not_multiply(write, shapes):
    path = write(kohya(**shapes))
    with pytest.raises(UserError) as caught:
        open_lora(path)
    found = ", ".join(
        f"{role} {list(shapes[role])}" for role in ("down", "mid", "up") if role in shapes
    )
    where = f"{path}: {KOHYA_TO_Q}.lora_down.weight"
    assert str(caught.value) == f"{where}: factors do not multiply: {found}"


@pytest.mark.parametrize("alpha", [[1.0, 2.0], math.nan, math.inf])
def test_an_alpha_that_is_no_number(write, alpha):
    path = write(kohya(alpha=alpha))
    with pytest.raises(UserError) as caught:
        open_lora(path)
    assert str(caught.value) == f"{path}: {KOHYA_TO_Q}.alpha: expected one number"


def test_an_alpha_that_is_text(write):
    path = write(kohya(), {f"{KOHYA_TO_Q}.alpha": "2"})
    with pytest.raises(UserError, match="alpha: expected one number"):
        open_lora(path)


def test_two_loras_in_one_file(write):
    a, b = (f"unet.{TO_Q}.lora_A.{name}.weight" for name in ("one", "two"))
    path = write({a: random(2, 4), b: random(2, 4)})
    with pytest.raises(UserError) as caught:
        open_lora(path)
    assert str(caught.value) == (
        f"{path}: {a} and {b} are both the down of one module; expected one LoRA in a file"
    )


def test_one_module_under_two_names(write):
    path = write(kohya() | kohya("lora_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_q"))
    with pytest.raises(UserError) as caught:
        unet_patch((path, 1.0))
    first, second = (module.down for module in open_lora(path).modules["unet"])
    assert str(caught.value) == (
        f"{path}: {first} and {second} both change the weight {TO_Q}.weight"
    )


@pytest.mark.parametrize(
    "module",
    [
        "lora_unet_down_blocks_7_attentions_0_transformer_blocks_0_attn1_to_q",
        "lora_unet_double_blocks_0_img_attn_qkv",
        "unet.time_embedding.linear_1",
    ],
)
def test_a_module_that_is_no_weight_of_the_model(write, module):
    path = write(kohya() | kohya(module))
    with pytest.raises(UserError) as caught:
        unet_patch((path, 1.0))
    key = f"{module}.lora_down.weight"
    assert str(caught.value) == f"{path}: {key}: matches no weight of the unet; {ADVICE}"


@pytest.mark.parametrize(
    ("name", "down", "up", "found"),
    [
        (f"{TO_Q}.weight", (2, 5), (6, 2), [6, 5]),
        (f"{TO_Q}.weight", (2, 4, 3, 3), (6, 2, 1, 1), [6, 4, 3, 3]),
        ("down_blocks.0.resnets.0.conv1.weight", (2, 4), (6, 2), [6, 4]),
        ("down_blocks.0.resnets.0.conv1.weight", (2, 4, 1, 1), (6, 2, 1, 1), [6, 4, 1, 1]),
        ("down_blocks.0.attentions.0.proj_in.weight", (2, 6), (4, 2), [4, 6]),
    ],
)
def test_a_shape_that_is_not_the_weights(write, name, down, up, found):
    path = write(kohya(flat(name), down, up))
    with pytest.raises(UserError) as caught:
        change(path, name)
    assert str(caught.value) == (
        f"{path}: {flat(name)}.lora_down.weight: expected shape {list(SHAPES[name])}, "
        f"found {found}; was this LoRA made for another model?"
    )


def test_a_network_that_the_model_does_not_have(write):
    lora = open_lora(write(kohya() | kohya("lora_te2_text_model_x")))
    assert lora.components == ("text_encoder_2", "unet")
    refuse_misplaced([lora], ["unet", "text_encoder", "text_encoder_2"])
    with pytest.raises(UserError) as caught:
        refuse_misplaced([lora], ["unet", "text_encoder"])
    assert str(caught.value) == (
        f"{lora.path}: lora_te2_text_model_x.lora_down.weight: changes text_encoder_2, which "
        "this model does not have; was it made for another family (SD 1.x, 2.x, XL)?"
    )


def test_a_missing_file(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        open_lora(tmp_path / "none.safetensors")
