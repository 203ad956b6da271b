"""What a checkpoint is: its family from keys and shapes, what its UNet predicts from what it says.

Neither is guessed in silence: each answer comes with the line that tells why.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from sdbatch.errors import UserError, one_line
from sdbatch.weights.checkpoint import Component
from sdbatch.weights.files.tensor_file import TensorFile

FAMILIES = ("sd1", "sd2", "sdxl")
PREDICTIONS = ("epsilon", "v_prediction", "sample")
_WIDTHS = {768: "sd1", 1024: "sd2"}
_SPELLINGS = {
    "eps": "epsilon",
    "EpsScaling": "epsilon",
    "v": "v_prediction",
    "v-prediction": "v_prediction",
    "VScaling": "v_prediction",
    "x0": "sample",
}
_REFINER_WIDTH = 1280


def family_of(unet: Component, wanted: str | None) -> tuple[str, str]:
    """The family (sd1, sd2, sdxl) and the evidence for it, from the UNet's keys and shapes.

    Raises:
        UserError: not a Stable Diffusion UNet, one that is not supported, or not what was wanted.
    """
    shapes = unet.diffusers_shapes()
    widths = {
        shape[0 if unet.layout.linear_in_out else 1]
        for name, shape in shapes.items()
        if name.endswith(".attn2.to_k.weight") and len(shape) == 2
    }
    projections = [s for n, s in shapes.items() if n.endswith(".attentions.0.proj_in.weight")]
    if not widths or not projections:
        raise UserError(
            f"{unet.source}: no UNet of a Stable Diffusion (no cross-attention); expected SD 1.x, "
            f"2.x or XL, found keys such as {one_line(next(iter(unet.places), 'none'))[:100]}"
        )
    width, linear = min(widths), len(projections[0]) == 2
    added = "add_embedding.linear_1.weight" in shapes
    evidence = f"cross-attention reads {width} channels"
    if added:
        family, evidence = "sdxl", f"{evidence}, and there is an embedding of sizes and pooled text"
        if width == _REFINER_WIDTH:
            raise UserError(f"{unet.source}: the SDXL refiner is not supported ({evidence})")
    elif width in _WIDTHS:
        family = _WIDTHS[width]
    else:
        family = "sd2" if linear else "sd1"
        evidence += f", projections are {'linear' if linear else '1x1 convolutions'}"
    if wanted not in (None, family):
        raise UserError(
            f"{unet.source}: family {wanted} was asked for, but this is {family}: {evidence}"
        )
    return family, f"family {family}: {evidence}"


def settled_scheduler(
    config: Mapping[str, Any], path: Path, wanted: str | None
) -> tuple[dict[str, Any], str]:
    """A folder's scheduler config with its prediction type, and what told it."""
    said = config.get("prediction_type")
    if wanted is None:
        line = f"prediction {said}: {path} says so"
        if not said:
            line = f"prediction epsilon: {path} names none, which diffusers takes to mean this"
        return {**config, "prediction_type": said or "epsilon"}, line
    line = f"prediction {wanted}: asked for"
    if said not in (None, wanted):
        line += f", although {path} says {one_line(said)}"
    return {**config, "prediction_type": wanted}, line


def prediction_of(file: TensorFile, family: str, wanted: str | None) -> tuple[str, str]:
    """What the UNet of a single file predicts, and what told it.

    A file says so by a key `v_pred`, by `modelspec.prediction_type` in its metadata, or by a config
    of the same name beside it (`model.yaml`, as web UIs read it). All SD 1.x and XL models that say
    nothing predict noise; SD 2.x comes as both, so there somebody must say.

    Raises:
        UserError: nothing says it, for SD 2.x; or what is said is not understood.
    """
    said, where = _said(file, config=wanted is None)
    if wanted:
        line = f"prediction {wanted}: asked for"
        return wanted, line + (
            f", although {where} says {said}" if said not in (None, wanted) else ""
        )
    if said in PREDICTIONS:
        return said, f"prediction {said}: {where} says so"
    if said:
        raise UserError(
            f"{file.path}: {where} says prediction {said}, which is not known; give prediction "
            f"{', '.join(PREDICTIONS)}"
        )
    if family == "sd2":
        raise UserError(
            f"{file.path}: what its UNet predicts is not known: SD 2.x comes as both and the file "
            "does not say; give prediction epsilon (2.x base, 512 pixels) or v_prediction (768)"
        )
    return "epsilon", f"prediction epsilon: the file does not say, and {family} is published so"


def _said(file: TensorFile, *, config: bool) -> tuple[str | None, str]:
    if any(key.rpartition(".")[2] == "v_pred" for key in file.tensors):
        return "v_prediction", "the key v_pred"
    name = "modelspec.prediction_type"
    found = one_line(file.metadata.get(name, "")).lower()
    if found:
        return _SPELLINGS.get(found, found), f"{name} in its metadata"
    beside = file.path.with_suffix(".yaml")
    if config and beside.is_file():  # it may be somebody else's: only asked where it is needed
        return _said_by_config(beside), beside.name
    return None, ""


def _said_by_config(path: Path) -> str:
    """What the config of CompVis (eps by default) or of Stability says.

    Raises:
        UserError: the file is not such a config.
    """
    try:
        parameters = yaml.safe_load(path.read_text(encoding="utf-8"))["model"]["params"]
        found = parameters.get("parameterization", "eps")
        if "denoiser_config" in parameters:
            scaling = parameters["denoiser_config"]["params"]["scaling_config"]
            found = scaling["target"].rpartition(".")[2]
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"{path}: cannot be read: {one_line(error)}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: expected the config of a Stable Diffusion model") from error
    found = one_line(found)
    return _SPELLINGS.get(found, found)
