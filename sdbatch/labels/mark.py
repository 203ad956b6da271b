"""The visible mark: text in a corner of the picture, large enough to be read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

CORNERS = ("bottom_right", "bottom_left", "top_right", "top_left")
LEAST_HEIGHT = 0.05
"""Of the shorter side, as GB 45438-2025 has it for pictures."""
_READABLE = 10
"""Pixels below which strokes of Chinese characters run together."""


class MissingGlyph(ValueError):
    """The font has no picture of a character."""


@dataclass(frozen=True)
class Mark:
    """How the mark looks.

    Attributes:
        text: with AI or 人工智能, and with 生成 or 合成, as the standard asks.
        corner: one of `CORNERS`.
        height: of the text's ink, as a share of the picture's shorter side. Small pictures get
            10 pixels where the width allows, since less cannot be read.
        opacity: 0 to 1.
        font: a file; None for the bundled subset of Noto Sans SC.
    """

    text: str = "AI生成"
    corner: str = "bottom_right"
    height: float = LEAST_HEIGHT
    opacity: float = 0.9
    font: str | None = None

    def check(self) -> None:
        """Make sure that it can be drawn.

        Raises:
            MissingGlyph: naming the character and the font.
            OSError: the font cannot be read.
        """
        font = _font(self.font, 32)
        # A character that is in no font on earth shows what the font draws instead.
        missing = bytes(font.getmask("\U0010fffe"))
        for character in self.text:
            if not character.isspace() and bytes(font.getmask(character)) == missing:
                where = self.font or "the bundled font"
                raise MissingGlyph(f"{character!r} is not in {where}")

    def drawn(self, pixels: np.ndarray) -> np.ndarray:
        """A copy of the picture with the mark.

        Args:
            pixels: uint8 [height, width, 3].
        """
        height, width = pixels.shape[:2]
        colour, alpha = _stamp(self, width, height)
        tall, wide = alpha.shape
        margin = _margin(tall)
        top = max(0, height - tall - margin) if "bottom" in self.corner else margin
        left = max(0, width - wide - margin) if "right" in self.corner else margin
        marked = pixels.copy()
        place = marked[top : top + tall, left : left + wide]
        colour, alpha = (part[: place.shape[0], : place.shape[1], None] for part in (colour, alpha))
        place[:] = np.rint(place * (1 - alpha) + colour * alpha).astype(np.uint8)
        return marked


def _margin(tall: int) -> int:
    return tall // 4


@lru_cache(64)
def _stamp(mark: Mark, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Grey levels 0..255 and coverage 0..1 of the mark, float32 [rows, columns].

    White letters with a black outline can be read on any ground.
    """
    least = math.ceil(mark.height * min(width, height))
    wanted = max(least, _READABLE)
    while True:
        stamp = _drawn(mark, wanted)
        if wanted == least or stamp[1].shape[1] + 2 * _margin(stamp[1].shape[0]) <= width:
            return stamp
        wanted -= 1


def _drawn(mark: Mark, ink: int) -> tuple[np.ndarray, np.ndarray]:
    size = ink
    while _ink(mark, size) < ink:
        size += 1
    font = _font(mark.font, size)
    outline = max(1, round(size / 12))
    left, top, right, bottom = font.getbbox(mark.text, stroke_width=outline)
    box, at = (math.ceil(right - left), math.ceil(bottom - top)), (-left, -top)
    coverage, letters = Image.new("L", box), Image.new("L", box)
    ImageDraw.Draw(coverage).text(at, mark.text, 255, font, stroke_width=outline)
    ImageDraw.Draw(letters).text(at, mark.text, 255, font)
    grey = np.asarray(letters, np.float32)
    return grey, np.asarray(coverage, np.float32) / 255 * np.float32(mark.opacity)


def _ink(mark: Mark, size: int) -> int:
    """Rows that the letters truly cover at a font size in pixels."""
    font = _font(mark.font, size)
    left, top, right, bottom = font.getbbox(mark.text)
    letters = Image.new("L", (math.ceil(right - left), math.ceil(bottom - top) or 1))
    ImageDraw.Draw(letters).text((-left, -top), mark.text, 255, font)
    rows = np.flatnonzero(np.asarray(letters).max(axis=1) >= 128)
    return int(rows[-1] - rows[0] + 1) if len(rows) else 0


@lru_cache(256)
def _font(path: str | None, size: int) -> ImageFont.FreeTypeFont:
    if path is not None:
        return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)
    with as_file(bundled_font()) as file:
        return ImageFont.truetype(str(file), size, layout_engine=ImageFont.Layout.BASIC)


def bundled_font() -> Path:
    """The font that comes with sdbatch; tools/make_mark_font.py made it."""
    return files("sdbatch") / "assets" / "fonts" / "NotoSansSC-Bold-labels.otf"
