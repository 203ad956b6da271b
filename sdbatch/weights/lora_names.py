"""What LoRA files call a factor and the module it belongs to, as pure functions.

A module's name is never taken apart where it could be read in two ways (kohya writes `_` for `.`):
every module of the model says by which names files may know it, and a file's name is looked up.
Sources: kohya-ss/sd-scripts `networks/lora.py`; diffusers `utils/state_dict_utils.py` and
`loaders/lora_conversion_utils.py`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

SUPPORTED = "LoRA and LoCon, with factors down and up, for convolutions mid, and an alpha"

_FACTOR = re.compile(
    r"(?P<module>.+?)"
    r"(?:\.lora_(?:linear_layer\.)?|[._]lora\.)"  # kohya and peft, diffusers old and older
    r"(?P<role>down|up|mid|A|B)"
    r"(?:\.\w+)?\.weight"  # peft may keep the adapter's name: .lora_A.default.weight
)
_ALPHA = re.compile(r"(?P<module>.+)\.alpha")
_ROLES = {"A": "down", "B": "up"}

_PEFT = "base_model.model."
_PREFIXES = (
    ("lora_unet_", "unet"),
    ("lora_te_", "text_encoder"),
    ("lora_te1_", "text_encoder"),
    ("lora_te2_", "text_encoder_2"),
    ("unet.", "unet"),
    ("text_encoder.", "text_encoder"),
    ("text_encoder_2.", "text_encoder_2"),
)
_TEXT = ("text_model.", "encoder.layers.")

_OTHER_METHODS = (
    (r"\.hada_", "LoHa"),
    (r"\.lokr_", "LoKr"),
    (r"\.(dora_scale|lora_magnitude_vector)\b", "DoRA"),
    (r"\.(diff|diff_b|w_norm|b_norm)$", "a full difference of weights"),
    (r"\.(on_input|ia3_l)\b", "IA3"),
    (r"\.b?oft_", "OFT"),
    (r"\.[ab][12]\.weight$", "GLoRA"),
    (r"\.lora_embedding_[AB]\b", "a LoRA of an embedding table"),
    (r"\blora_B\b.*\.bias$", "a LoRA with biases"),
    (r"\bmodules_to_save\b", "a retrained module"),
    (r"\bstring_to_param\b", "an embedding bundled with a LoRA"),
)


@dataclass(frozen=True)
class Factor:
    """What one key of a LoRA file stands for.

    Attributes:
        component: `unet`, `text_encoder` or `text_encoder_2`.
        module: the module's name as the file writes it, without prefixes.
        role: `down`, `up`, `mid` or `alpha`.
    """

    component: str
    module: str
    role: str


def parse(key: str) -> Factor | None:
    """What a key stands for, or None if it is no part of a LoRA."""
    match = _FACTOR.fullmatch(key) or _ALPHA.fullmatch(key)
    if match is None:
        return None
    role = match.groupdict().get("role", "alpha")
    component, module = _component(match["module"].replace(".processor.", "."))
    return Factor(component, module, _ROLES.get(role, role))


def is_alpha(key: str) -> bool:
    """Whether the key is a module's alpha."""
    return _ALPHA.fullmatch(key) is not None


def is_peft(key: str) -> bool:
    """Whether peft itself wrote the key, which keeps a LoRA's alpha in a file beside."""
    return key.startswith(_PEFT)


def _component(name: str) -> tuple[str, str]:
    name = name.removeprefix(_PEFT)
    for prefix, component in _PREFIXES:
        if name.startswith(prefix):
            return component, name.removeprefix(prefix).removeprefix(_PEFT)
    # What peft and `save_attn_procs` save of one network has no prefix.
    return ("text_encoder" if name.startswith(_TEXT) else "unet"), name


def other_method(key: str) -> str | None:
    """The name of the method, not supported here, that a key belongs to, if it is known."""
    return next((name for pattern, name in _OTHER_METHODS if re.search(pattern, key)), None)


def lookup(names: Collection[str], layers_per_block: int) -> Mapping[str, str]:
    """From everything that a file may call a module, with `_` for `.`, to the module's weight.

    Args:
        names: the weights of one network, as diffusers and transformers name them.
        layers_per_block: of the UNet, by which the original layout counts its blocks.
    """
    table = {}
    for name in names:
        module, _, leaf = name.rpartition(".")
        if leaf == "weight":
            for alias in _aliases(module, layers_per_block):
                table[flat(alias)] = name
    return table


def flat(name: str) -> str:
    """The name with `_` for `.`, as kohya writes all and `lookup` expects it."""
    return name.replace(".", "_")


def _aliases(module: str, layers_per_block: int) -> Iterator[str]:
    yield module
    yield module.removeprefix("text_model.")  # transformers 5
    yield from _original(module, layers_per_block)
    parent, _, leaf = module.rpartition(".self_attn.")
    if leaf in _OLD_TEXT_ATTENTION:
        for start in (parent, parent.removeprefix("text_model.")):
            yield f"{start}.self_attn.{_OLD_TEXT_ATTENTION[leaf]}"
    if module.endswith(".to_out.0"):
        yield module.removesuffix(".0")  # attention processors of old diffusers


_OLD_TEXT_ATTENTION = {
    "q_proj": "to_q",
    "k_proj": "to_k",
    "v_proj": "to_v",
    "out_proj": "to_out",
}


def _original(module: str, layers_per_block: int) -> Iterator[str]:
    """The UNet's names in the original layout, which kohya's scripts keep for SDXL.

    There, blocks are counted through: `input_blocks.0` is the first convolution, then every level
    has its layers and, but for the last one, what changes the resolution. `.0` is the residual
    block, `.1` the attention.
    """
    if module in _ORIGINAL_ENDS:
        yield _ORIGINAL_ENDS[module]
    match = _BLOCK.fullmatch(module)
    if match is None:
        return
    way, kind, layer, rest = match["way"], match["kind"], int(match["layer"]), match["rest"]
    first = int(match["level"] or 0) * (layers_per_block + 1)
    if kind == "resnets":
        rest = _ORIGINAL_RESNET.get(rest, rest)
    if kind == "downsamplers":
        yield f"input_blocks.{first + 1 + layers_per_block}.0.op"
    elif kind == "upsamplers":  # after the attention, or in its place where there is none
        yield f"output_blocks.{first + layers_per_block}.1.conv"
        yield f"output_blocks.{first + layers_per_block}.2.conv"
    elif way == "mid_block":
        yield f"middle_block.{1 if kind == 'attentions' else 2 * layer}.{rest}"
    elif way == "down_blocks":
        yield f"input_blocks.{first + 1 + layer}.{int(kind == 'attentions')}.{rest}"
    else:
        yield f"output_blocks.{first + layer}.{int(kind == 'attentions')}.{rest}"


_BLOCK = re.compile(
    r"(?P<way>down_blocks|mid_block|up_blocks)(?:\.(?P<level>\d+))?"
    r"\.(?P<kind>resnets|attentions|downsamplers|upsamplers)\.(?P<layer>\d+)\.(?P<rest>.+)"
)
_ORIGINAL_ENDS = {
    "conv_in": "input_blocks.0.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}
_ORIGINAL_RESNET = {
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
