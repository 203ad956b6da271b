"""Record what diffusers makes of pictures that people bring: writes tests/golden/inputs.npz.

Run from the repository root in an environment with PyTorch and diffusers:

    python tools/golden_inputs.py

The file holds small made-up pictures of many formats and modes, as the bytes of their files, and of
each what `load_image` and `VaeImageProcessor.preprocess` make of it, as a picture and as a mask.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from diffusers.image_processor import VaeImageProcessor
from diffusers.utils import load_image
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden" / "inputs.npz"
SIZES = {"same": (40, 24), "smaller": (24, 16), "larger": (48, 32), "taller": (16, 40)}
ORIENTATION = 0x0112


def picture() -> Image.Image:
    """40 x 24 RGB: slopes, an edge and a little noise, so that every filter shows."""
    y, x = np.mgrid[0:24, 0:40]
    noise = np.random.default_rng(0).integers(0, 24, (24, 40))
    channels = [6 * x, 10 * y, np.where(x + y > 30, 220, 20)]
    levels = np.stack(channels, axis=-1) + noise[..., None]
    return Image.fromarray(levels.clip(0, 255).astype(np.uint8))


def with_alpha(image: Image.Image) -> Image.Image:
    """Its left half all but transparent."""
    image = image.convert("RGBA")
    alpha = np.full((image.height, image.width), 255, np.uint8)
    alpha[:, : image.width // 2] = 10
    image.putalpha(Image.fromarray(alpha))
    return image


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    """The image as a file of a format of Pillow's."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def files() -> dict[str, bytes]:
    """Pictures by format and mode."""
    rgb = picture()
    rgba = with_alpha(rgb)
    palette = rgb.quantize(16)
    turned = Image.Exif()
    turned[ORIENTATION] = 6  # the camera was held upright
    return {
        "png_rgb": encode(rgb, "PNG"),
        "png_rgba": encode(rgba, "PNG"),
        "png_l": encode(rgb.convert("L"), "PNG"),
        "png_la": encode(rgba.convert("LA"), "PNG"),
        "png_1": encode(rgb.convert("1"), "PNG"),
        "png_p": encode(palette, "PNG"),
        "png_p_transparent": encode(palette, "PNG", transparency=bytes([0, 128] * 8)),
        "png_turned": encode(rgb, "PNG", exif=turned),
        "jpeg_rgb": encode(rgb, "JPEG", quality=90),
        "jpeg_l": encode(rgb.convert("L"), "JPEG", quality=90),
        "jpeg_cmyk": encode(rgb.convert("CMYK"), "JPEG", quality=90),
        "jpeg_turned": encode(rgb, "JPEG", quality=90, exif=turned),
        "webp_lossless": encode(rgba, "WEBP", lossless=True, exact=True),
        "webp_lossy": encode(rgb, "WEBP", quality=80),
        "gif": encode(palette, "GIF"),
        "gif_moving": encode(
            palette, "GIF", save_all=True, append_images=[palette.transpose(0)], duration=100
        ),
        "bmp": encode(rgb, "BMP"),
        "tiff_rgb": encode(rgb, "TIFF", compression="tiff_lzw"),
        "tiff_cmyk": encode(rgb.convert("CMYK"), "TIFF"),
        "avif": encode(rgb, "AVIF", quality=80),
    }


def main() -> None:
    """Write the golden file: `file/NAME`, and `image/NAME/SIZE`, `mask/NAME/SIZE`."""
    images = VaeImageProcessor(vae_scale_factor=8)
    masks = VaeImageProcessor(  # as StableDiffusionInpaintPipeline makes it
        vae_scale_factor=8, do_normalize=False, do_binarize=True, do_convert_grayscale=True
    )
    arrays = {}
    for name, data in files().items():
        arrays[f"file/{name}"] = np.frombuffer(data, np.uint8)
        image = load_image(Image.open(io.BytesIO(data)))
        every = name in ("png_rgb", "png_l", "png_1")
        for size in SIZES if every else ["smaller"]:
            width, height = SIZES[size]
            made = images.preprocess(image, height, width)[0].numpy()
            mask = masks.preprocess(image, height, width)[0].numpy()
            arrays[f"image/{name}/{size}"] = made
            arrays[f"mask/{name}/{size}"] = mask
    np.savez_compressed(GOLDEN, **arrays)
    kib = GOLDEN.stat().st_size / 1024
    print(f"{GOLDEN.relative_to(ROOT)}: {len(files())} pictures, {kib:.0f} KiB")


if __name__ == "__main__":
    main()
