"""Write the prompt tables of the shapes world: python -m tools.train_demo.shapes_table."""

from __future__ import annotations

import argparse
import csv
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from .world import COLORS, Scene, caption_en, caption_zh, sample_scene

HEADER = ("id", "prompt", "shape", "color", "ground", "size")


def distinct_scenes(count: int, seed: int) -> list[Scene]:
    """Draw scenes until `count` different ones are found, all in the middle of the picture."""
    rng = random.Random(seed)
    scenes: dict[Scene, None] = {}  # a set that remembers the order
    while len(scenes) < count:
        # The demo model does not follow positions, so the table does not ask for any.
        scenes[replace(sample_scene(rng), place="")] = None
    return list(scenes)


def check_coverage(scenes: Sequence[Scene]) -> None:
    """Fail unless every colour appears both as a shape and as a ground."""
    unused = (COLORS.keys() - {scene.color for scene in scenes}) | (
        COLORS.keys() - {scene.ground for scene in scenes}
    )
    if unused:
        raise SystemExit(f"try another seed: no shape or no ground in {', '.join(sorted(unused))}")


def write_table(
    path: Path, scenes: Sequence[Scene], id_prefix: str, caption: Callable[[Scene], str]
) -> None:
    """Write one CSV row per scene; all columns but id and prompt are English names."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        for number, scene in enumerate(scenes, start=1):
            facts = (scene.shape, scene.color, scene.ground, scene.size)
            writer.writerow((f"{id_prefix}-{number:03d}", caption(scene), *facts))


def main(argv: Sequence[str] | None = None) -> None:
    """Write shapes.csv (English) and shapes_zh.csv (Chinese), row for row the same scenes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=64, help="how many, at most 560 (64)")
    parser.add_argument("--seed", type=int, default=2026, help="which scenes (2026)")
    parser.add_argument("--out", type=Path, default=Path("prompts"), help="folder (prompts)")
    args = parser.parse_args(argv)
    # 8 colours on 7 others, 5 shapes, 2 sizes: asking for more would never end.
    if not 1 <= args.rows <= 560:
        parser.error("--rows must be between 1 and 560")

    scenes = distinct_scenes(args.rows, args.seed)
    check_coverage(scenes)
    args.out.mkdir(parents=True, exist_ok=True)
    # Chinese ids, to show that ids may be in any script.
    write_table(args.out / "shapes.csv", scenes, "shape", caption_en)
    write_table(args.out / "shapes_zh.csv", scenes, "形状", caption_zh)


if __name__ == "__main__":
    main()
