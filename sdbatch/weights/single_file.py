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
from sdbatch.models.config import text_architecture
from sdbatch.weights.checkpoint import (
    Checkpoint,
    Component,
    Dropped,
    Place,
    TokenizerFiles,
    read_json,
)
from sdbatch.weights.family import family_of, prediction_of
from sdbatch.weights.files.formats import open_tensor_file
from sdbatch.weights.files.tensor_file import TensorFile
from sdbatch.weights.folder import LAYOUTS, is_paddles, open_component, weights_in
from sdbatch.weights.maps import Layout, original
from sdbatch.weights.options import SourceOptions

_ASSETS = Path(__file__).parent.parent / "assets"
_FAMILIES = _ASSETS / "families"
_VAE_KEYS = (
    r"(?:encoder|decoder)\.(?:conv_in|conv_out|norm_out|mid|down|up)\..+|(?:post_)?quant_conv\..+"
)
_CLIP_KEYS = r"(?:text_model|embeddings|encoder|final_layer_norm)\..+"

# Patterns of whole keys; the group is the name without the network's prefix, which some
# fine-tunes leave out.
_NETWORKS = (
    (
        "unet",
        r"(?:model\.)?(?:diffusion_model\.)?"
        r"((?:(?:input|output)_blocks\.\d{1,3}|middle_block|time_embed|label_emb|out)\..+)",
    ),
    ("vae", r"first_stage_model\.(.+)"),
    ("vae", rf"(?:vae\.)?({_VAE_KEYS})"),
    (
        "text_encoder",
        rf"(?:cond_stage_model|conditioner\.embedders\.0)\.(?:transformer\.)?({_CLIP_KEYS})",
    ),
    ("text_encoder", rf"({_CLIP_KEYS})"),
    ("text_encoder", r"cond_stage_model\.model\.(.+)"),
    ("text_encoder", r"cond_stage_model\.transformer\.(.+)"),
    ("text_encoder_2", r"conditioner\.embedders\.[01]\.model\.(.+)"),  # 0: of the refiner
)
_DROPPABLE = (
    (
        r"betas|alphas_cumprod(_prev)?|sqrt_.+|log_one_minus_.+|posterior_.+|logvar|lvlb_weights"
        r"|scale_factor|denoiser\..+",
        "a table of the noise schedule, which the scheduler's config gives",
    ),
    (r"v_pred|ztsnr", "a mark of what the UNet predicts, not a weight"),
    (r"model_ema\.(decay|num_updates)", "a counter of the training"),
    (r"(.+\.)?logit_scale", "belongs to the text encoder's training"),
    (r"(.+\.)?embeddings\.position_ids", "a constant: 0, 1, 2 ..."),  # ComfyUI's are misplaced
    (r"loss\..+", "the discriminator of an autoencoder's training"),
    (r"safety_checker\..+", "a safety checker, which judges pictures and makes none"),
    (r"(optimizer|lr_scheduler|callbacks|loops|scheduler).*", "state of the training"),
)
# What else people have in such files: a pattern of some key, what it is, what to do with it.
_OTHERS = (
    (r"lora_(unet|te\d?)_.+|.+\.lora[._].+", "a LoRA; give it as model.loras"),
    (r"emb_params|string_to_(param|token)\..+", "a textual inversion; give it as model.embeddings"),
    (r"(control_model|controlnet_.+|zero_convs)\..+", "a ControlNet, which is not supported"),
    (
        r"(model\.diffusion_model\.)?(joint|double|single|transformer)_?blocks\..+",
        "a diffusion transformer (SD 3, FLUX), which is not supported",
    ),
    (
        r"(unet\.|vae\.)?((encoder\.)?down|(decoder\.)?up)_blocks\..+",
        "a network of diffusers; give the folder that has model_index.json",
    ),
)


