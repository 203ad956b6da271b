"""Record what diffusers and peft make of LoRAs in all their ways of naming tensors, for the tests.

Run in an environment with torch, diffusers, transformers and peft (not sdbatch's own):

    pip install torch diffusers transformers peft safetensors pillow
    python tools/golden_lora_names.py        # writes tests/golden/lora/namings/

For every way a file of a few modules of a tiny network of random weights, and in changes.npz what
is added to each weight. weights.json lists the names of all weights of the networks.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from diffusers import (
    DDIMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from golden_lora import ROOT, plain, to_kohya
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

TINY_UNET = {
    "norm_num_groups": 8,
    "cross_attention_dim": 16,
    "attention_head_dim": 2,
    "sample_size": 8,
    "layers_per_block": 1,
    "block_out_channels": [16, 24],
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
}
TINY_SDXL = {
    **TINY_UNET,
    "cross_attention_dim": 32,
    "layers_per_block": 2,
    "block_out_channels": [16, 24, 24],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "transformer_layers_per_block": [1, 1, 2],
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 16 + 6 * 8,
}
TINY_TEXT = {
    "vocab_size": 64,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 16,
    "projection_dim": 16,
}

# What the tiny LoRAs change. `original` names exist for the UNet of SDXL only.
SD_UNET = [
    "conv_in",
    "time_embedding.linear_1",
    "down_blocks.0.resnets.0.conv1",
    "down_blocks.0.resnets.0.time_emb_proj",
    "down_blocks.0.attentions.0.proj_in",
    "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q",
    "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k",
    "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_v",
    "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_out.0",
    "down_blocks.0.attentions.0.transformer_blocks.0.ff.net.0.proj",
    "down_blocks.0.downsamplers.0.conv",
    "mid_block.attentions.0.proj_out",
    "up_blocks.0.resnets.1.conv_shortcut",
    "up_blocks.1.attentions.1.transformer_blocks.0.ff.net.2",
]
UNET_ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
OLD_TEXT_ATTENTION = {"q_proj": "to_q", "k_proj": "to_k", "v_proj": "to_v", "out_proj": "to_out"}
# To the names that diffusers gave attention while a LoRA was a part of its processor.
OLD_NAMES = tuple(
    (f".{part}.lora_{factor}.", f".{old}_lora.{new}.")
    for factor, new in (("A", "down"), ("B", "up"))
    for part, old in (
        *((part, f"processor.{part.removesuffix('.0')}") for part in UNET_ATTENTION),
        *OLD_TEXT_ATTENTION.items(),
    )
)
TEXT_ATTENTION = [f"encoder.layers.1.self_attn.{leaf}_proj" for leaf in ("q", "k", "v", "out")]
TEXT = [*TEXT_ATTENTION, "encoder.layers.0.mlp.fc1", "encoder.layers.0.mlp.fc2"]
TEXT_2 = [*TEXT, "text_projection"]
TEXT_LEAVES = (*OLD_TEXT_ATTENTION, "fc1", "fc2")
SD_PARTS = ("unet", "text_encoder")
SETTINGS = {
    "settings": {
        "r": 3,
        "lora_alpha": 2,
        "rank_pattern": {"attn1.to_q": 1, "^conv_in": 2, r"resnets\.\d+\.conv.*": 4},
        "alpha_pattern": {"attn1.to_q": 5, "proj_(in|out)": 1.5},
    },
    "settings_root": {"r": 3, "lora_alpha": 2, "use_rslora": True},
}
SDXL_UNET = {
    "conv_in": "input_blocks_0_0",
    "conv_out": "out_2",
    "time_embedding.linear_1": "time_embed_0",
    "time_embedding.linear_2": "time_embed_2",
    "add_embedding.linear_1": "label_emb_0_0",
    "add_embedding.linear_2": "label_emb_0_2",
    "down_blocks.0.resnets.1.conv1": "input_blocks_2_0_in_layers_2",
    "down_blocks.0.downsamplers.0.conv": "input_blocks_3_0_op",
    "down_blocks.1.resnets.0.conv_shortcut": "input_blocks_4_0_skip_connection",
    "down_blocks.1.resnets.1.time_emb_proj": "input_blocks_5_0_emb_layers_1",
    "down_blocks.1.attentions.0.proj_in": "input_blocks_4_1_proj_in",
    "down_blocks.2.attentions.1.transformer_blocks.1.attn1.to_q": (
        "input_blocks_8_1_transformer_blocks_1_attn1_to_q"
    ),
    "mid_block.resnets.0.conv2": "middle_block_0_out_layers_3",
    "mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj": (
        "middle_block_1_transformer_blocks_0_ff_net_0_proj"
    ),
    "mid_block.resnets.1.conv1": "middle_block_2_in_layers_2",
    "up_blocks.0.resnets.2.conv2": "output_blocks_2_0_out_layers_3",
    "up_blocks.0.attentions.2.transformer_blocks.0.attn2.to_out.0": (
        "output_blocks_2_1_transformer_blocks_0_attn2_to_out_0"
    ),
    "up_blocks.0.upsamplers.0.conv": "output_blocks_2_2_conv",
    "up_blocks.1.attentions.1.proj_out": "output_blocks_4_1_proj_out",
    "up_blocks.2.resnets.1.conv_shortcut": "output_blocks_7_0_skip_connection",
}


def factors(network: torch.nn.Module, seed: int) -> None:
    """Give all LoRA layers of a network random factors of a few levels, that half floats hold."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in network.named_parameters():
        if ".lora_" in name:
            levels = torch.randint(-2, 3, weight.shape, generator=generator).float()
            weight.data = levels / 8


