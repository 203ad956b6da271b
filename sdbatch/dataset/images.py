"""From pixels to the bytes of an image file, and whether they are a picture at all."""

from __future__ import annotations

import io
import json
import os
import struct
import threading
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter
from PIL.PngImagePlugin import PngInfo

from sdbatch.request import ImageRequest


@dataclass(frozen=True)
class ImageFormat:
    """How pictures are written.

    Args:
        name: `png`, `jpeg` or `webp`.
        quality: of a JPEG or WebP file, 1 to 100.
        compression: of a PNG file, zlib level 0 to 9; no pixel depends on it.
        lossless: whether a WebP file keeps every pixel; its quality then decides nothing.
    """

    name: str
    quality: int = 95
    compression: int = 6
    lossless: bool = False

    @property
    def suffix(self) -> str:
        """What file names end in, without a dot."""
        return "jpg" if self.name == "jpeg" else self.name

    @property
    def label(self) -> str:
        """What decides the pixels that a reader gets: `png`, `jpeg q95` or `webp lossless`."""
        if self.exact:
            return self.name if self.name == "png" else f"{self.name} lossless"
        return f"{self.name} q{self.quality}"

    @property
    def exact(self) -> bool:
        """Whether a reader gets the very pixels that were written."""
        return self.name == "png" or (self.name == "webp" and self.lossless)

    @classmethod
    def from_label(cls, label: str) -> ImageFormat:
        """The format that has this `label`."""
        name, _, quality = label.partition(" ")
        if quality.startswith("q"):
            return cls(name, quality=int(quality[1:]))
        return cls(name, lossless=quality == "lossless")


def to_bytes(pixels: np.ndarray) -> np.ndarray:
    """float32 0..1 -> uint8 0..255, rounded half to even, as diffusers does.

    What is not finite becomes any level; `judge` is told of it.
    """
    levels = pixels * np.float32(255)
    np.rint(levels, out=levels)
    with np.errstate(invalid="ignore"):
        return levels.astype(np.uint8)


def judge(pixels: np.ndarray, finite: bool) -> str:
    """Status of a picture: `ok`, `nan` (not finite) or `blank` (one flat colour).

    Args:
        pixels: uint8 [height, width, 3].
        finite: whether every value was finite before it became a byte.
    """
    if not finite:
        return "nan"
    # Some rows show it for almost every picture, in a fraction of the time.
    return "blank" if _flat(pixels[::61]) and _flat(pixels) else "ok"


def blurred(pixels: np.ndarray) -> np.ndarray:
    """The picture beyond recognition: nothing finer than an eighth of its shorter side is left.

    Args:
        pixels: uint8 [height, width, 3].
    """
    radius = min(pixels.shape[:2]) / 8
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)))


def _flat(pixels: np.ndarray) -> bool:
    """Whether no channel spans more than one level."""
    # Rows first: NumPy then compares whole rows at once, 100 times as fast as pixel by pixel.
    high, low = pixels.max(axis=0).max(axis=0), pixels.min(axis=0).min(axis=0)
    return bool((high - low).max() <= 1)


def encode(pixels: np.ndarray, parameters: str, form: ImageFormat) -> bytes:
    """An image file that says how it was made, where AUTOMATIC1111's web UI says it.

    Equal pixels and text give equal bytes. Threads encode at the same time.

    Args:
        pixels: uint8 [height, width, 3].
        parameters: the text: in PNG the chunk `parameters`, else the EXIF tag UserComment.
        form: the kind of file.
    """
    image = Image.fromarray(pixels)
    if form.name == "jpeg":
        return _jpeg(image, parameters, form.quality)
    if form.name == "webp":
        return _webp(image, parameters, form)
    info = PngInfo()
    info.add_text("parameters", parameters)  # not Latin-1: as an international (UTF-8) chunk
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=info, compress_level=form.compression)
    return buffer.getvalue()


_own = threading.local()


def _jpeg(image: Image.Image, parameters: str, quality: int) -> bytes:
    # Pillow lets go of the interpreter's lock only while it encodes into a real file, so this is
    # one, in memory. A fresh one for each picture would cost a tenth more.
    if not hasattr(_own, "file"):
        _own.file = open(os.memfd_create("jpeg"), "w+b", buffering=0)  # noqa: SIM115, PTH123
    file = _own.file
    file.seek(0)
    image.save(file, "JPEG", quality=quality, subsampling=0, exif=_exif(parameters))
    size = file.tell()
    file.seek(0)
    return file.read(size)