def open_single_file(path: Path, options: SourceOptions) -> Checkpoint:
    """Find the networks in a file and give them the configs and tokenizers that it lacks.

    Raises:
        UserError: the file is malformed, holds something else, lacks a part, or has a key that
            belongs to nothing.
    """
    file = open_tensor_file(path)
    networks, averages, dropped = _sorted_keys(file)
    if not networks["unet"]:
        found = one_line(next(iter(file.tensors), "no tensors"))[:100]
        lone = "; a VAE by itself is given as model.vae" if networks["vae"] else ""
        raise UserError(
            f"{path}: no UNet in it; expected a Stable Diffusion checkpoint in the original "
            f"layout (model.diffusion_model.*), found keys such as {found}{lone}"
        )
    networks["unet"], replaced = _averaged(path, networks["unet"], averages, options.ema)
    unet = _unet(path, networks["unet"])
    family, why_family = family_of(unet, options.family)
    base = options.base or _FAMILIES / family
    prediction, why_prediction = prediction_of(file, family, options.prediction)
    names = ("text_encoder", "text_encoder_2")[: 2 if family == "sdxl" else 1]
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
        tokenizers=tuple(_tokenizer(base, n.replace("text_encoder", "tokenizer")) for n in names),
        scheduler=scheduler,
        scheduler_path=scheduler_path,
        dropped=(*dropped, *replaced, *unused),
        variant="ema" if options.ema else "",
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
        layout = LAYOUTS["vae"][is_paddles(file)]
        return Component("vae", path, read_json(config_path), config_path, places, layout), ()
    networks, averages, dropped = _sorted_keys(file)
    places = networks.pop("vae")
    if not places:
        raise UserError(f"{path}: no VAE in it; expected one in the original or diffusers' layout")
    reason = "not of the VAE, which alone is taken"
    for others in (averages, *networks.values()):
        dropped.extend(Dropped(place.key, reason) for place in others.values())
    return _vae(path, places, config_folder, _scaling_factor(file)), tuple(dropped)


def _sorted_keys(
    file: TensorFile,
) -> tuple[dict[str, dict[str, Place]], dict[str, Place], list[Dropped]]:
    """Every key of a file: in one of the networks, among the running averages, or dropped."""
    networks = {name: {} for name, _ in _NETWORKS}
    averages, dropped = {}, []
    prefix = _container(file)
    for key in file.tensors:
        if not key.startswith(prefix):
            dropped.append(Dropped(key, "kept beside the model: state of the training"))
            continue
        inner = key[len(prefix) :]
        reason = next((why for what, why in _DROPPABLE if re.fullmatch(what, inner)), None)
        average = re.fullmatch(r"model_ema\.(.+)", inner)
        matches = ((name, re.fullmatch(pattern, inner)) for name, pattern in _NETWORKS)
        network, match = next((pair for pair in matches if pair[1]), (None, None))
        if reason:
            dropped.append(Dropped(key, reason))
        elif average:
            averages[average[1]] = Place(file, key)
        elif match is None:
            raise UserError(
                f"{file.path}: {one_line(key)}: unexpected key, part of no network of a Stable "
                f"Diffusion checkpoint{_what_else(file)}"
            )
        elif match[1] in networks[network]:
            other = networks[network][match[1]].key
            raise UserError(
                f"{file.path}: {one_line(key)} and {one_line(other)} are both {match[1]}"
            )
        else:
            networks[network][match[1]] = Place(file, key)
    return networks, averages, dropped


def _what_else(file: TensorFile) -> str:
    """What a file with keys that belong to nothing seems to be."""
    for pattern, what in _OTHERS:
        if any(re.fullmatch(pattern, key) for key in file.tensors):
            return f"; this looks like {what}"
    return ""


def _container(file: TensorFile) -> str:
    """What Lightning and data-parallel training put before every key of the model."""
    for prefix in ("state_dict.", "model_state_dict."):
        if any(key.startswith(prefix) for key in file.tensors):
            return prefix
    return "module." if all(key.startswith("module.") for key in file.tensors) else ""


def _averaged(
    path: Path, unet: dict[str, Place], averages: dict[str, Place], wanted: bool
) -> tuple[dict[str, Place], list[Dropped]]:
    """The UNet's tensors or, where wanted, their running averages; and those not taken."""
    if not wanted:
        reason = "a running average (EMA) of a weight; not asked for"
        return unet, [Dropped(place.key, reason) for place in averages.values()]
    taken = {}
    for name, place in unet.items():
        dotless = f"diffusion_model.{name}".replace(".", "")  # LitEma's names have no dots
        if dotless not in averages:
            raise UserError(
                f"{path}: ema: there is no running average of {one_line(place.key)}; expected "
                f"model_ema.{dotless}"
            )
        taken[name] = averages.pop(dotless)
    reason = "replaced by its running average (EMA)"
    left = [Dropped(p.key, "a running average of no weight of the UNet") for p in averages.values()]
    return taken, [*(Dropped(place.key, reason) for place in unet.values()), *left]


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
    layout = LAYOUTS.get(kind, (Layout(),))[0]
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


def _tokenizer(base: Path, name: str) -> TokenizerFiles:
    """The base's tokenizer; ours hold only settings, the vocabulary is the same for all."""
    given = TokenizerFiles.in_folder(base / name)
    if base.parent != _FAMILIES:
        return given
    ours = {file: _ASSETS / "clip_tokenizer" / file for file in ("vocab.json", "merges.txt")}
    return replace(given, files={**given.files, **ours})
