"""Key maps: what each source calls a tensor, as pure functions `(key, array) -> [(key, array)]`.

The names of PyTorch diffusers and transformers are the common tongue: `diffusers`, `original` and
`paddle_form` bring a source's names to them, and `paddle_form` brings them to the names of
PaddleNLP's layers. (Our own UNet and VAE are named as in diffusers.) One file per layout.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

KeyMap = Callable[[str, np.ndarray], list[tuple[str, np.ndarray]]]
"""Where a tensor goes: usually one place, three where a source keeps q, k and v in one."""


def same(key: str, array: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """The map that changes nothing."""
    return [(key, array)]


Patch = Callable[[str, np.ndarray], np.ndarray]
"""Changes a tensor on its way, given diffusers' name for it and PyTorch's orientation."""


def unchanged(name: str, array: np.ndarray) -> np.ndarray:
    """The patch that changes nothing."""
    return array


@dataclass(frozen=True)
class Layout:
    """How a kind of source names and orders the tensors of one network.

    Attributes:
        rename: from the source's keys to diffusers' or transformers'.
        droppable: (pattern of a whole key, why it is not needed); any other key must be used.
        linear_in_out: linear weights are [in, out], as in Paddle, not [out, in], as in PyTorch.
    """

    rename: KeyMap = same
    droppable: tuple[tuple[str, str], ...] = ()
    linear_in_out: bool = False

    def why_dropped(self, key: str) -> str | None:
        """The reason to leave a tensor out, or None for one that must be used."""
        return next((why for what, why in self.droppable if re.fullmatch(what, key)), None)


def replaced(key: str, names: tuple[tuple[str, str], ...]) -> str:
    """The key with every (old, new) part replaced, in order."""
    for old, new in names:
        key = key.replace(old, new)
    return key