def tiny_sd() -> StableDiffusionPipeline:
    """A tiny SD 1.x of random weights, without what a LoRA does not touch."""
    return StableDiffusionPipeline(
        vae=None,
        text_encoder=CLIPTextModel(CLIPTextConfig(**TINY_TEXT)),
        tokenizer=None,
        unet=UNet2DConditionModel(**TINY_UNET),
        scheduler=DDIMScheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def tiny_sdxl() -> StableDiffusionXLPipeline:
    """A tiny SDXL of random weights."""
    return StableDiffusionXLPipeline(
        vae=None,
        text_encoder=CLIPTextModel(CLIPTextConfig(**TINY_TEXT)),
        text_encoder_2=CLIPTextModelWithProjection(CLIPTextConfig(**TINY_TEXT)),
        tokenizer=None,
        tokenizer_2=None,
        unet=UNet2DConditionModel(**TINY_SDXL),
        scheduler=DDIMScheduler(),
    )


def lora_config(network: torch.nn.Module, targets: list[str], **settings) -> LoraConfig:
    """For these modules of a network: transformers 5 may leave a prefix out."""
    exact = [name for name, _ in network.named_modules() if name.endswith(tuple(targets))]
    settings = {"r": 2, "lora_alpha": 2, **settings}
    return LoraConfig(target_modules=exact, init_lora_weights=False, **settings)


def adapter(network: torch.nn.Module, config: LoraConfig) -> dict[str, torch.Tensor]:
    """Give a network a LoRA; its half-float factors, named by peft."""
    network.add_adapter(config)
    factors(network, seed=len(config.target_modules))
    state = get_peft_model_state_dict(network)
    return {key: value.half().contiguous() for key, value in state.items()}


def with_component(states: dict[str, dict]) -> dict[str, torch.Tensor]:
    """Keys as diffusers writes them: `unet.<module>.lora_A.weight`."""
    return {f"{part}.{key}": value for part, keys in states.items() for key, value in keys.items()}


def renamed(state: dict[str, torch.Tensor], *pairs: tuple[str, str]) -> dict[str, torch.Tensor]:
    """The state with every part of a key replaced, each key by the first pair that it has."""
    return {_replaced_once(key, pairs): value for key, value in state.items()}


def _replaced_once(key: str, pairs: tuple[tuple[str, str], ...]) -> str:
    return next((key.replace(old, new) for old, new in pairs if old in key), key)


def changes(networks: dict[str, torch.nn.Module]) -> dict[str, np.ndarray]:
    """What the loaded LoRA adds to each weight, by component and transformers' name."""
    found = {}
    for component, network in networks.items():
        for name, layer in network.named_modules():
            if isinstance(layer, LoraLayer):
                (name_of_lora,) = layer.lora_A
                change = layer.get_delta_weight(name_of_lora).detach().numpy()
                found[f"{component}|{canonical(component, name)}.weight"] = change
    return found


def canonical(component: str, name: str) -> str:
    """transformers 5 leaves the prefix out that all others write."""
    if component.startswith("text") and not name.startswith(("text_model.", "text_projection")):
        return f"text_model.{name}"
    return name


def make_namings(out: Path) -> dict:
    """A file for every way of naming, and in changes.npz what diffusers or peft makes of it."""
    torch.manual_seed(1)
    expected = {}
    pipe = tiny_sd()
    state = with_component(
        {
            "unet": adapter(pipe.unet, lora_config(pipe.unet, SD_UNET)),
            "text_encoder": adapter(pipe.text_encoder, lora_config(pipe.text_encoder, TEXT)),
        }
    )
    attention = {
        key: value
        for key, value in state.items()
        if any(f".{part}.lora_" in key for part in (*UNET_ATTENTION, *OLD_TEXT_ATTENTION))
    }
    processors = renamed(attention, *OLD_NAMES)
    no_prefix = {k.removeprefix("unet."): v for k, v in processors.items() if "unet." in k}
    layers = renamed(
        state,
        *((f"{part}.lora_A.", f"{part}.lora_linear_layer.down.") for part in TEXT_LEAVES),
        *((f"{part}.lora_B.", f"{part}.lora_linear_layer.up.") for part in TEXT_LEAVES),
        (".lora_A.", ".lora.down."),
        (".lora_B.", ".lora.up."),
    )
    forms = {
        "kohya": to_kohya(state, alpha=0.5),
        "diffusers": state,
        "diffusers_layers": layers,
        "diffusers_processors": processors,
        "diffusers_no_prefix": no_prefix,
    }
    for form, tensors in forms.items():
        save_file(tensors, out / f"{form}.safetensors")
        expected |= _tag(form, _loaded(tiny_sd(), out, f"{form}.safetensors", SD_PARTS))
    torch.save(to_kohya(state, alpha=0.5), out / "kohya.pt")
    expected |= _tag("kohya_pickle", _loaded(tiny_sd(), out, "kohya.pt", SD_PARTS))
    for form, settings in SETTINGS.items():
        _save_with_settings(out, form, settings)
        expected |= _tag(form, _loaded(tiny_sd(), out, f"{form}.safetensors", SD_PARTS))
    for form, part, targets in (
        ("peft_unet", "unet", SD_UNET),
        ("peft_text", "text_encoder", TEXT),
    ):
        network = getattr(tiny_sd(), part)
        settings = {"lora_alpha": 3, "use_rslora": part == "unet"}
        wrapped = get_peft_model(network, lora_config(network, targets, **settings))
        factors(wrapped, seed=7)
        wrapped.save_pretrained(out / form)
        (out / form / "README.md").unlink()
        expected |= _tag(form, changes({part: wrapped.base_model.model}))
    pipe = tiny_sdxl()
    targets = {"unet": list(SDXL_UNET), "text_encoder": TEXT, "text_encoder_2": TEXT_2}
    states = {
        part: adapter(getattr(pipe, part), lora_config(getattr(pipe, part), names))
        for part, names in targets.items()
    }
    save_file(to_kohya_sdxl(states, alpha=1.5), out / "kohya_sdxl.safetensors")
    expected |= _tag(
        "kohya_sdxl", _loaded(tiny_sdxl(), out, "kohya_sdxl.safetensors", tuple(targets))
    )
    np.savez_compressed(out / "changes.npz", **expected)
    return {
        "sd": {"layers_per_block": 1, "weights": _weight_names(tiny_sd(), SD_PARTS)},
        "sdxl": {"layers_per_block": 2, "weights": _weight_names(tiny_sdxl(), tuple(targets))},
    }


def _save_with_settings(out: Path, form: str, settings: dict) -> None:
    """As diffusers' training scripts save a LoRA, with peft's settings in the metadata."""
    pipe = tiny_sd()
    unet = lora_config(pipe.unet, SD_UNET, **settings)
    text = lora_config(pipe.text_encoder, TEXT, lora_alpha=6)
    StableDiffusionPipeline.save_lora_weights(
        out,
        unet_lora_layers=adapter(pipe.unet, unet),
        text_encoder_lora_layers=adapter(pipe.text_encoder, text),
        weight_name=f"{form}.safetensors",
        unet_lora_adapter_metadata=plain(unet),
        text_encoder_lora_adapter_metadata=plain(text),
    )


def _loaded(pipe, folder: Path, file: str, parts: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The changes that diffusers makes of a file."""
    if "no_prefix" in file:
        pipe.unet.load_lora_adapter(folder, weight_name=file, prefix=None)
    else:
        pipe.load_lora_weights(folder, weight_name=file)
    found = changes({part: getattr(pipe, part) for part in parts})
    assert found and all(change.any() for change in found.values()), file
    return found


def _tag(form: str, found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {f"{form}|{key}": change for key, change in found.items()}


def _weight_names(pipe, parts: tuple[str, ...]) -> dict[str, list[str]]:
    return {
        part: [canonical(part, name) for name in getattr(pipe, part).state_dict()] for part in parts
    }


def to_kohya_sdxl(states: dict[str, dict], alpha: float) -> dict[str, torch.Tensor]:
    """As kohya's scripts name a LoRA for SDXL: the UNet's blocks in the original layout."""
    found = {}
    for part, state in states.items():
        for key, value in state.items():
            module, _, factor = key.rpartition(".lora_")
            if part == "unet":
                start = f"lora_unet_{SDXL_UNET[module]}"
            else:
                number = "2" if part.endswith("2") else "1"
                start = f"lora_te{number}_{canonical(part, module).replace('.', '_')}"
            found[f"{start}.lora_{'down' if factor == 'A.weight' else 'up'}.weight"] = value
            found[f"{start}.alpha"] = torch.tensor(alpha)
    return found


def main() -> None:
    """Write every golden file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "tests" / "golden" / "lora" / "namings")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    weights = make_namings(out)
    (out / "weights.json").write_text(json.dumps(weights, indent=0) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
