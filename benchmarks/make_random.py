"""Write a checkpoint with a known model's shapes and random weights, in diffusers' layout.

    python benchmarks/make_random.py sd15 /tmp/sd15-random                    # 4.3 GB
    python benchmarks/make_random.py sdxl /tmp/sdxl-random --dtype float16    # 6.9 GB
    python benchmarks/make_random.py sd21 /tmp/sd21-tiny --tiny               # to try things out

For measuring only: its pictures are noise. The weights are drawn as PyTorch draws those of a new
layer, so that signals keep their size from end to end.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
ASSETS = ROOT / "sdbatch" / "assets"
sys.path.insert(0, str(ROOT))

FAMILIES = {"sd15": "sd1", "sd21": "sd2", "sdxl": "sdxl"}
_TINY_TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "projection_dim": 32,
}


def main() -> None:
    """Configs and vocabulary from the package, weights from a generator."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", choices=FAMILIES)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dtype", choices=("float32", "float16"), default="float32")
    parser.add_argument("--tiny", action="store_true", help="the same structure, far narrower")
    given = parser.parse_args()
    write(given.model, given.folder, given.dtype, tiny=given.tiny)
    print(given.folder)


def write(model: str, folder: Path, dtype: str = "float32", *, tiny: bool = False) -> None:
    """Make the folder.

    Args:
        model: a key of `FAMILIES`.
        folder: new, or to be written over.
        dtype: of the weights.
        tiny: with some hundred thousand parameters.
    """
    shutil.copytree(ASSETS / "families" / FAMILIES[model], folder, dirs_exist_ok=True)
    for tokenizer in folder.glob("tokenizer*"):
        for name in ("vocab.json", "merges.txt"):
            shutil.copyfile(ASSETS / "clip_tokenizer" / name, tokenizer / name)
    if tiny:
        encoders = len(list(folder.glob("text_encoder*")))
        for path in folder.glob("*/config.json"):
            config = json.loads(path.read_text(encoding="utf-8"))
            config |= _tiny(path.parent.name, config, encoders)
            path.write_text(json.dumps(config, indent=2), encoding="utf-8")
    _write_weights(folder, dtype)


def _tiny(name: str, config: dict[str, Any], encoders: int) -> dict[str, Any]:
    """What is narrower in a component's config."""
    if name.startswith("text_encoder"):
        return _TINY_TEXT
    widths = {"block_out_channels": [32, 64, 64, 64][: len(config["block_out_channels"])]}
    if name == "vae":
        return {**widths, "layers_per_block": 1, "sample_size": 128}
    embedding = config.get("addition_time_embed_dim") and 8
    return {
        **widths,
        "layers_per_block": 1,
        "attention_head_dim": 4,
        "cross_attention_dim": encoders * _TINY_TEXT["hidden_size"],
        "transformer_layers_per_block": 1,
        "sample_size": 16,
        "addition_time_embed_dim": embedding,
        "projection_class_embeddings_input_dim": embedding and 6 * embedding + 32,
    }


def _write_weights(folder: Path, dtype: str) -> None:
    """Layers of our own say which weights there are and of which shapes."""
    from sdbatch.engine.device import prepare_process

    prepare_process()
    import numpy as np
    from paddle import nn
    from safetensors.numpy import save_file

    from sdbatch.models.config import UNetConfig, VAEConfig
    from sdbatch.models.text import text_network
    from sdbatch.models.unet import UNet
    from sdbatch.models.vae import VAE
    from sdbatch.weights.load import build
    from sdbatch.weights.maps.paddle_form import from_clip_text

    makers = {
        "unet": lambda config: UNet(UNetConfig.from_dict(config)),
        "vae": lambda config: VAE(VAEConfig.from_dict(config)),
        **{path.name: text_network for path in folder.glob("text_encoder*")},
    }
    generator = np.random.default_rng(0)
    for name, make in makers.items():
        config = json.loads((folder / name / "config.json").read_text(encoding="utf-8"))
        layer = build(partial(make, config), "float32")
        tensors = {}
        for prefix, part in layer.named_sublayers(include_self=True):
            for key, parameter in part.named_parameters(prefix, include_sublayers=False):
                value = _draw(generator, part, key, tuple(parameter.shape)).astype(dtype)
                value = value.T if isinstance(part, nn.Linear) and value.ndim == 2 else value
                renamed = [(key, value)] if name in ("unet", "vae") else from_clip_text(key, value)
                tensors |= {key: np.ascontiguousarray(value) for key, value in renamed}
        save_file(tensors, _weights_file(folder, name))


def _weights_file(folder: Path, name: str) -> Path:
    stem = "model" if name.startswith("text_encoder") else "diffusion_pytorch_model"
    return folder / name / f"{stem}.safetensors"


def _draw(generator: Any, part: Any, key: str, shape: tuple[int, ...]) -> Any:
    """Norms leave their input as it is; the rest is uniform within 1 / sqrt(fan in)."""
    import numpy as np
    from paddle import nn

    if isinstance(part, (nn.GroupNorm, nn.LayerNorm)):
        return np.full(shape, float(key.endswith("weight")), np.float32)
    weight = tuple(getattr(part, "weight", part.parameters()[0]).shape)
    # nn.Linear and a bare projection are [in, out], every other weight is [out, in, ...].
    transposed = isinstance(part, nn.Linear) or not hasattr(part, "weight")
    fan_in = weight[0] if transposed else int(np.prod(weight[1:]))
    return (generator.random(shape, np.float32) * 2 - 1) * fan_in**-0.5


if __name__ == "__main__":
    main()
