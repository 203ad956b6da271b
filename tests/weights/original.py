"""Checkpoints in the original layout, made from the golden tables (tools/golden_keys.py).

The tables say what PyTorch diffusers makes of each key; here that is undone.
"""

import gzip
import json
import math
from collections.abc import Iterator, Mapping
from functools import cache

import numpy as np

from tests.conftest import ROOT

FAMILIES = ("sd1", "sd2", "sdxl", "demo")
Networks = Mapping[str, Mapping[str, np.ndarray]]
_DTYPES = {"F32": np.float32, "F16": np.float16, "I64": np.int64, "I32": np.int32}


@cache
def golden_keys(family: str) -> list[dict]:
    """The table of a family: what each key of its published checkpoint becomes.

    An entry has key, shape, dtype, component (the network, or None), diffusers ([key, shape] pairs;
    of a split tensor in the order of its rows), how (same, transposed, split, reshaped, dropped)
    and, for running averages, ema_of.
    """
    path = ROOT / "tests" / "golden" / "keys" / f"{family}.json.gz"
    return json.loads(gzip.decompress(path.read_bytes()))


def original_tensors(
    family: str,
    networks: Networks,
    *,
    averages: bool | Mapping[str, np.ndarray] = True,
    extras: bool = True,
) -> dict[str, np.ndarray]:
    """A checkpoint in the original layout with these weights.

    Args:
        family: sd1, sd2, sdxl or demo (the bundled checkpoint, named as SD 1.x).
        networks: component -> its weights by diffusers' names, with or without `text_model.`; all
            of them, but their shapes may be others than the published ones. The keys of a
            component that is not there are left out.
        averages: running averages of the UNet's weights, by diffusers' names; True copies the
            weights themselves, False leaves them out (as in v1-5-pruned-emaonly).
        extras: add what no network uses, such as tables of the noise schedule.

    Raises:
        AssertionError: a network has a weight too much or too few.
    """
    left = {name: _published_names(name, weights) for name, weights in networks.items()}
    averaged = dict(averages) if isinstance(averages, Mapping) else dict(left.get("unet", {}))
    rows = golden_keys(family)
    tensors, by_key = {}, {row["key"]: row for row in rows}
    for row in rows:
        component = row["component"]
        if component is not None and component not in left:
            continue
        if "ema_of" in row:
            if averages and "unet" in left:
                tensors[row["key"]] = _joined(by_key[row["ema_of"]], averaged)
        elif row["how"] != "dropped":
            tensors[row["key"]] = _joined(row, left[component])
        elif extras:
            tensors[row["key"]] = _extra(row, _width(networks, component))
    left["averages"] = averaged if isinstance(averages, Mapping) else {}
    unused = [f"{name}: {key}" for name, weights in left.items() for key in weights]
    assert not unused, f"not in the original layout: {unused[:3]}"
    return tensors


def random_tensors(
    family: str, scale: float = 0.02, *, shrink: int = 1, seed: int = 0
) -> dict[str, np.ndarray]:
    """Every key of the published checkpoint with random weights.

    Args:
        family: as in `original_tensors`.
        scale: standard deviation of the weights.
        shrink: divides every width: channels, features and words, but not kernels, latent or
            picture channels, or positions. A power of two up to 32; 32 makes SDXL 7 MB.
        seed: of the values.
    """
    generator = np.random.default_rng(seed)
    tensors = {}
    for row in golden_keys(family):
        is_weight = row["component"] is not None or "ema_of" in row
        if not is_weight or not row["shape"] or row["key"].endswith("position_ids"):
            tensors[row["key"]] = _extra(row, 0)
        else:
            shape = shrunk(row["shape"], shrink)
            values = generator.standard_normal(shape, np.float32) * np.float32(scale)
            tensors[row["key"]] = values.astype(_DTYPES[row["dtype"]], copy=False)
    return tensors


