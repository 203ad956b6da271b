"""LoRA: low-rank changes to weights, read from a file and merged into weights as they are loaded.

    weight + strength * scale * (up @ down)        scale = alpha / rank; 1 where no alpha is given

For convolutions (LoCon) `down` holds the kernel and `up` is 1x1, or both are 1x1 and `mid` holds
the kernel. How files name them is in `lora_names`. Imports no Paddle. Sources: Hu et al. 2021,
arXiv 2106.09685; peft `tuners/lora/layer.py`; LyCORIS `modules/locon.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sdbatch.errors import UserError, one_line
from sdbatch.weights import lora_names
from sdbatch.weights.files.formats import open_tensor_file
from sdbatch.weights.files.tensor_file import TensorFile
from sdbatch.weights.lora_settings import Settings, read_settings


@dataclass(frozen=True)
class LoraModule:
    """The change to one weight.

    Attributes:
        name: of the module, as the file writes it.
        down, up, mid: the keys of its factors.
        scale: what their product is multiplied by.
        shape: of the product.
    """

    name: str
    down: str
    up: str
    mid: str | None
    scale: float
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Lora:
    """An opened LoRA: its modules by component; factors are read when they are needed."""

    file: TensorFile
    modules: Mapping[str, tuple[LoraModule, ...]]

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self.file.path

    @property
    def components(self) -> tuple[str, ...]:
        """The networks it changes: of `text_encoder`, `text_encoder_2`, `unet`."""
        return tuple(sorted(self.modules))


def open_lora(path: Path) -> Lora:
    """Read the names and shapes of a LoRA; of the tensors only the alphas.

    A LoRA that peft saved by itself has its alpha in `adapter_config.json` beside it.

    Raises:
        UserError: by file and key: unreadable, another method than LoRA, a key that belongs to no
            LoRA, a factor without its partner, shapes that do not multiply, malformed metadata.
    """
    file = open_tensor_file(path)
    keys = _keys(file)
    if not keys:
        raise UserError(f"{path}: holds no LoRA: it has no tensors")
    settings = read_settings(file, {component for component, _ in keys})
    modules: dict[str, list[LoraModule]] = {}
    for (component, name), roles in keys.items():
        module = _module(file, name, roles, settings.get(component))
        modules.setdefault(component, []).append(module)
    return Lora(file, {component: tuple(found) for component, found in modules.items()})


def refuse_misplaced(loras: Sequence[Lora], components: Collection[str]) -> None:
    """Check that a model with these networks has every one that the LoRAs change.

    Raises:
        UserError: naming the file and the network that is not there.
    """
    for lora in loras:
        for component in lora.components:
            if component not in components:
                raise UserError(
                    f"{lora.path}: {lora.modules[component][0].down}: changes {component}, which "
                    "this model does not have; was it made for another family (SD 1.x, 2.x, XL)?"
                )


def lora_patch(
    loras: Sequence[tuple[Lora, float]],
    component: str,
    names: Collection[str],
    layers_per_block: int,
    *,
    dtype: str | None = None,
) -> Callable[[str, np.ndarray], np.ndarray]:
    """What is to be done to each weight of one network: `patch(name, array) -> array`.

    All changes to a weight are summed in float32.

    Args:
        loras: each with its strength.
        component: the network's name.
        names: of its weights, as diffusers and transformers (with `text_model.`) name them.
        layers_per_block: of the UNet, to read names of the original layout.
        dtype: of changed weights, by default the array's own. Where half floats are loaded into a
            float32 network, `float32` keeps what rounding would take from the changes.

    Raises:
        UserError: a module that is no weight of the network, or two that are the same one; from
            the patch, one whose shape is not the weight's.
    """
    table = lora_names.lookup(names, layers_per_block)
    changes: dict[str, list[tuple[Lora, LoraModule, float]]] = {}
    for lora, strength in loras:
        taken: dict[str, str] = {}
        for module in lora.modules.get(component, ()):
            name = table.get(lora_names.flat(module.name))
            if name is None:
                raise UserError(
                    f"{lora.path}: {one_line(module.down)}: matches no weight of the {component}; "
                    "was this LoRA made for another family (SD 1.x, 2.x, XL)?"
                )
            if name in taken:
                raise UserError(
                    f"{lora.path}: {taken[name]} and {module.down} both change the weight {name}"
                )
            taken[name] = module.down
            changes.setdefault(name, []).append((lora, module, strength))

    def patch(name: str, array: np.ndarray) -> np.ndarray:
        if name not in changes:
            return array
        total = array.astype(np.float32)
        for lora, module, strength in changes[name]:
            change = _product(lora.file, module)
            total += strength * module.scale * _as_shape(change, array.shape, lora, module)
        return total.astype(dtype or array.dtype, copy=False)

    return patch


def _keys(file: TensorFile) -> dict[tuple[str, str], dict[str, str]]:
    """From (component, module) and role to the file's key; every key is accounted for."""
    keys: dict[tuple[str, str], dict[str, str]] = {}
    # In a pickle an alpha may be a plain number, which is no tensor.
    numbers = [key for key in file.metadata if lora_names.is_alpha(key)]
    for key in (*file.tensors, *numbers):
        factor = lora_names.parse(key)
        if factor is None:
            method = lora_names.other_method(key)
            what = f"this is {method}" if method else "not a key of a LoRA"
            raise UserError(
                f"{file.path}: {one_line(key)}: {what}; supported: {lora_names.SUPPORTED}"
            )
        roles = keys.setdefault((factor.component, factor.module), {})
        if factor.role in roles:
            raise UserError(
                f"{file.path}: {roles[factor.role]} and {key} are both the {factor.role} of one "
                "module; expected one LoRA in a file"
            )
        roles[factor.role] = key
    return keys


