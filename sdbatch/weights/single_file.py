"""Checkpoints as single files in the original layout, `.safetensors` or `.ckpt`.

Such a file has only tensors: configs and tokenizer are those that its family was published with
(`sdbatch/assets/families`), or come from a folder given as `base`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sdbatch.errors import UserError, one_line
from sdbatch.models.config import ROBERTA_SERIES, text_architecture
from sdbatch.weights.checkpoint import (
    Checkpoint,
    Component,
    Dropped,
    Place,
    TokenizerFiles,
    encoder_names,
    read_json,
    tokenizer_name,
    zeros_for_empty,
)
from sdbatch.weights.family import family_of, prediction_of
from sdbatch.weights.files.formats import open_tensor_file
from sdbatch.weights.files.tensor_file import TensorFile
from sdbatch.weights.folder import is_paddles, layouts, open_component, weights_in
from sdbatch.weights.maps import original
from sdbatch.weights.options import SourceOptions
from sdbatch.weights.original_keys import averaged, sorted_keys

_ASSETS = Path(__file__).parent.parent / "assets"
_FAMILIES = _ASSETS / "families"


def open_single_file(path: Path, options: SourceOptions) -> Checkpoint:
    """Find the networks in a file and give them the configs and tokenizers that it lacks.

    Raises:
        UserError: the file is malformed, holds something else, lacks a part, or has a key that
            belongs to nothing.
    """
    file = open_tensor_file(path)
    networks, averages, dropped = sorted_keys(file)
    if not networks["unet"]:
        found = one_line(next(iter(file.tensors), "no tensors"))[:100]
        lone = "; a VAE by itself is given as model.vae" if networks["vae"] else ""
        raise UserError(
            f"{path}: no UNet in it; expected a Stable Diffusion checkpoint in the original "
            f"layout (model.diffusion_model.*), found keys such as {found}{lone}"
        )
    networks["unet"], replaced = averaged(path, networks["unet"], averages, options.ema)
    unet = _unet(path, networks["unet"])
    family, why_family = family_of(unet, options.family)
    base = options.base or _FAMILIES / family
    prediction, why_prediction = prediction_of(file, family, options.prediction)
    names = encoder_names(family)
    for name in networks.keys() - {"unet", "vae", *names}:
        for place in networks[name].values():
            raise UserError(
                f"{path}: {one_line(place.key)}: unexpected key, {family} has no {name}"
            )
    scheduler_path = base / "scheduler" / "scheduler_config.json"
    scheduler = {**read_json(scheduler_path), "prediction_type": prediction}
    if any(key.rpartition(".")[2] == "ztsnr" for key in file.tensors):
        scheduler["rescale_betas_zero_snr"] = True
    if options.vae:
        vae, unused = open_vae(options.vae, base / "vae")
        unused += tuple(
            Dropped(place.key, "replaced by the other VAE") for place in networks["vae"].values()
        )
    else:
        vae, unused = _vae(path, networks["vae"], base / "vae", _scaling_factor(file)), ()
    return Checkpoint(
        path=path,
        family=family,
        evidence=(why_family, why_prediction),
        unet=_configured(
            unet, base / "unet", _unet_changes(unet, family, prediction, not options.base)
        ),
        vae=vae,
        text_encoders=tuple(_text_encoder(path, networks[n], base, n) for n in names),
        tokenizers=tuple(_tokenizer(base, tokenizer_name(n)) for n in names),
        scheduler=scheduler,
        scheduler_path=scheduler_path,
        dropped=(*dropped, *replaced, *unused),
        variant="ema" if options.ema else "",
        zeros_for_empty=zeros_for_empty(family, _index(base)),
    )


def open_vae(path: Path, config_folder: Path) -> tuple[Component, tuple[Dropped, ...]]:
    """An autoencoder of its own: a folder of diffusers, or a file in either layout.

    Returns it and what its file has besides.

    Raises:
        UserError: there is none at `path`, or it is malformed.
    """
    if path.is_dir():
        inner = path / "vae"
        return open_component(inner if inner.is_dir() else path, "vae", None), ()
    file = open_tensor_file(path)
    if any(key.startswith("encoder.down_blocks.") for key in file.tensors):
        places = {key: Place(file, key) for key in file.tensors}
        config_path = config_folder / "config.json"
        layout = layouts("vae", {})[is_paddles(file)]
        return Component("vae", path, read_json(config_path), config_path, places, layout), ()
    networks, averages, dropped = sorted_keys(file)
    places = networks.pop("vae")
    if not places:
        raise UserError(f"{path}: no VAE in it; expected one in the original or diffusers' layout")
    reason = "not of the VAE, which alone is taken"
    for others in (averages, *networks.values()):
        dropped.extend(Dropped(place.key, reason) for place in others.values())
    return _vae(path, places, config_folder, _scaling_factor(file)), tuple(dropped)


def _unet(path: Path, places: Mapping[str, Place]) -> Component:
    """The UNet without its config, which depends on the family."""
    shrinks = [re.fullmatch(r"input_blocks\.(\d+)\.0\.op\.weight", name) for name in places]
    layers = min((int(found[1]) - 1 for found in shrinks if found), default=2)
    return Component("unet", path, {}, path, places, original.unet(max(1, layers)))


def _configured(unet: Component, folder: Path, changes: Mapping[str, Any]) -> Component:
    path = folder / "config.json"
    return replace(unet, config={**read_json(path), **changes}, config_path=path)


def _unet_changes(unet: Component, family: str, prediction: str, published: bool) -> dict[str, Any]:
    """What the file's shapes and its prediction type say of the UNet beyond its family."""
    shapes = unet.diffusers_shapes()
    changes = {}
    first, last = (shapes.get(f"conv_{end}.weight", ()) for end in ("in", "out"))
    if len(first) == len(last) == 4:
        changes |= {"in_channels": first[1], "out_channels": last[0]}
    if family == "sd2" and published:  # 2.x base was trained at 512 pixels, the others at 768
        changes["sample_size"] = 64 if prediction == "epsilon" else 96
    return changes