def _webp(image: Image.Image, parameters: str, form: ImageFormat) -> bytes:
    buffer = io.BytesIO()
    # Without loss, quality is how hard the encoder tries: 50 is near the smallest file.
    quality = 50 if form.lossless else form.quality
    # Pillow takes the heading off, as is right; Adobe's library cannot read the file without one.
    exif = _EXIF_START + _exif(parameters)
    image.save(buffer, "WEBP", quality=quality, lossless=form.lossless, method=4, exif=exif)
    return buffer.getvalue()


_EXIF_START = b"Exif\0\0"
_EXIF_MOST = 65533
"""Bytes of a JPEG segment."""


def _exif(text: str) -> bytes:
    """EXIF with nothing but a UserComment, in UTF-16 as the web UI writes it.

    Reference: stable-diffusion-webui `modules/images.py`, `save_image_with_geninfo`. Made by hand,
    since Pillow gives the tag the type BYTE, at which the web UI's reader (piexif) stumbles.
    """
    comment = _comment(text)
    if len(comment) + 50 > _EXIF_MOST:
        # The settings stand at the end; the metadata have the prompt whole.
        comment = _comment(f"{text[:8000]} ... {text[-8000:]}")
    # A big-endian TIFF header, then two directories of one entry each, of 18 bytes: the pointer
    # to the second (type LONG), and the tag, whose value (type UNDEFINED) follows at byte 44.
    header = struct.pack(">2sHI", b"MM", 42, 8)
    pointer = struct.pack(">HHHIII", 1, 0x8769, 4, 1, 26, 0)
    entry = struct.pack(">HHHIII", 1, 0x9286, 7, len(comment), 44, 0)
    return _EXIF_START + header + pointer + entry + comment


def _comment(text: str) -> bytes:
    return b"UNICODE\0" + text.encode("utf-16-be")


def parameters_text(
    request: ImageRequest,
    *,
    sampler: str,
    model: str,
    weights_sha256: str,
    noise: str = "torch_cpu",
    clip_skip: int = 0,
) -> str:
    """Generation settings in the form of AUTOMATIC1111's web UI, so that its readers show them.

    Reference: stable-diffusion-webui `modules/processing.py`, `create_infotext`.
    """
    solver, schedule = _webui_sampler(sampler)
    settings = {
        "Steps": request.steps,
        "Sampler": solver,
        **({"Schedule type": schedule} if schedule else {}),
        "CFG scale": f"{request.guidance_scale:g}",
        "Seed": request.seed,
        "Size": f"{request.width}x{request.height}",
        "Model hash": weights_sha256[:10],
        "Model": _quote(model),
        **({"Denoising strength": f"{request.strength:g}"} if request.strength else {}),
        **({"Clip skip": clip_skip + 1} if clip_skip else {}),  # there 1 skips nothing
        "RNG": {"torch_cpu": "CPU", "philox": "NV"}[noise],
        "Version": "sdbatch",
    }
    lines = [request.text]
    if request.negative_text:
        lines.append(f"Negative prompt: {request.negative_text}")
    lines.append(", ".join(f"{key}: {value}" for key, value in settings.items()))
    return "\n".join(lines)


_WEBUI_SAMPLERS = {
    "ddim": "DDIM",
    "plms": "PLMS",
    "ddpm": "DDPM",
    "euler": "Euler",
    "euler_a": "Euler a",
    "heun": "Heun",
    "dpmpp_2m": "DPM++ 2M",
    "dpmpp_2m_sde": "DPM++ 2M SDE",
    "dpmpp_2s": "DPM++ 2S",
    "unipc": "UniPC",
    "lcm": "LCM",
    "tcd": "TCD",
}
_WEBUI_SCHEDULES = {
    "karras": "Karras",
    "exponential": "Exponential",
    "beta": "Beta",
    "sgm_uniform": "SGM Uniform",
}


def _webui_sampler(name: str) -> tuple[str, str | None]:
    """Sampler and schedule as the web UI calls them."""
    for suffix, schedule in _WEBUI_SCHEDULES.items():
        if name.endswith(f"_{suffix}"):
            solver = name.removesuffix(f"_{suffix}")
            return _WEBUI_SAMPLERS.get(solver, solver), schedule
    return _WEBUI_SAMPLERS.get(name, name), None


def _quote(text: str) -> str:
    """Readers split at commas and colons, unless the value is quoted, as a JSON string."""
    return json.dumps(text, ensure_ascii=False) if any(mark in text for mark in ",:\n") else text
