"""From the bytes of a picture's file to the pixels that a pipeline takes, as diffusers makes them.

Reference: diffusers `utils/loading_utils.py` (`load_image`) followed by `image_processor.py`
(`VaeImageProcessor.preprocess`): turned upright, made RGB, resized with Lanczos' filter, and only
then made grey and black or white where it is a mask.  As there, transparency is ignored: a pixel
counts by its colour, however transparent.

Not as there: 16-bit grey keeps its upper eight bits, as Pillow reads 16-bit colour; Pillow's own
conversion, which diffusers relies on, makes all but the darkest greys white.  32-bit and floating
point pixels, whose range nothing tells, are refused.

Nothing here changes Pillow's settings, so that threads may decode at once.
"""

from __future__ import annotations

import hashlib
import io
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from sdbatch.errors import one_line
from sdbatch.inputs.refs import BadImage, ImageLimits, ImageRef, read_bytes

# Formats by their first bytes. Image.open tries more, and warns on stderr of the sizes it dislikes.
_FORMATS = [
    ("PNG", rb"\x89PNG\r\n\x1a\n", PngImageFile),
    ("JPEG", rb"\xff\xd8\xff", JpegImageFile),
    ("WebP", rb"RIFF....WEBP", WebPImageFile),
    ("GIF", rb"GIF8[79]a", GifImageFile),
    ("BMP", rb"BM", BmpImageFile),
    ("TIFF", rb"II[*+]\0|MM\0[*+]", TiffImageFile),
]
try:
    from PIL.AvifImagePlugin import AvifImageFile

    _FORMATS.append(("AVIF", rb"....ftypavi[fs]", AvifImageFile))
except ImportError:  # Pillow has it since 11.3
    pass

_NO_RANGE = ("I", "F")


@dataclass(frozen=True)
class LoadedImage:
    """Pixels for a pipeline, and the SHA-256 of the bytes they came from."""

    pixels: NDArray[np.float32]
    sha256: str


def load_image(
    ref: ImageRef, folder: Path, width: int, height: int, limits: ImageLimits
) -> LoadedImage:
    """`read_bytes`, then `decode_image`. Raises BadImage, naming the file."""
    data = read_bytes(ref, folder, limits)
    pixels = decode_image(data, width, height, limits, name=ref.name)
    return LoadedImage(pixels, hashlib.sha256(data).hexdigest())


def load_mask(
    ref: ImageRef, folder: Path, width: int, height: int, limits: ImageLimits
) -> LoadedImage:
    """`read_bytes`, then `decode_mask`. Raises BadImage, naming the file."""
    data = read_bytes(ref, folder, limits)
    pixels = decode_mask(data, width, height, limits, name=ref.name)
    return LoadedImage(pixels, hashlib.sha256(data).hexdigest())


def decode_image(
    data: bytes, width: int, height: int, limits: ImageLimits, *, name: str | None = None
) -> NDArray[np.float32]:
    """A picture as diffusers' `VaeImageProcessor` hands it to a VAE.

    Args:
        data: a PNG, JPEG, WebP, GIF (its first frame), BMP, TIFF (its first page) or AVIF file.
        width: of the result.
        height: of the result.
        limits: a picture of more pixels is not decoded.
        name: what a message calls it.

    Returns:
        float32 [3, height, width] in -1..1.

    Raises:
        BadImage: another format, damaged, or too many pixels.
    """
    image = _decode(data, width, height, limits, name)
    pixels = np.asarray(image, np.float32) / 255
    return np.ascontiguousarray((2 * pixels - 1).transpose(2, 0, 1))


def decode_mask(
    data: bytes, width: int, height: int, limits: ImageLimits, *, name: str | None = None
) -> NDArray[np.float32]:
    """A mask as diffusers' inpainting pipelines take it; arguments and errors of `decode_image`.

    Returns:
        float32 [1, height, width], 1 where the picture is painted anew (128 to 255 of 255), else 0.
    """
    image = _decode(data, width, height, limits, name).convert("L")
    return (np.asarray(image) >= 128).astype(np.float32)[None]


def _decode(
    data: bytes, width: int, height: int, limits: ImageLimits, name: str | None
) -> Image.Image:
    """The picture, upright, RGB, and of the size asked for."""
    name = name or f"bytes of {len(data)}"
    try:
        with _open(data) as image:
            pixels = image.width * image.height
            if pixels > limits.max_pixels:
                raise BadImage(
                    f"expected at most {limits.max_pixels:,} pixels, "
                    f"found {image.width}x{image.height}"
                )
            upright = _rgb(ImageOps.exif_transpose(image))
            if upright.size == (width, height):
                return upright
            return upright.resize((width, height), Image.Resampling.LANCZOS)
    except BadImage as error:
        raise BadImage(f"{name}: {error}") from error
    # Pillow's readers raise whatever a damaged file makes them stumble over.
    except Exception as error:
        reason = one_line(f"{type(error).__name__}: {error}")
        raise BadImage(f"{name}: expected a whole image, found it damaged ({reason})") from error


def _open(data: bytes) -> Image.Image:
    """The header is read, the pixels are not yet."""
    for _, first_bytes, reader in _FORMATS:
        if re.match(first_bytes, data, re.DOTALL):
            return reader(io.BytesIO(data))
    names = ", ".join(name for name, _, _ in _FORMATS)
    raise BadImage(f"expected an image ({names}), found {_beginning(data)}")


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in _NO_RANGE:
        raise BadImage(f"expected 8 or 16 bits per channel, found Pillow's mode {image.mode}")
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    image.info.pop("transparency", None)  # it changes no colour, but converting it may warn
    return image.convert("RGB")


def _beginning(data: bytes) -> str:
    return f"bytes {data[:8].hex(' ')}…" if data else "no bytes"