def _module(
    file: TensorFile, name: str, roles: Mapping[str, str], settings: Settings | None
) -> LoraModule:
    present = " and ".join(sorted(roles))
    for role in ("down", "up"):
        if role not in roles:
            key = next(iter(roles.values()))
            raise UserError(f"{file.path}: {one_line(key)}: has no {role}, only {present}")
    down, up = (file.tensors[roles[role]].shape for role in ("down", "up"))
    mid = file.tensors[roles["mid"]].shape if "mid" in roles else None
    kernel = down[2:] if mid is None else mid[2:]
    fits = len(down) in (2, 4) and len(up) in (2, 4) and math.prod(up[2:]) == 1
    if mid is None:
        fits = fits and up[1] == down[0]
    else:
        fits = fits and math.prod(down[2:]) == 1 and len(mid) == 4
        fits = fits and mid[:2] == (up[1], down[0])
    if not fits or 0 in down + up:
        middle = "" if mid is None else f", mid {list(mid)}"
        raise UserError(
            f"{file.path}: {one_line(roles['down'])}: factors do not multiply: "
            f"down {list(down)}{middle}, up {list(up)}"
        )
    scale = _scale(file, name, roles, settings, down[0])
    return LoraModule(
        name, roles["down"], roles["up"], roles.get("mid"), scale, (up[0], down[1], *kernel)
    )


def _scale(
    file: TensorFile, name: str, roles: Mapping[str, str], settings: Settings | None, rank: int
) -> float:
    """From the module's own alpha, else from the settings of the whole LoRA, else 1."""
    if "alpha" not in roles:
        return 1.0 if settings is None else settings.scale(name, rank)
    key = roles["alpha"]
    alpha = file.read(key) if key in file.tensors else np.asarray(file.metadata[key])
    if alpha.size != 1 or alpha.dtype.kind not in "fiu" or not np.isfinite(alpha).all():
        raise UserError(f"{file.path}: {one_line(key)}: expected one number")
    return float(alpha.reshape(-1)[0]) / rank


def _product(file: TensorFile, module: LoraModule) -> np.ndarray:
    """up @ down (with mid between them) as float32 [out, in] or [out, in, height, width]."""
    down = file.read(module.down).astype(np.float32)
    up = file.read(module.up).astype(np.float32)
    up = up.reshape(up.shape[:2])
    if module.mid is not None:
        mid = file.read(module.mid).astype(np.float32)
        down = np.einsum("rskl,si->rikl", mid, down.reshape(down.shape[:2]))
    return (up @ down.reshape(len(down), -1)).reshape(module.shape)


def _as_shape(
    change: np.ndarray, shape: tuple[int, ...], lora: Lora, module: LoraModule
) -> np.ndarray:
    """A 1x1 convolution and a linear layer are the same matrix, stored as either."""
    if change.shape != shape:
        same = change.shape[:2] == shape[:2]
        if not (same and math.prod(change.shape[2:]) == math.prod(shape[2:]) == 1):
            raise UserError(
                f"{lora.path}: {one_line(module.down)}: expected shape {list(shape)}, found "
                f"{list(change.shape)}; was this LoRA made for another model?"
            )
    return change.reshape(shape)
