"""How much memory a picture takes: sdbatch against PyTorch diffusers, each in a new process.

    python benchmarks/make_random.py sd15 /tmp/sd15-random
    python benchmarks/memory.py /tmp/sd15-random --torch-python /path/to/torch/env/bin/python

"peak" is the highest resident set from before loading to the end of one picture, libraries
included, and "x weights" that over the size of the weights' files. Pages of a file that is mapped
count as resident, but the system can take them back, and processes share them: "resident",
"proportional" (each page divided by the processes that share it) and "unique" are what the process
holds at the end. "GPU GB" is the most that was in use on a GPU. Medians; each round is a process
of its own.
"""

from __future__ import annotations

import sys
from collections import defaultdict

from peers import Answer, Peer, PeerFailed, Setting, median, names_of, parser, setting_of
from reports import Row, report, trained_side, weights_bytes

SIZES = ("peak", "resident", "proportional", "unique")


def main() -> None:
    """Take turns, print medians."""
    made = parser(__doc__, rounds=1)
    made.add_argument("--batch", type=int, default=1, help="pictures at a time")
    made.add_argument("--steps", type=int, default=2, help="the peak is in the first")
    given = made.parse_args()
    setting, side = setting_of(given), given.side or trained_side(given.folder)
    asked = {"batch": given.batch, "side": side, "steps": given.steps}
    answers: dict[str, list[Answer]] = defaultdict(list)
    versions = {}
    for _ in range(given.rounds):
        for name in names_of(given, setting):
            try:
                answer, versions[name] = measure(name, setting, asked)
                answers[name].append(answer)
            except PeerFailed as error:
                print(f"left out: {error}", file=sys.stderr)
    weights = weights_bytes(given.folder)
    rows = [row(name, own, weights) for name, own in answers.items()]
    heading = (
        f"one picture of {given.folder}: {side}x{side}, {given.steps} steps, batch {given.batch}, "
        f"on {given.device}; weights {weights / 1e9:.3g} GB; medians of {given.rounds} processes"
    )
    report(heading, rows, versions, given.json, weights_bytes=weights)


def measure(name: str, setting: Setting, asked: dict[str, int]) -> tuple[Answer, str]:
    """One picture in a new process: bytes, and the peer's versions."""
    with Peer(name, setting) as peer:
        peer.ask("load", networks=["text", "unet", "vae"])
        peer.ask("picture", **asked)
        return peer.ask("memory"), peer.version


def row(name: str, answers: list[Answer], weights: int) -> Row:
    """One peer's numbers, in GB."""
    sizes = {key: median(answers, key) for key in SIZES}
    gigabytes = {f"{key} GB": size / 1e9 for key, size in sizes.items()}
    device = answers[0]["device"]
    return {
        "peer": name,
        **gigabytes,
        "x weights": sizes["peak"] / weights,
        "GPU GB": None if device is None else device / 1e9,
    }


if __name__ == "__main__":
    main()
