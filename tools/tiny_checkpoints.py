"""Write tiny checkpoints of random weights: like SD 2.1, like SDXL, and the demo made to inpaint.

    python tools/tiny_checkpoints.py sd2|sdxl|inpaint DST

NumPy alone, so that the tests and PyTorch read the same bytes (tools/golden_pictures.py). Configs
are the published ones, narrowed; tokenizers have the demo's small vocabulary. The names and shapes
of the weights were recorded from PyTorch's own modules: tests/golden/pictures/weights.json.gz.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
ASSETS = ROOT / "sdbatch" / "assets"
DEMO = ASSETS / "demo"
SHAPES = ROOT / "tests" / "golden" / "pictures" / "weights.json.gz"
KINDS = ("sd2", "sdxl", "inpaint")

_UNET = {"layers_per_block": 1, "norm_num_groups": 8, "sample_size": 12}
_VAE = {
    "block_out_channels": [8, 8, 16, 16],
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "sample_size": 96,
}
_TEXT = {"intermediate_size": 64, "vocab_size": 594}
# What differs from the published configs, by network.
_NARROWED = {
    "sd2": {
        "unet": {
            **_UNET,
            "block_out_channels": [32, 32, 64],
            "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
            "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
            "attention_head_dim": [2, 4, 8],
        },
        "vae": _VAE,
        # As wide as published: the width is what tells the family.
        "text_encoder": {**_TEXT, "num_hidden_layers": 2},
    },
    "sdxl": {
        "unet": {
            **_UNET,
            "block_out_channels": [32, 64, 64],
            "attention_head_dim": [2, 4, 8],
            "transformer_layers_per_block": [1, 1, 2],
            "cross_attention_dim": 32 + 64,
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 64 + 6 * 8,
        },
        "vae": _VAE,
        "text_encoder": {
            **_TEXT,
            "hidden_size": 32,
            "projection_dim": 32,
            "num_attention_heads": 2,
            "num_hidden_layers": 3,
        },
        "text_encoder_2": {
            **_TEXT,
            "hidden_size": 64,
            "projection_dim": 64,
            "num_attention_heads": 4,
            "num_hidden_layers": 3,
        },
    },
}
# Standard deviation of a weight's product with an input of variance 1: first match wins.
_GAINS = (
    (r"unet\.conv_out\.", 0.5),  # sampling stays smooth: small errors do not grow
    (r"vae\.decoder\.conv_out\.", 0.5),  # pixels stay inside 0..255
    (r"", 1.0),
)


def write_checkpoint(kind: str, folder: Path) -> Path:
    """Write a tiny checkpoint in diffusers' layout.

    Args:
        kind: one of `KINDS`.
        folder: must not exist.

    Returns:
        `folder`. The bytes are the same on every machine.
    """
    if kind == "inpaint":
        return _write_inpaint(folder)
    shutil.copytree(ASSETS / "families" / kind, folder)
    for tokenizer in folder.glob("tokenizer*"):
        for name in ("vocab.json", "merges.txt"):
            shutil.copy(DEMO / "tokenizer" / name, tokenizer)
    with gzip.open(SHAPES, "rt", encoding="utf-8") as file:
        shapes = json.load(file)[kind]
    for network, config in configs(kind).items():
        _write_json(folder / network / "config.json", config)
        weights = {key: weight(network, key, shape) for key, shape in shapes[network].items()}
        write_safetensors(folder / network / weights_name(network), weights)
    return folder


def configs(kind: str) -> dict[str, dict]:
    """Network -> its config, for sd2 and sdxl."""
    published = ASSETS / "families" / kind
    return {
        network: _read_json(published / network / "config.json") | narrowed
        for network, narrowed in _NARROWED[kind].items()
    }


def weights_name(network: str) -> str:
    """What diffusers and transformers call the file of a network's weights."""
    text = network.startswith("text_encoder")
    return "model.safetensors" if text else "diffusion_pytorch_model.safetensors"


def weight(network: str, key: str, shape: list[int]) -> np.ndarray:
    """float32 values that depend on the names and the shape alone.

    They are uniform because those of `RandomState` are the same to the bit everywhere; normal ones
    depend on the C library's logarithm.
    """
    name = f"{network}.{key}"
    numbers = np.random.RandomState(zlib.crc32(name.encode())).random_sample(shape)
    unit = (numbers * 2 - 1) * 3**0.5  # variance 1
    if len(shape) > 1:
        gain = next(gain for pattern, gain in _GAINS if re.match(pattern, name))
        return (unit * gain / np.prod(shape[1:]) ** 0.5).astype(np.float32)
    is_norm_weight = "norm" in key and key.endswith("weight")
    return (unit / 10 + is_norm_weight).astype(np.float32)


def write_safetensors(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Header length (8 bytes, little endian), header (JSON), then the float32 values in order."""
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for key, array in tensors.items():
        start, end = end, end + array.nbytes
        header[key] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in tensors.values():
            file.write(array.astype("<f4").tobytes())


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """Every tensor of a file of float32 or float16, as float32."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + size]), data[8 + size :]
    header.pop("__metadata__", None)
    dtypes = {"F32": "<f4", "F16": "<f2"}
    return {
        key: np.frombuffer(body[slice(*entry["data_offsets"])], dtypes[entry["dtype"]])
        .reshape(entry["shape"])
        .astype(np.float32)
        for key, entry in header.items()
    }


def _write_inpaint(folder: Path) -> Path:
    """The demo, whose UNet also reads a mask and the latents of what the mask leaves."""
    shutil.copytree(DEMO, folder)
    index = _read_json(folder / "model_index.json")
    index["_class_name"] = "StableDiffusionInpaintPipeline"
    _write_json(folder / "model_index.json", index)
    path = folder / "unet" / "config.json"
    _write_json(path, {**_read_json(path), "in_channels": 9})
    path = folder / "unet" / weights_name("unet")
    weights = read_safetensors(path)
    old = weights["conv_in.weight"]
    new = weight("unet", "conv_in.weight", [old.shape[0], 5, *old.shape[2:]])
    # Small, so that the demo still draws what it is told.
    weights["conv_in.weight"] = np.concatenate([old, new * np.float32(old.std())], axis=1)
    write_safetensors(path, weights)
    return folder


def _read_json(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def _write_json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Write one checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    write_checkpoint(arguments.kind, arguments.folder)


if __name__ == "__main__":
    main()
