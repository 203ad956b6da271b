"""The pictures that a request names, at its size, with what the metadata says of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sdbatch.inputs import ImageLimits, load_image, load_mask
from sdbatch.request import NO_INPUTS, ImageInputs, ImageRequest


@dataclass(frozen=True)
class LoadedInputs:
    """Pixels for the pipeline, and the SHA-256 of the files or bytes they came from."""

    pixels: ImageInputs
    init_sha256: str | None = None
    mask_sha256: str | None = None


NOT_LOADED = LoadedInputs(NO_INPUTS)


def load_inputs(request: ImageRequest, folder: Path, limits: ImageLimits) -> LoadedInputs:
    """Read the pictures of one request.

    Args:
        request: names them.
        folder: of the prompt table, where relative paths begin.
        limits: beyond them a picture is refused unread.

    Raises:
        BadImage: missing, unreadable, too large, or no picture.
    """
    if request.init_image is None:
        return NOT_LOADED
    where = (folder, request.width, request.height, limits)
    init = load_image(request.init_image, *where)
    if request.mask is None:
        return LoadedInputs(ImageInputs(init.pixels), init.sha256)
    mask = load_mask(request.mask, *where)
    return LoadedInputs(ImageInputs(init.pixels, mask.pixels), init.sha256, mask.sha256)
