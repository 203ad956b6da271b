"""From pixels to what a judge's vision tower sees. Imports no Paddle.

To the bit that of transformers' `CLIPImageProcessor` and `ChineseCLIPImageProcessor`, which work
with Pillow and NumPy: resize, crop the middle, rescale, normalise.
Reference: transformers 4 `models/clip/image_processing_clip.py`, `image_transforms.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from sdbatch.models.config import UnsupportedConfig

_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)
_SIDE = 224


@dataclass(frozen=True)
class Preparation:
    """A `preprocessor_config.json`; a step that it leaves out is None.

    Attributes:
        size: to which pictures are resized: (height, width), or the shorter side, an int.
        resample: Pillow's number of the filter.
        crop: (height, width) of the middle that is kept; smaller pictures get a black border.
        scale: factor for pixels 0..255.
        mean, std: of each channel, after scaling.
    """

    size: tuple[int, int] | int | None
    resample: int
    crop: tuple[int, int] | None
    scale: float | None
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any], *, square: bool = False) -> Preparation:
        """Read a `preprocessor_config.json`, with transformers' defaults.

        Args:
            raw: the config.
            square: Chinese-CLIP's: pictures are resized to a fixed size, whatever their shape.

        Raises:
            UnsupportedConfig: naming the key, its value and what is supported.
        """
        resample = raw.get("resample", int(Image.Resampling.BICUBIC))
        if type(resample) is not int or resample not in set(Image.Resampling):
            raise UnsupportedConfig(f"resample={resample!r}: expected a number of Pillow's filters")
        normalize = raw.get("do_normalize", True)
        return cls(
            size=_size(raw, square) if raw.get("do_resize", True) else None,
            resample=resample,
            crop=_pair(raw, "crop_size") if raw.get("do_center_crop", True) else None,
            scale=_scale(raw) if raw.get("do_rescale", True) else None,
            mean=_channels(raw, "image_mean", _MEAN) if normalize else None,
            std=_channels(raw, "image_std", _STD) if normalize else None,
        )

    @property
    def result(self) -> tuple[int, int] | None:
        """(height, width) of every picture afterwards; None where pictures can differ."""
        fixed = self.size if isinstance(self.size, tuple) else None
        return self.crop or fixed

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 [height, width, 3] -> float32 [3, height, width]."""
        if self.size is not None:
            pixels = _resized(pixels, self.size, self.resample)
        if self.crop is not None:
            pixels = _middle(pixels, *self.crop)
        if self.scale is not None:
            pixels = pixels.astype(np.float64) * self.scale
        values = pixels.astype(np.float32)
        if self.mean is not None:
            values = (values - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        return np.ascontiguousarray(values.transpose(2, 0, 1))


def _resized(pixels: np.ndarray, size: tuple[int, int] | int, resample: int) -> np.ndarray:
    if isinstance(size, int):
        height, width = pixels.shape[:2]
        longer = int(size * max(height, width) / min(height, width))
        size = (size, longer) if height <= width else (longer, size)
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(image.resize(size[::-1], resample))


def _middle(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """The middle; where there is too little, zeros around it, the odd one above and at the left."""
    missing = [max(0, height - len(pixels)), max(0, width - pixels.shape[1])]
    borders = [((number + 1) // 2, number // 2) for number in missing]
    pixels = np.pad(pixels, [*borders, (0, 0)]) if any(missing) else pixels
    top, left = (len(pixels) - height) // 2, (pixels.shape[1] - width) // 2
    return pixels[top : top + height, left : left + width]


def _size(raw: Mapping[str, Any], square: bool) -> tuple[int, int] | int:
    value = raw.get("size")
    if square:
        return _pair(raw, "size")
    if value is None:
        return _SIDE
    if _is_side(value):
        return value
    if isinstance(value, Mapping) and _is_side(value.get("shortest_edge")):
        return value["shortest_edge"]
    return _pair(raw, "size")


def _pair(raw: Mapping[str, Any], key: str) -> tuple[int, int]:
    """(height, width) of a number, a list or an object."""
    value = raw.get(key)
    value = _SIDE if value is None else value
    pair = (value, value)
    if isinstance(value, Mapping):
        pair = (value.get("height"), value.get("width"))
    elif isinstance(value, list):
        pair = tuple(value)
    if len(pair) != 2 or not all(map(_is_side, pair)):
        raise UnsupportedConfig(f"{key}={value!r}: expected a height and a width")
    return pair


def _is_side(value: Any) -> bool:
    return type(value) is int and 0 < value <= 4096


def _scale(raw: Mapping[str, Any]) -> float:
    value = raw.get("rescale_factor", 1 / 255)
    if type(value) not in (int, float):
        raise UnsupportedConfig(f"rescale_factor={value!r}: expected a number")
    return value


def _channels(raw: Mapping[str, Any], key: str, default: tuple[float, ...]) -> tuple[float, ...]:
    value = raw.get(key)
    value = default if value is None else value
    values = tuple(value) if isinstance(value, (list, tuple)) else (value,) * 3
    if len(values) != 3 or not all(type(v) in (int, float) for v in values):
        raise UnsupportedConfig(f"{key}={value!r}: expected three numbers")
    if key == "image_std" and not all(values):
        raise UnsupportedConfig(f"{key}={value!r}: expected no zeros")
    return values
