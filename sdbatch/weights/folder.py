"""Checkpoints as folders, of PyTorch diffusers or in Paddle's own form.

    model_index.json  unet/  vae/  text_encoder/  tokenizer/  scheduler/   (SDXL: *_2/ too)

Each network's folder holds its config and its weights: `.safetensors`, `.bin` or, from PaddleNLP,
ppdiffusers and `sdbatch.convert`, `.pdparams`; whole, or in parts that an index lists.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdbatch.errors import UserError, one_line
from sdbatch.models.config import ROBERTA_SERIES, text_architecture
from sdbatch.models.text_config import has_pre_transformation
from sdbatch.weights.checkpoint import (
    Checkpoint,
    Component,
    Place,
    TokenizerFiles,
    encoder_names,
    read_json,
    tokenizer_name,
    zeros_for_empty,
)
from sdbatch.weights.family import family_of, settled_scheduler
from sdbatch.weights.files.formats import open_tensor_file
from sdbatch.weights.files.tensor_file import TensorFile
from sdbatch.weights.maps import Layout, diffusers, paddle_form
from sdbatch.weights.options import SourceOptions

# Stems and suffixes in the order of preference: safe and quick formats first.
_STEMS = (
    "diffusion_pytorch_model",
    "model",
    "pytorch_model",
    "diffusion_paddle_model",
    "model_state",
)
_SUFFIXES = (".safetensors", ".bin", ".pdparams")
# Whole, and indices: diffusers has put the variant into three places over time.
_NAMES = (
    r"{variant}{suffix}",
    r"{suffix}\.index{variant}\.json",
    r"{suffix}{variant}\.index\.json",
    r"{variant}{suffix}\.index\.json",
)
# By network or text encoder: as PyTorch stores it, as Paddle does.
_LAYOUTS = {
    "unet": (diffusers.UNET, paddle_form.UNET),
    "vae": (diffusers.VAE, paddle_form.VAE),
    "CLIPTextModel": (diffusers.CLIP_TEXT, paddle_form.CLIP_TEXT),
    "CLIPTextModelWithProjection": (diffusers.CLIP_TEXT, paddle_form.CLIP_TEXT),
    "BertModel": (diffusers.BERT, paddle_form.BERT),
}


def layouts(name: str, config: Mapping[str, Any]) -> tuple[Layout, Layout]:
    """How a network's tensors are named and ordered: as PyTorch stores it, as Paddle does."""
    kind = name if name in _LAYOUTS else text_architecture(config)
    if kind == ROBERTA_SERIES:
        pre = has_pre_transformation(config)
        return tuple(m.roberta_series(pre_transformation=pre) for m in (diffusers, paddle_form))
    return _LAYOUTS.get(kind, (Layout(), Layout(linear_in_out=True)))


def is_checkpoint_folder(folder: Path) -> bool:
    """Whether a folder has the file that names the parts of a pipeline."""
    return (folder / "model_index.json").is_file()


def open_folder(folder: Path, options: SourceOptions) -> Checkpoint:
    """Check that `folder` is a whole checkpoint; read its configs and where its tensors lie.

    Raises:
        UserError: naming the file that is missing, malformed or truncated.
    """
    if not is_checkpoint_folder(folder):
        raise UserError(f"{folder}: not a diffusers checkpoint: it has no model_index.json")
    if options.ema:
        raise UserError(f"{folder}: ema: only single files hold two sets of weights")
    index = read_json(folder / "model_index.json")

    def opened(name: str) -> Component:
        named = index.get(name)
        library = str(named[0]) if isinstance(named, list) and named else ""
        return open_component(folder / name, name, options.variant, library)

    unet = opened("unet")
    family, why_family = family_of(unet, options.family)
    second = folder / "text_encoder_2"
    if family != "sdxl" and second.is_dir():
        raise UserError(f"{second}: unexpected, {family} has one text encoder")
    names = encoder_names(family)
    tokenizers = [tokenizer_name(name) for name in names]
    path = folder / "scheduler" / "scheduler_config.json"
    scheduler, why_prediction = settled_scheduler(read_json(path), path, options.prediction)
    return Checkpoint(
        path=folder,
        family=family,
        evidence=(why_family, why_prediction),
        unet=unet,
        vae=opened("vae"),
        text_encoders=tuple(map(opened, names)),
        tokenizers=tuple(TokenizerFiles.in_folder(folder / name) for name in tokenizers),
        scheduler=scheduler,
        scheduler_path=path,
        zeros_for_empty=zeros_for_empty(family, index),
    )


