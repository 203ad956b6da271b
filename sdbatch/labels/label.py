"""How the pictures of a dataset are labelled: drawn into them, and written into their files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sdbatch.labels import files
from sdbatch.labels.aigc import GENERATED, Aigc, BadLabel, packet, read_packet
from sdbatch.labels.mark import Mark, bundled_font


@dataclass(frozen=True)
class Label:
    """The labels of GB 45438-2025.

    Attributes:
        producer: `ContentProducer`, the name or code of who offers what is made.
        propagator: `ContentPropagator`, of who publishes it; empty if not known yet.
        mark: the visible one; None where somebody else draws it.
    """

    producer: str
    propagator: str = ""
    mark: Mark | None = None

    @property
    def settings(self) -> Mapping[str, Any]:
        """What decides how files look, for the dataset's settings; the font by its digest."""
        mark = self.mark and asdict(self.mark)
        if mark:
            font = Path(mark["font"]) if mark["font"] else bundled_font()
            mark["font"] = hashlib.sha256(font.read_bytes()).hexdigest()
        return {
            "name": "gb45438", "producer": self.producer, "propagator": self.propagator,
            "mark": mark,
        }  # fmt: skip

    def drawn(self, pixels: np.ndarray) -> np.ndarray:
        """The picture with its visible mark, if there is one; uint8 [height, width, 3]."""
        return self.mark.drawn(pixels) if self.mark else pixels

    def attached(self, data: bytes, produce_id: str) -> bytes:
        """The image file with its implicit label.

        Args:
            data: a PNG, JPEG or WebP file without XMP.
            produce_id: the picture's number.
        """
        aigc = Aigc(GENERATED, self.producer, produce_id)
        if self.propagator:
            aigc = replace(aigc, ContentPropagator=self.propagator, PropagateID=produce_id)
        digest = aigc.digest(files.picture_data(data))
        return files.with_xmp(data, packet(replace(aigc, ReservedCode1=digest)))


def found_in(data: bytes) -> Aigc:
    """The implicit label of an image file, its digest checked.

    Raises:
        BadLabel: it is missing, not as the standard has it, or of another picture.
    """
    aigc = read_packet(files.xmp(data))
    if aigc.Label != GENERATED:
        raise BadLabel(f"AIGC.Label: expected {GENERATED!r}, found {aigc.Label!r}")
    expected = aigc.digest(files.picture_data(data))
    if aigc.ReservedCode1 != expected:
        raise BadLabel(
            f"AIGC.ReservedCode1: expected {expected[:12]}… (SHA-256 of the label and the "
            f"picture), found {aigc.ReservedCode1[:12] or 'nothing'}"
        )
    return aigc
