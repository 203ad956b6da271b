"""From the start of a process to the first result of the UNet: sdbatch against PyTorch diffusers.

    python benchmarks/make_random.py sd15 /tmp/sd15-random
    python benchmarks/startup.py /tmp/sd15-random --torch-python /path/to/torch/env/bin/python

Each peer is started twice a round: "cold" with an empty cache of compiled programs, "warm" with
what that left there. "import" ends when the process answers, "load" when the network can be
called, "first" is the first call with its compilation, "total" all three; "second" is the call
after it. "x reading" is the total over the time that a plain read of the weights' files into
memory takes, in the same round. The files are in the page cache.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from peers import Answer, Peer, PeerFailed, Setting, names_of, parser, setting_of
from reports import Row, report, trained_side, weights_bytes

PHASES = ("import", "load", "first", "total", "second")


def main() -> None:
    """Take turns, print medians."""
    made = parser(__doc__, rounds=3)
    made.add_argument("--batch", type=int, default=2)
    given = made.parse_args()
    setting, side = setting_of(given), given.side or trained_side(given.folder)
    asked = {"network": "unet", "batch": given.batch, "side": side}
    times: dict[tuple[str, str], list[Answer]] = defaultdict(list)
    versions = {}
    read_weights(given.folder)  # into the page cache
    readings = []
    for _ in range(given.rounds):
        readings.append(read_weights(given.folder))
        for name in names_of(given, setting):
            with tempfile.TemporaryDirectory() as cache:
                try:
                    for state in ("cold", "warm"):
                        own = replace(setting, cache=cache)
                        answer, versions[name] = start(name, own, asked)
                        answer["x reading"] = answer["total"] / readings[-1]
                        times[name, state].append(answer)
                except PeerFailed as error:
                    print(f"left out: {error}", file=sys.stderr)
    rows = [row(*key, answers) for key, answers in times.items()]
    reading = statistics.median(readings)
    heading = (
        f"first UNet result of {given.folder}: {side}x{side}, batch {given.batch}, on "
        f"{given.device}; weights {weights_bytes(given.folder, 'unet') / 1e9:.3g} GB, read in "
        f"{reading:.3g} s; seconds, medians of {given.rounds} rounds"
    )
    report(heading, rows, versions, given.json, reading_s=reading)


def read_weights(folder: Path) -> float:
    """Seconds to have the UNet's files in memory."""
    began = time.perf_counter()
    for path in (folder / "unet").glob("*.safetensors"):
        path.read_bytes()
    return time.perf_counter() - began


def start(name: str, setting: Setting, asked: dict) -> tuple[Answer, str]:
    """A new process up to its second result: seconds by phase, and its versions."""
    marks = [time.perf_counter()]
    with Peer(name, setting) as peer:
        marks.append(time.perf_counter())
        for question in ({"do": "load", "networks": ["unet"]}, *2 * ({"do": "run", **asked},)):
            peer.ask(**question)
            marks.append(time.perf_counter())
        began, imported, loaded, first, second = marks
        spent = (imported - began, loaded - imported, first - loaded, first - began, second - first)
        return dict(zip(PHASES, spent, strict=True)), peer.version


def row(name: str, state: str, answers: list[Answer]) -> Row:
    """One peer's numbers."""
    numbers = {key: statistics.median(a[key] for a in answers) for key in (*PHASES, "x reading")}
    return {"peer": name, "cache": state, **numbers}


if __name__ == "__main__":
    main()
