"""Pictures that the rows of a prompt table bring: found, read and decoded, trusting nothing."""

from sdbatch.inputs.pixels import LoadedImage, decode_image, decode_mask, load_image, load_mask
from sdbatch.inputs.refs import BadImage, ImageLimits, ImageRef, read_bytes

__all__ = [
    "BadImage",
    "ImageLimits",
    "ImageRef",
    "LoadedImage",
    "decode_image",
    "decode_mask",
    "load_image",
    "load_mask",
    "read_bytes",
]
