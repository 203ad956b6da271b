"""Which network each key of an original-layout file belongs to, and which keys nobody needs."""

from __future__ import annotations

import re
from pathlib import Path

from sdbatch.errors import UserError, one_line
from sdbatch.weights.checkpoint import Dropped, Place
from sdbatch.weights.files.tensor_file import TensorFile

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
    # AltDiffusion, as the web UI reads it.
    ("text_encoder", r"cond_stage_model\.((?:roberta|transformation(?:_pre)?|pre_LN)\..+)"),
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


def sorted_keys(
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


def averaged(
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