def open_component(folder: Path, name: str, variant: str | None, library: str = "") -> Component:
    """One network's folder.

    Args:
        folder: with its config and weights.
        name: of the network.
        variant: of the weights, e.g. fp16.
        library: that its pipeline names for it; ppdiffusers does not mark all of its files.

    Raises:
        UserError: its config or its weights are missing or malformed.
    """
    path = folder / "config.json"
    config = read_json(path)
    files = _open_weights(folder, variant)
    layout = layouts(name, config)[is_paddles(files[0], library)]
    places = {}
    for file in files:
        for key in file.tensors:
            if key in places:
                other = places[key].file.path.name
                raise UserError(f"{file.path}: {one_line(key)}: is in {other} too")
            places[key] = Place(file, key)
    return Component(name, folder, config, path, places, layout)


def is_paddles(file: TensorFile, library: str = "") -> bool:
    """Whether it is in Paddle's form: names as in its layers, linear weights [in, out]."""
    if file.path.suffix == ".pdparams" or file.metadata.get("format") == "pd":
        return True
    return file.metadata.get("format") == "np" and library.startswith(("paddlenlp", "ppdiffusers"))


def weights_in(folder: Path) -> dict[str, Path]:
    """Variant -> file or index of its weights, of the preferred format; "" is the plain one."""
    found = {}
    for suffix in _SUFFIXES:
        for stem in _STEMS:
            found = _variants(folder, stem, suffix) | found
    return found


def _open_weights(folder: Path, variant: str | None) -> list[TensorFile]:
    """The files that hold a network's weights, `variant` being e.g. fp16.

    Where none is asked for, the plain files are taken, else the only variant there is.
    """
    found = weights_in(folder)
    chosen = next(iter(found)) if variant is None and len(found) == 1 else variant or ""
    if chosen in found:
        return _open_variant(folder, found[chosen])
    inside = ", ".join(sorted(p.name for p in folder.iterdir())) or "nothing"
    wanted = f"{variant} weights" if variant else "weights"
    raise UserError(
        f"{folder}: {wanted} missing; expected .safetensors, .bin or .pdparams; the folder holds "
        f"{inside}"
    )


def _variants(folder: Path, stem: str, suffix: str) -> dict[str, Path]:
    """Variant -> the weights' file or index; the parts that an index lists are not among them."""
    paths = sorted(folder.glob(f"{stem}*{suffix}*"))
    found = {}
    for kind in _NAMES:
        name = re.escape(stem) + kind.format(suffix=re.escape(suffix), variant=r"(?:\.([^.]+))?")
        for path in paths:
            match = re.fullmatch(name, path.name)
            if match and not re.search(r"-\d+-of-\d+\.", path.name):
                found.setdefault(match[1] or "", path)
    return found


def _open_variant(folder: Path, path: Path) -> list[TensorFile]:
    if path.suffix != ".json":
        return [open_tensor_file(path)]
    listed = read_json(path).get("weight_map")
    names = listed.values() if isinstance(listed, dict) else []
    if not names or not all(isinstance(name, str) and name == Path(name).name for name in names):
        raise UserError(f"{path}: expected a weight_map from keys to names of files beside it")
    return [open_tensor_file(folder / name) for name in sorted(set(names))]
