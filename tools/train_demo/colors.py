"""Which colours a picture of the shapes world shows, from its pixels."""

from __future__ import annotations

import numpy as np

from .world import COLORS

BORDER = 4  # pixels; even a large shape off the middle leaves most of this frame to the ground


def seen_colors(pixels: np.ndarray) -> tuple[str, str]:
    """Name the colours of shape and ground in a uint8 [h, w, 3] picture.

    Each pixel goes to the nearest of the eight colours. The ground is what fills most of the
    frame, the shape is what is most frequent besides.
    """
    names = list(COLORS)
    palette = np.array(list(COLORS.values()), dtype=np.int32)
    distances = np.square(pixels[:, :, None, :].astype(np.int32) - palette).sum(axis=-1)
    nearest = distances.argmin(axis=-1)
    inside = np.zeros(nearest.shape, dtype=bool)
    inside[BORDER:-BORDER, BORDER:-BORDER] = True
    ground = np.bincount(nearest[~inside], minlength=len(names)).argmax()
    counts = np.bincount(nearest.ravel(), minlength=len(names))
    counts[ground] = -1
    return names[counts.argmax()], names[ground]
