"""peft's settings of a LoRA, where a file carries them: its ranks and alphas.

diffusers writes them into the file's metadata, peft by itself into a file beside it. Source: peft
`tuners/lora/config.py`, `tuners/lora/layer.py`, `utils/other.py`; diffusers `loaders/lora_base.py`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sdbatch.errors import UserError, one_line
from sdbatch.weights import lora_names
from sdbatch.weights.files.tensor_file import TensorFile

_METADATA_KEY = "lora_adapter_metadata"
# peft's other ways to begin change the model's own weights too, before anything is learned.
_INITS = (None, True, False, "gaussian", "eva", "orthogonal")
_DEFAULT = 8  # peft's, for both rank and alpha


@dataclass(frozen=True)
class Settings:
    """What peft was told about the LoRA of one network.

    Attributes:
        where: how errors name the settings.
        rank, alpha: of a module that no pattern names.
        ranks, alphas: by pattern of a module's name.
        root: divide by the rank's square root instead of the rank (arXiv 2312.03732).
    """

    where: str
    rank: float
    alpha: float
    ranks: Mapping[str, float]
    alphas: Mapping[str, float]
    root: bool

    def scale(self, module: str, rank: int) -> float:
        """What the product of a module's factors is multiplied by.

        Raises:
            UserError: the factors have another rank than the settings say.
        """
        expected = _named(self.ranks, module, self.rank)
        if expected != rank:
            raise UserError(
                f"{self.where}: {one_line(module)}: expected rank {expected:g}, found {rank}"
            )
        alpha = _named(self.alphas, module, self.alpha)
        return alpha / (math.sqrt(rank) if self.root else rank)


def read_settings(file: TensorFile, components: Collection[str]) -> dict[str, Settings]:
    """The settings by component; a component without any is left out.

    Raises:
        UserError: malformed, or a LoRA that is more than its factors.
    """
    beside = file.path.parent / "adapter_config.json"
    if _METADATA_KEY in file.metadata:
        where = f"{file.path}: {_METADATA_KEY}"
        raw = _json_object(file.metadata[_METADATA_KEY], where)
        parts = {
            component: {
                key.removeprefix(f"{component}."): value
                for key, value in raw.items()
                if key.startswith(f"{component}.")
            }
            for component in components
        }
    elif any(map(lora_names.is_peft, file.tensors)) and beside.is_file():
        where = str(beside)
        parts = dict.fromkeys(components, _json_object(beside.read_bytes(), where))
    else:
        return {}
    return {component: _settings(part, where) for component, part in parts.items() if part}


def _settings(raw: Mapping[str, Any], where: str) -> Settings:
    begin = raw.get("init_lora_weights")
    if not any(begin is known or begin == known for known in _INITS):
        raise UserError(
            f"{where}: init_lora_weights={one_line(begin)!r}: not supported, because it changes "
            "the model's own weights too"
        )
    ranks, alphas = raw.get("rank_pattern") or {}, raw.get("alpha_pattern") or {}
    for key, patterns in (("rank_pattern", ranks), ("alpha_pattern", alphas)):
        if not isinstance(patterns, dict) or not all(map(_is_pattern, patterns)):
            raise UserError(f"{where}: {key}: expected numbers by patterns of names")
    rank, alpha = raw.get("r", _DEFAULT), raw.get("lora_alpha", _DEFAULT)
    if not all(map(_is_number, (rank, alpha, *ranks.values(), *alphas.values()))):
        raise UserError(f"{where}: r, lora_alpha and their patterns: expected numbers")
    return Settings(where, rank, alpha, ranks, alphas, bool(raw.get("use_rslora")))


def _named(patterns: Mapping[str, float], module: str, default: float) -> float:
    """The value of the first pattern that the end of the name matches, as in peft."""
    for pattern, value in patterns.items():
        if re.match(_ending(pattern), module):
            return value
    return default


def _ending(pattern: str) -> str:
    return rf"(.*\.)?({pattern})$"


def _is_pattern(text: str) -> bool:
    try:
        re.compile(_ending(text))
    except re.error:
        return False
    return True


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _json_object(text: str | bytes, where: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError(f"{where}: not valid JSON: {one_line(error)}") from error
    if not isinstance(value, dict):
        raise UserError(f"{where}: expected a JSON object, found {type(value).__name__}")
    return value
