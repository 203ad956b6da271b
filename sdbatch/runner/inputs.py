"""The pictures that requests name, at their sizes, with what the metadata says of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from sdbatch.inputs import ImageLimits, load_image, load_mask
from sdbatch.plan import PlannedImage
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


class InputsAhead:
    """Reads the pictures of the next requests in a thread while the device is busy.

    Args:
        images: in the order in which they will be asked for; any other order works, slower.
        load: reads the pictures of one request.
        ahead: at most so many requests' pictures are held.
    """

    def __init__(
        self,
        images: Sequence[PlannedImage],
        load: Callable[[ImageRequest], LoadedInputs],
        ahead: int,
    ):
        self._load, self._ahead = load, ahead
        self._next = deque(image for image in images if image.request.init_image is not None)
        self._reading: dict[str, Future[LoadedInputs]] = {}
        self._reader = ThreadPoolExecutor(1, "inputs") if self._next else None
        self._read_on()

    def get(self, image: PlannedImage) -> LoadedInputs:
        """The pictures of one request; raises what reading them raised."""
        if image.request.init_image is None:
            return NOT_LOADED
        future = self._reading.pop(image.image_id, None)
        self._read_on()
        return self._load(image.request) if future is None else future.result()

    def close(self) -> None:
        """Read no more."""
        self._next.clear()
        if self._reader is not None:
            self._reader.shutdown(wait=False, cancel_futures=True)

    def _read_on(self) -> None:
        while self._next and len(self._reading) < self._ahead:
            image = self._next.popleft()
            self._reading[image.image_id] = self._reader.submit(self._load, image.request)
