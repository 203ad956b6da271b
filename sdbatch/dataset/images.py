"""From pixels to the bytes of an image file, and whether they are a picture at all."""

from __future__ import annotations

import io
import json

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from sdbatch.request import ImageRequest


def judge(pixels: np.ndarray) -> str:
    """Status of a picture: `ok`, `nan` (not finite) or `blank` (one flat colour).

    Args:
        pixels: float32 [height, width, 3] in 0..1.
    """
    if not np.isfinite(pixels).all():
        return "nan"
    flat = np.ptp(to_bytes(pixels).reshape(-1, pixels.shape[-1]), axis=0).max() <= 1
    return "blank" if flat else "ok"


def to_bytes(pixels: np.ndarray) -> np.ndarray:
    """float32 0..1 -> uint8 0..255, rounded half to even, as diffusers does."""
    return (pixels * 255).round().astype(np.uint8)


def encode_png(pixels: np.ndarray, parameters: str, compression: int) -> bytes:
    """A PNG file whose `parameters` text chunk says how it was made.

    Args:
        pixels: float32 [height, width, 3] in 0..1.
        parameters: the text; non-Latin scripts go into an international (UTF-8) chunk.
        compression: zlib level, 0 to 9.
    """
    info = PngInfo()
    info.add_text("parameters", parameters)
    buffer = io.BytesIO()
    image = Image.fromarray(to_bytes(pixels))
    image.save(buffer, "PNG", pnginfo=info, compress_level=compression)
    return buffer.getvalue()


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
    lines = [request.prompt]
    if request.negative_prompt:
        lines.append(f"Negative prompt: {request.negative_prompt}")
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
