"""Single files in the original layout of CompVis and Stability: SD 1.x, 2.x and XL.

Keys are given without the prefix of their network (`model.diffusion_model.` and the like), which
`single_file` takes off. In the UNet, blocks are counted through: 0 is the first convolution, then
every level has its layers and, but for the last one, what changes the resolution.
Reference: diffusers `loaders/single_file_utils.py`; tests/golden/keys was made with it.
"""

from __future__ import annotations

import re
from functools import partial

import numpy as np

from sdbatch.weights.maps import Layout, replaced

_UNET_NAMES = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "add_embedding.linear_1",
    "label_emb.0.2": "add_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "middle_block.0": "mid_block.resnets.0",
    "middle_block.1": "mid_block.attentions.0",
    "middle_block.2": "mid_block.resnets.1",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}
_RESNET_NAMES = (
    ("in_layers.0.", "norm1."),
    ("in_layers.2.", "conv1."),
    ("emb_layers.1.", "time_emb_proj."),
    ("out_layers.0.", "norm2."),
    ("out_layers.3.", "conv2."),
    ("skip_connection.", "conv_shortcut."),
)


def unet_module(name: str, layers_per_block: int) -> str:
    """diffusers' name of a module or weight of the UNet; unknown names stay as they are."""
    found = re.fullmatch(r"(input_blocks|output_blocks)\.(\d+)\.(\d+)\.(.+)", name)
    if found and found[1] == "input_blocks" and found[2] != "0":
        level, layer = divmod(int(found[2]) - 1, layers_per_block + 1)
        if layer == layers_per_block:
            place, rest = "downsamplers.0", found[4].replace("op", "conv", 1)
        else:
            place, rest = f"{('resnets', 'attentions')[found[3] != '0']}.{layer}", found[4]
        name = f"down_blocks.{level}.{place}.{rest}"
    elif found and found[1] == "output_blocks":
        level, layer = divmod(int(found[2]), layers_per_block + 1)
        if found[3] == "0":
            place = f"resnets.{layer}"
        else:  # what enlarges comes after the attention, or in its place where there is none
            place = "upsamplers.0" if found[4].startswith("conv") else f"attentions.{layer}"
        name = f"up_blocks.{level}.{place}.{found[4]}"
    else:
        for old, new in _UNET_NAMES.items():
            if name.startswith(f"{old}."):
                name = new + name[len(old) :]
                break
    return replaced(name, _RESNET_NAMES) if ".resnets." in name else name


def _unet(key: str, array: np.ndarray, *, layers: int) -> list[tuple[str, np.ndarray]]:
    return [(unet_module(key, layers), array)]


def unet(layers_per_block: int) -> Layout:
    """The UNet; `layers_per_block` is 2 in every Stable Diffusion."""
    return Layout(partial(_unet, layers=layers_per_block))


_VAE_NAMES = (
    (".mid.block_1.", ".mid_block.resnets.0."),
    (".mid.block_2.", ".mid_block.resnets.1."),
    (".mid.attn_1.norm.", ".mid_block.attentions.0.group_norm."),
    (".mid.attn_1.q.", ".mid_block.attentions.0.to_q."),
    (".mid.attn_1.k.", ".mid_block.attentions.0.to_k."),
    (".mid.attn_1.v.", ".mid_block.attentions.0.to_v."),
    (".mid.attn_1.proj_out.", ".mid_block.attentions.0.to_out.0."),
    (".norm_out.", ".conv_norm_out."),
    (".nin_shortcut.", ".conv_shortcut."),
    (".block.", ".resnets."),
    (".downsample.", ".downsamplers.0."),
    (".upsample.", ".upsamplers.0."),
    ("encoder.down.", "encoder.down_blocks."),
)


def _vae(key: str, array: np.ndarray, *, levels: int) -> list[tuple[str, np.ndarray]]:
    # Levels of the way up are counted from the highest resolution, in diffusers from the lowest.
    key = re.sub(
        r"^decoder\.up\.(\d{1,3})\.", lambda m: f"decoder.up_blocks.{levels - 1 - int(m[1])}.", key
    )
    return [(replaced(key, _VAE_NAMES), array)]


def vae(levels: int) -> Layout:
    """The autoencoder; `levels` is 4 in every Stable Diffusion."""
    return Layout(
        partial(_vae, levels=levels),
        (
            (r"loss\..+", "the discriminator of the autoencoder's training"),
            (r"model_ema\..+", "running averages of the autoencoder's training"),
        ),
    )


_OPEN_CLIP_NAMES = (
    ("token_embedding.", "text_model.embeddings.token_embedding."),
    ("ln_final.", "text_model.final_layer_norm."),
    ("transformer.resblocks.", "text_model.encoder.layers."),
    (".ln_1.", ".layer_norm1."),
    (".ln_2.", ".layer_norm2."),
    (".mlp.c_fc.", ".mlp.fc1."),
    (".mlp.c_proj.", ".mlp.fc2."),
    (".attn.", ".self_attn."),
)


def _open_clip(key: str, array: np.ndarray) -> list[tuple[str, np.ndarray]]:
    if key == "positional_embedding":
        return [("text_model.embeddings.position_embedding.weight", array)]
    if key == "text_projection":  # a bare matrix, applied as x @ P
        return [("text_projection.weight", array.T)]
    key = replaced(key, _OPEN_CLIP_NAMES)
    found = re.fullmatch(r"(.+\.self_attn)\.in_proj_(weight|bias)", key)
    if found and array.ndim and len(array) % 3 == 0:
        thirds = np.split(array, 3)
        return [(f"{found[1]}.{p}_proj.{found[2]}", a) for p, a in zip("qkv", thirds, strict=True)]
    return [(key, array)]


def open_clip(layers: int, *, projection: bool) -> Layout:
    """OpenCLIP's text tower: ViT-H in SD 2.x (23 of its 24 layers), ViT-bigG in SDXL."""
    droppable = [
        (r"logit_scale|attn_mask", "belongs to OpenCLIP's training"),
        (r"visual\..+", "OpenCLIP's image tower"),
        (
            rf"transformer\.resblocks\.{layers}\..+",
            "the encoder's last layer: the UNet reads the one before it",
        ),
    ]
    if not projection:
        droppable.append((r"text_projection", "no part of this pipeline reads the pooled text"))
    return Layout(_open_clip, tuple(droppable))
