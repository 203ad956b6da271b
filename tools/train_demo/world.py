"""The shapes world: one coloured shape on a coloured ground, and its captions in two languages."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from PIL import Image, ImageDraw

PICTURE_SIZE = 128
SUPERSAMPLING = 3  # drawn this much larger and averaged down, which smooths the edges

COLORS: dict[str, tuple[int, int, int]] = {
    "red": (214, 39, 40),
    "orange": (255, 140, 20),
    "yellow": (250, 220, 50),
    "green": (40, 160, 60),
    "blue": (40, 90, 200),
    "purple": (140, 60, 170),
    "black": (20, 20, 20),
    "white": (245, 245, 245),
}
SHAPES = ("circle", "square", "triangle", "star", "heart")
RADII = {"small": 20.0, "large": 36.0}
OFFSETS = {"": (0, 0), "left": (-26, 0), "right": (26, 0), "top": (0, -26), "bottom": (0, 26)}

COLORS_ZH = {
    "red": "红色",
    "orange": "橙色",
    "yellow": "黄色",
    "green": "绿色",
    "blue": "蓝色",
    "purple": "紫色",
    "black": "黑色",
    "white": "白色",
}
SHAPES_ZH = {
    "circle": "圆形",
    "square": "正方形",
    "triangle": "三角形",
    "star": "五角星",
    "heart": "心形",
}
SIZES_ZH = {"small": "小", "large": "大"}
PLACES_ZH = {"": "", "left": "左边", "right": "右边", "top": "上方", "bottom": "下方"}


@dataclass(frozen=True)
class Scene:
    """Everything a caption can say about a picture; an empty `place` is the middle."""

    shape: str
    color: str
    ground: str
    size: str
    place: str = ""


def sample_scene(rng: random.Random) -> Scene:
    """Draw a scene at random; the shape never has the colour of its ground."""
    # The order of these draws is part of the recipe: the CLIP vocabulary is counted from them.
    color = rng.choice(list(COLORS))
    ground = rng.choice([name for name in COLORS if name != color])
    shape = rng.choice(SHAPES)
    size = rng.choice(list(RADII))
    place = rng.choice(list(OFFSETS))
    return Scene(shape, color, ground, size, place)


def outline(shape: str, center: tuple[float, float], radius: float) -> list[tuple[float, float]]:
    """Corner points of a shape in picture coordinates (y downwards); a circle has none."""
    x0, y0 = center
    if shape == "square":
        half = radius * 0.86
        return [
            (x0 - half, y0 - half),
            (x0 + half, y0 - half),
            (x0 + half, y0 + half),
            (x0 - half, y0 + half),
        ]
    if shape == "triangle":
        reach = radius * 1.1
        # A triangle's weight sits low, so it is drawn a little below the centre point.
        return [
            (x0 + reach * math.sin(angle), y0 + radius * 0.15 - reach * math.cos(angle))
            for angle in (0, 2 * math.pi / 3, 4 * math.pi / 3)
        ]
    if shape == "star":
        points = []
        for corner in range(10):
            reach = radius * (1.1 if corner % 2 == 0 else 0.45)
            angle = corner * math.pi / 5
            points.append((x0 + reach * math.sin(angle), y0 - reach * math.cos(angle)))
        return points
    if shape == "heart":
        return [_heart_point(x0, y0, radius / 17, 2 * math.pi * i / 80) for i in range(80)]
    raise ValueError(f"no outline for the shape {shape!r}")


def _heart_point(x0: float, y0: float, scale: float, angle: float) -> tuple[float, float]:
    """One point of the classic parametric heart curve, which is about 17 units in radius."""
    height = (
        13 * math.cos(angle)
        - 5 * math.cos(2 * angle)
        - 2 * math.cos(3 * angle)
        - math.cos(4 * angle)
    )
    return x0 + scale * 16 * math.sin(angle) ** 3, y0 - scale * height


def render(scene: Scene, rng: random.Random | None = None) -> Image.Image:
    """Draw a scene as a 128x128 RGB picture; with `rng`, move and scale the shape a little."""

    def jitter(spread: float) -> float:
        return rng.uniform(-spread, spread) if rng else 0.0

    right, down = OFFSETS[scene.place]
    x0 = PICTURE_SIZE / 2 + right + jitter(4)
    y0 = PICTURE_SIZE / 2 + down + jitter(4)
    radius = RADII[scene.size] * (1 + jitter(0.08))

    canvas_size = PICTURE_SIZE * SUPERSAMPLING
    canvas = Image.new("RGB", (canvas_size, canvas_size), COLORS[scene.ground])
    brush = ImageDraw.Draw(canvas)
    if scene.shape == "circle":
        box = (x0 - radius, y0 - radius, x0 + radius, y0 + radius)
        brush.ellipse([edge * SUPERSAMPLING for edge in box], fill=COLORS[scene.color])
    else:
        corners = outline(scene.shape, (x0, y0), radius)
        scaled = [(x * SUPERSAMPLING, y * SUPERSAMPLING) for x, y in corners]
        brush.polygon(scaled, fill=COLORS[scene.color])
    return canvas.resize((PICTURE_SIZE, PICTURE_SIZE), Image.Resampling.BOX)


def caption_en(scene: Scene, rng: random.Random | None = None) -> str:
    """Caption a scene in English: the full sentence, or with `rng` one of four wordings."""
    where = ""
    if scene.place:
        preposition = "on" if scene.place in ("left", "right") else "at"
        where = f" {preposition} the {scene.place}"
    figure = f"{scene.color} {scene.shape}{where}"
    # "a orange background" is no slip to mend here: the checkpoints were trained on it.
    full = f"a {scene.size} {figure} on a {scene.ground} background"
    if rng is None:
        return full
    wording = rng.random()
    if wording < 0.6:
        return full
    if wording < 0.75:
        return f"a {scene.size} {figure}, {scene.ground} background"
    if wording < 0.9:
        return f"{scene.size} {figure}, {scene.ground} background"
    return f"{figure}, {scene.ground} background"


def caption_zh(scene: Scene, rng: random.Random | None = None) -> str:
    """Caption a scene in Chinese: the full phrase, or with `rng` one of three wordings."""
    color, ground = COLORS_ZH[scene.color], COLORS_ZH[scene.ground]
    figure = f"{SIZES_ZH[scene.size]}{SHAPES_ZH[scene.shape]}"
    place = PLACES_ZH[scene.place]
    full = f"{ground}背景{place or '上'}的{color}{figure}"
    if rng is None:
        return full
    wording = rng.random()
    if wording < 0.6:
        return full
    if wording < 0.8:
        where = f"在{place}" if place else ""
        return f"{color}{figure}{where}，{ground}背景"
    where = f"，位于{place}" if place else ""
    return f"一个{color}的{figure}{where}，背景是{ground}"
