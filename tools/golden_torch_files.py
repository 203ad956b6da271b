"""Write tiny files with `torch.save`, and what is in them, for the tests of the readers.

Run in an environment with torch and numpy (not sdbatch's own):

    pip install torch numpy
    python tools/golden_torch_files.py       # writes tests/golden/torch_files/

Each file is below 10 KB. `expected.npz` has every tensor as `file/name` (bfloat16 as float32),
`expected.json` the plain values beside them.
"""

from __future__ import annotations

import argparse
import json
import sys
import types
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
DTYPES = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8")
UNSIGNED = ("uint16", "uint32", "uint64")


def dtypes(names: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """One tensor of each type, with extreme values where it has them."""
    tensors = {}
    for name in names:
        dtype = getattr(torch, name)
        limits = torch.finfo(dtype) if dtype.is_floating_point else torch.iinfo(dtype)
        tensors[name] = torch.tensor([[0, 1, 2], [3, limits.min, limits.max]], dtype=dtype)
    tensors["bool"] = torch.tensor([True, False, True])
    tensors["scalar"] = torch.tensor(-1.5)
    tensors["empty"] = torch.zeros(0, 4)
    return tensors


def views() -> dict[str, torch.Tensor]:
    """Tensors that are not simply their storage from front to back."""
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    parameter = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    marked = torch.tensor([5.0, 6.0])
    marked.note = "an attribute"
    return {
        "base": base,
        "tied": base,
        "transposed": base.t(),
        "row": base[2],
        "column": base[:, 3],
        "steps": base[::2, 1::3],
        "permuted": torch.arange(24, dtype=torch.int16).reshape(2, 3, 4).permute(2, 0, 1),
        "half": torch.arange(12, dtype=torch.float16).reshape(3, 4).t(),
        "bfloat16": torch.arange(6, dtype=torch.bfloat16).reshape(2, 3).t(),
        "position_ids": torch.arange(7).expand((1, -1)),
        "channels_last": torch.arange(24.0)
        .reshape(1, 2, 3, 4)
        .to(memory_format=torch.channels_last),
        "parameter": parameter,
        "marked": marked,
    }


def pretend(module: str, name: str, base: type = object) -> type:
    """A class that pickles as one of a package that need not be installed."""
    parent = ""
    for part in module.split("."):
        parent = f"{parent}.{part}".lstrip(".")
        sys.modules.setdefault(parent, types.ModuleType(parent))
    cls = type(name, (base,), {"__module__": module})
    setattr(sys.modules[module], name, cls)
    return cls


def lightning() -> tuple[dict[str, Any], dict[str, torch.Tensor], dict[str, Any]]:
    """A checkpoint as PyTorch Lightning wrote those of Stable Diffusion 1; its tensors and plain
    values by name.
    """
    callback = pretend("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint")
    attributes = pretend("pytorch_lightning.utilities.parsing", "AttributeDict", dict)
    config = pretend("omegaconf.dictconfig", "DictConfig")()
    config.__dict__.update({"_content": {"a": 1, "of": callback}, "_parent": None})
    layer = torch.nn.Linear(2, 3)
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    weights = OrderedDict((f"model.{key}", value) for key, value in layer.state_dict().items())
    weights["model_ema.decay"] = torch.tensor(0.9999)
    weights._metadata = OrderedDict({"": {"version": 1}})
    best = torch.tensor(0.25)
    checkpoint = {
        "epoch": 4,
        "global_step": 470000,
        "pytorch-lightning_version": "1.4.2",
        "state_dict": weights,
        "callbacks": {
            callback: {
                "best_model_score": best,
                "best_model_path": "checkpoints/最佳.ckpt",
                "current_score": np.float32(0.5),
                "counts": np.int64(7),
                "best_k_models": {},
            }
        },
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [{"base_lrs": [1e-4], "last_epoch": 3, "verbose": False}],
        "hparams_name": "kwargs",
        "hyper_parameters": attributes(base_learning_rate=1e-4, config=config, shape=(1, 2)),
        "loops": None,
        "nothing": defaultdict(list, {"here": {1, 2}}),
        "dtype": torch.float16,
        "array": np.arange(6, dtype=np.int32).reshape(2, 3),
        "device": torch.device("cpu"),
        "size": torch.Size([3, 4]),
    }
    optimized = {
        f"optimizer_states.0.state.{i}.{key}": value
        for i, state in optimizer.state_dict()["state"].items()
        for key, value in state.items()
    }
    name = "callbacks.pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint"
    tensors = {
        **{f"state_dict.{key}": value for key, value in weights.items()},
        f"{name}.best_model_score": best,
        **optimized,
        "array": torch.from_numpy(checkpoint["array"]),
    }
    plain = {
        "epoch": 4,
        "global_step": 470000,
        "pytorch-lightning_version": "1.4.2",
        f"{name}.best_model_path": "checkpoints/最佳.ckpt",
        f"{name}.current_score": 0.5,
        f"{name}.counts": 7,
        "lr_schedulers.0.base_lrs.0": 1e-4,
        "lr_schedulers.0.last_epoch": 3,
        "lr_schedulers.0.verbose": False,
        "hparams_name": "kwargs",
        "hyper_parameters": "pytorch_lightning.utilities.parsing.AttributeDict",
        "nothing.here": "builtins.set",
        "dtype": "torch.float16",
        "device": "torch.device",
        "size.0": 3,
        "size.1": 4,
    }
    return checkpoint, tensors, plain


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "tests" / "golden" / "torch_files")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    checkpoint, tensors, plain = lightning()
    bare = torch.arange(3)
    vectors = torch.ones(2, 4)
    parameters = torch.nn.ParameterDict({"*": torch.nn.Parameter(vectors)})
    embedding = {"string_to_token": {"*": 265}, "string_to_param": parameters}
    legacy = {"_use_new_zipfile_serialization": False}
    files = {
        "dtypes.pt": (dtypes(DTYPES + UNSIGNED), None, {}, {}),
        "dtypes_legacy.pt": (dtypes(DTYPES), None, {}, legacy),
        "views.pt": (views(), None, {}, {}),
        "views_legacy.pt": (views(), None, {}, legacy),
        "protocol4.pt": (views(), None, {}, {"pickle_protocol": 4}),
        "lightning.ckpt": (checkpoint, tensors, plain, {}),
        "lightning_legacy.ckpt": (checkpoint, tensors, plain, legacy),
        "lightning_protocol5.ckpt": (checkpoint, tensors, plain, {"pickle_protocol": 5}),
        "bare.pt": (bare, {"": bare}, {}, {}),
        "embedding.pt": (
            embedding,
            {"string_to_param.*": vectors},
            {"string_to_token.*": 265},
            {},
        ),
        "bare_legacy.pt": (bare, {"": bare}, {}, legacy),
    }
    values, described = {}, {}
    for file, (content, named, plain_values, options) in files.items():
        torch.save(content, out / file, **options)
        named = content if named is None else named
        for name, tensor in named.items():
            tensor = tensor.detach()
            tensor = tensor.float() if tensor.dtype == torch.bfloat16 else tensor
            values[f"{file}/{name}"] = np.ascontiguousarray(tensor.numpy()).reshape(tensor.shape)
        described[file] = plain_values
    # Two that must be refused: an object of a class, and a program.
    layer = torch.nn.Linear(1, 1)
    torch.save(layer, out / "module.pt")
    torch.jit.save(torch.jit.script(layer), out / "script.pt")
    np.savez_compressed(out / "expected.npz", **values)
    text = json.dumps({"torch": torch.__version__, "files": described}, indent=1)
    (out / "expected.json").write_text(text + "\n", encoding="utf-8")
    for path in sorted(out.iterdir()):
        print(f"{path.stat().st_size:8} {path.name}")


if __name__ == "__main__":
    main()