def _vae(
    path: Path, places: Mapping[str, Place], folder: Path, scaling_factor: float | None
) -> Component:
    if not places:
        return _from_base(path, folder, "vae")
    levels = [re.match(r"decoder\.up\.(\d{1,3})\.", name) for name in places]
    layout = original.vae(1 + max((int(found[1]) for found in levels if found), default=3))
    config = read_json(folder / "config.json")
    if scaling_factor is not None:
        config["scaling_factor"] = scaling_factor
    return Component("vae", path, config, folder / "config.json", places, layout)


def _scaling_factor(file: TensorFile) -> float | None:
    """The scale of latents, in the few files that store it."""
    for key, info in file.tensors.items():
        if key.rpartition(".")[2] == "scale_factor" and info.shape in ((), (1,)):
            return float(file.read(key).reshape(()))
    return None


def _text_encoder(path: Path, places: Mapping[str, Place], base: Path, name: str) -> Component:
    if not places:
        return _from_base(path, base / name, name)
    config_path = base / name / "config.json"
    config = read_json(config_path)
    kind = text_architecture(config)
    layout = layouts(name, config)[0]
    if kind != ROBERTA_SERIES and any(key.startswith("roberta.") for key in places):
        raise UserError(
            f"{path}: its text encoder is XLM-R (AltDiffusion); give a base, a diffusers folder "
            "that has such a one's config and tokenizer"
        )
    if any(key.startswith("transformer.resblocks.") for key in places):
        layers = config.get("num_hidden_layers", 0)
        layout = original.open_clip(layers, projection=kind == "CLIPTextModelWithProjection")
    return Component(name, path, config, config_path, places, layout)


def _from_base(path: Path, folder: Path, name: str) -> Component:
    """A network that the file does not have."""
    if not weights_in(folder):
        advice = "give a vae, or a base" if name == "vae" else "give a base"
        raise UserError(f"{path}: no {name} in it; {advice}, a diffusers folder that has one")
    return open_component(folder, name, None)


def _index(base: Path) -> Mapping[str, Any]:
    """A base may lack it: nothing else of it is asked for."""
    path = base / "model_index.json"
    return read_json(path) if path.is_file() else {}


def _tokenizer(base: Path, name: str) -> TokenizerFiles:
    """The base's tokenizer; ours hold only settings, the vocabulary is the same for all."""
    given = TokenizerFiles.in_folder(base / name)
    if base.parent != _FAMILIES:
        return given
    ours = {file: _ASSETS / "clip_tokenizer" / file for file in ("vocab.json", "merges.txt")}
    return replace(given, files={**given.files, **ours})
