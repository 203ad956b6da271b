"""Whole pictures, text to pixels: sdbatch against PyTorch diffusers, in turns, stage by stage.

    python benchmarks/make_random.py sd15 /tmp/sd15-random
    python benchmarks/end_to_end.py /tmp/sd15-random --torch-python /path/to/torch/env/bin/python

DDIM with guidance 7.5 and the same first latents on both sides; loading and the first picture are
not counted. "error" is the relative L2 distance of the pictures from PyTorch's in float32. sdbatch
keeps the states of prompts that it has read, so that "text" is next to nothing after the first.
"""

from __future__ import annotations

import statistics

from peers import Group, median, names_of, parser, ratio, setting_of
from reports import Row, report, trained_side

STAGES = ("text", "denoise", "decode")


def main() -> None:
    """Take turns, print medians and ratios."""
    made = parser(__doc__, rounds=3)
    made.add_argument("--batch", type=int, default=1, help="pictures at a time")
    made.add_argument("--steps", type=int, default=20)
    given = made.parse_args()
    setting, side = setting_of(given), given.side or trained_side(given.folder)
    with Group(names_of(given, setting), setting, ["text", "unet", "vae"]) as group:
        answers = group.turns(
            given.rounds, "picture", batch=given.batch, side=side, steps=given.steps
        )
        versions = group.versions
    first = next(iter(answers.values()), [])
    rows = [row(name, own, first, given.batch) for name, own in answers.items()]
    heading = (
        f"{given.batch} pictures at a time of {given.folder}: {side}x{side}, {given.steps} steps, "
        f"on {given.device}; medians of {given.rounds} rounds"
    )
    report(heading, rows, versions, given.json)


def row(name: str, answers: list[dict], first: list[dict], batch: int) -> Row:
    """One peer's numbers, and where its time goes."""
    seconds = median(answers)
    shares = {
        stage: statistics.median(one["stages"][stage] / one["seconds"] for one in answers)
        for stage in STAGES
    }
    return {
        "peer": name,
        "s": seconds,
        "pictures/s": batch / seconds,
        "x first": ratio(answers, first),
        **{stage: f"{share:.1%}" for stage, share in shares.items()},
        "error": answers[0]["error"],
    }


if __name__ == "__main__":
    main()