def random_networks(
    family: str, scale: float = 0.02, *, shrink: int = 1, seed: int = 0
) -> dict[str, dict[str, np.ndarray]]:
    """Random weights of every network by diffusers' names, for `original_tensors`."""
    generator = np.random.default_rng(seed)
    networks: dict[str, dict[str, np.ndarray]] = {}
    for component, key, shape in _weights(family):
        values = generator.standard_normal(shrunk(shape, shrink), np.float32) * np.float32(scale)
        networks.setdefault(component, {})[key] = values
    return networks


def shrunk(shape: list[int], by: int) -> tuple[int, ...]:
    """A weight's shape in a network whose widths are divided by `by`."""
    return tuple(size // by if size >= 32 and size % by == 0 else size for size in shape)


def _weights(family: str) -> Iterator[tuple[str, str, list[int]]]:
    for row in golden_keys(family):
        for key, shape in row["diffusers"]:
            yield row["component"], key, shape


def _published_names(component: str, weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Weights with the prefix of text encoders, which transformers 5 leaves out."""
    if not component.startswith("text_encoder"):
        return dict(weights)
    known = ("text_model.", "text_projection.")
    return {key if key.startswith(known) else f"text_model.{key}": w for key, w in weights.items()}


def _joined(row: dict, weights: dict[str, np.ndarray]) -> np.ndarray:
    """The tensor that diffusers would make these weights of, which are taken out."""
    for key, _ in row["diffusers"]:
        assert key in weights, f"{row['key']}: no weight {key}"
    parts = [weights.pop(key) for key, _ in row["diffusers"]]
    if row["how"] == "split":
        return np.concatenate(parts)
    (part,) = parts
    if row["how"] == "transposed":
        return np.ascontiguousarray(part.T)
    if row["how"] == "reshaped":  # a matrix into a 1x1 convolution
        return part.reshape(part.shape + (1,) * (len(row["shape"]) - part.ndim))
    return part


def _width(networks: Networks, component: str | None) -> int:
    """Width of a text encoder, for the shapes of what it has besides; 0 for others."""
    found = (w for k, w in networks.get(component, {}).items() if k.endswith("layer_norm.weight"))
    return len(next(found, ()))


def _extra(row: dict, width: int) -> np.ndarray:
    """A plausible value for what no network uses."""
    key, dtype = row["key"].rpartition(".")[2], _DTYPES[row["dtype"]]
    if row["shape"] == [1000]:
        return _schedule()[key]
    if key == "position_ids":
        return np.arange(math.prod(row["shape"]), dtype=dtype).reshape(row["shape"])
    scalars = {"decay": 0.9999, "num_updates": 875000, "logit_scale": math.log(100)}
    if key in scalars:
        return np.array(scalars[key], dtype)
    full = max(row["shape"]) if key == "text_projection" else 1024  # what is left is of ViT-H
    shape = shrunk(row["shape"], full // width if width else 1)
    return np.random.default_rng(len(row["key"])).normal(0, 0.02, shape).astype(dtype)


@cache
def _schedule() -> dict[str, np.ndarray]:
    """The buffers of LatentDiffusion, for the betas of Stable Diffusion."""
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    kept = np.cumprod(1 - betas)
    before = np.append(1.0, kept[:-1])
    variance = betas * (1 - before) / (1 - kept)
    tables = {
        "betas": betas,
        "alphas_cumprod": kept,
        "alphas_cumprod_prev": before,
        "sqrt_alphas_cumprod": np.sqrt(kept),
        "sqrt_one_minus_alphas_cumprod": np.sqrt(1 - kept),
        "log_one_minus_alphas_cumprod": np.log(1 - kept),
        "sqrt_recip_alphas_cumprod": np.sqrt(1 / kept),
        "sqrt_recipm1_alphas_cumprod": np.sqrt(1 / kept - 1),
        "posterior_variance": variance,
        "posterior_log_variance_clipped": np.log(np.maximum(variance, 1e-20)),
        "posterior_mean_coef1": betas * np.sqrt(before) / (1 - kept),
        "posterior_mean_coef2": (1 - before) * np.sqrt(1 - betas) / (1 - kept),
    }
    return {name: values.astype(np.float32) for name, values in tables.items()}
