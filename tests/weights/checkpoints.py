"""Checkpoints of every kind, made without PyTorch, and what a reader must find in them."""

import json
import shutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from sdbatch.convert.tensors import Accounted
from sdbatch.engine.load import networks
from sdbatch.weights.checkpoint import Checkpoint
from sdbatch.weights.files.tensor_file import TensorFile, TensorInfo
from sdbatch.weights.maps import paddle_form
from tests.conftest import ASSETS
from tests.weights.files.torch_files import legacy_file, tensor, zip_file
from tests.weights.original import Networks, golden_keys, shrunk

DEMO = ASSETS / "demo"
_WIDTHS = (
    *("block_out_channels", "cross_attention_dim", "projection_class_embeddings_input_dim"),
    *("addition_time_embed_dim", "hidden_size", "intermediate_size", "projection_dim"),
    "vocab_size",
)


@cache
def demo_networks() -> dict[str, dict[str, np.ndarray]]:
    """The weights of the bundled checkpoint by diffusers' names. Not to be changed."""
    return {
        "unet": load_file(DEMO / "unet" / "diffusion_pytorch_model.safetensors"),
        "vae": load_file(DEMO / "vae" / "diffusion_pytorch_model.safetensors"),
        "text_encoder": load_file(DEMO / "text_encoder" / "model.safetensors"),
    }


def write(path: Path, tensors: Mapping[str, np.ndarray], **beside) -> Path:
    """A file of tensors, in the format that its name says.

    `x.safetensors`; `x.ckpt` as PyTorch writes it, with the tensors as `state_dict` where there is
    anything `beside` them; `x.legacy.ckpt` as PyTorch wrote it before 1.6.
    """
    arrays = {key: np.ascontiguousarray(array) for key, array in tensors.items()}
    if path.suffix == ".safetensors":
        save_file(arrays, path, beside or None)
        return path
    stored = {key: tensor(str(i), array) for i, (key, array) in enumerate(arrays.items())}
    make = legacy_file if path.name.endswith(".legacy.ckpt") else zip_file
    path.write_bytes(make({"state_dict": stored, **beside} if beside else stored))
    return path


def narrow_base(family: str, folder: Path, by: int = 32) -> Path:
    """A folder to take configs from for `random_networks(family, shrink=by)`."""
    base = shutil.copytree(ASSETS / "families" / family, folder / f"narrow_{family}")
    for path in base.glob("*/config.json"):
        config = json.loads(path.read_text())
        for key in config.keys() & set(_WIDTHS):
            sizes = config[key] if isinstance(config[key], list) else [config[key]]
            narrow = list(shrunk(sizes, by))
            config[key] = narrow if isinstance(config[key], list) else narrow[0]
        heads = {"attention_head_dim": 1, "num_attention_heads": 1, "norm_num_groups": 1}
        config |= {key: heads[key] for key in config.keys() & heads.keys() if config[key]}
        path.write_text(json.dumps(config))
    for tokenizer in base.glob("tokenizer*"):
        for name in ("vocab.json", "merges.txt"):
            shutil.copy(DEMO / "tokenizer" / name, tokenizer)
    return base


def published(family: str, path: Path = Path("published.safetensors"), **metadata) -> TensorFile:
    """The family's published file: all its keys and shapes, and nothing to read."""
    tensors = {
        row["key"]: TensorInfo(row["dtype"], tuple(row["shape"]), 0, 0)
        for row in golden_keys(family)
    }
    return TensorFile(path, tensors, metadata)


def weights_of(checkpoint: Checkpoint) -> dict[str, dict[str, np.ndarray]]:
    """What every weight of every layer would get, linear ones [out, in], all accounted for."""
    found = {}
    for network in networks(checkpoint):
        given = Accounted.of(network).assignments(network.component.tensors())
        found[network.component.name] = {item.target: item.array for item in given}
    return found


def as_in_layers(weights: Networks) -> dict[str, dict[str, np.ndarray]]:
    """Weights by diffusers' names as `weights_of` has them: named as in PaddleNLP's encoders."""
    renamed = {}
    for name, tensors in weights.items():
        renamed[name] = dict(tensors)
        if name.startswith("text_encoder"):
            pairs = [paddle_form.clip_text(key, array) for key, array in tensors.items()]
            renamed[name] = dict(pair for (pair,) in pairs)
    return renamed


def assert_equal(found: Networks, expected: Networks) -> None:
    """The same networks with the same values, whatever their dtypes."""
    assert found.keys() == expected.keys()
    for name, weights in expected.items():
        assert found[name].keys() == weights.keys()
        for key, array in weights.items():
            assert found[name][key].shape == array.shape, f"{name}: {key}"
            assert np.array_equal(found[name][key], array), f"{name}: {key}"
