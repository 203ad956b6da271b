"""Small LoRA files made by hand, and what they add to the weights of a small UNet."""

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from sdbatch.weights.lora import lora_patch, open_lora

TO_Q = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
KOHYA_TO_Q = f"lora_unet_{TO_Q.replace('.', '_')}"
SHAPES = {
    f"{TO_Q}.weight": (6, 4),
    f"{TO_Q}.bias": (6,),
    "down_blocks.0.attentions.0.proj_in.weight": (6, 4, 1, 1),
    "down_blocks.0.resnets.0.conv1.weight": (6, 4, 3, 3),
}


def random(*shape, seed=0) -> np.ndarray:
    """Normal float32 numbers."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def write(folder: Path, tensors: dict, metadata: dict | None = None, name: str = "style") -> Path:
    """A `.safetensors` file."""
    path = folder / f"{name}.safetensors"
    arrays = {key: np.ascontiguousarray(array) for key, array in tensors.items()}
    save_file(arrays, path, {"format": "pt", **(metadata or {})})
    return path


def kohya(module=KOHYA_TO_Q, down=(2, 4), up=(6, 2), alpha=None, mid=None) -> dict:
    """A LoRA of one module as kohya's scripts write it."""
    tensors = {
        f"{module}.lora_down.weight": random(*down, seed=1),
        f"{module}.lora_up.weight": random(*up, seed=2),
    }
    if mid is not None:
        tensors[f"{module}.lora_mid.weight"] = random(*mid, seed=3)
    if alpha is not None:
        tensors[f"{module}.alpha"] = np.asarray(alpha, np.float32)
    return tensors


def flat(name: str) -> str:
    """kohya's name for the module of a weight."""
    return f"lora_unet_{name.removesuffix('.weight').replace('.', '_')}"


def unet_patch(*loras):
    """The patch of `(path, strength)` pairs for the small UNet of `SHAPES`."""
    opened = [(open_lora(path), strength) for path, strength in loras]
    return lora_patch(opened, "unet", SHAPES, 1)


def change(path: Path, name: str = f"{TO_Q}.weight", strength: float = 1.0) -> np.ndarray:
    """What one file adds to one weight of `SHAPES`."""
    return unet_patch((path, strength))(name, np.zeros(SHAPES[name], np.float32))
