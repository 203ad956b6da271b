"""One network called by all peers in turns, for each batch size, against the machine's floor."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from flops import decoder_flops, unet_flops
from peers import Group, Setting, median, names_of, ratio, setting_of
from reports import Row, configs, trained_side


@dataclass(frozen=True)
class Load:
    """What is asked of a network.

    Attributes:
        network: unet or vae.
        work: operations for one picture.
        side: of that picture, in pixels.
        batches: how many pictures a call is for, one after the other.
    """

    network: str
    work: int
    side: int
    batches: Sequence[int]


@dataclass(frozen=True)
class Comparison:
    """What `measure` found: how, of what, and `compare`'s rows and peaks; versions by peer."""

    setting: Setting
    load: Load
    rows: list[Row]
    peaks: dict[str, float]
    versions: dict[str, str]


def measure(given: argparse.Namespace, network: str) -> Comparison:
    """Let all peers that the command line names take turns at one network, unet or vae."""
    setting, side = setting_of(given), given.side or trained_side(given.folder)
    unet, vae = configs(given.folder)
    cells = side // vae.downscale
    is_unet = network == "unet"
    work = unet_flops(unet, cells, cells) if is_unet else decoder_flops(vae, cells, cells)
    load = Load(network, work, side, given.batches)
    with Group(names_of(given, setting), setting, [network]) as group:
        rows, peaks = compare(group, load, given.rounds, given.calls)
        return Comparison(setting, load, rows, peaks, group.versions)


def compare(group: Group, load: Load, rounds: int, calls: int) -> tuple[list[Row], dict]:
    """Take turns.

    Args:
        group: the peers, loaded.
        load: what they are asked.
        rounds: that are counted.
        calls: made at a time in each.

    Returns:
        A row for each batch and peer; operations a second of the best product, by precision.
    """
    measured, peaks = {}, group.peaks()
    for batch in load.batches:
        asked = {"network": load.network, "batch": batch, "side": load.side, "calls": calls}
        measured[batch] = group.turns(rounds, "run", **asked)
        for precision, peak in group.peaks().items():
            peaks[precision] = max(peaks.get(precision, 0), peak)
    rows = []
    for batch, answers in measured.items():
        first = next(iter(answers.values()), [])
        for name, given in answers.items():
            seconds = median(given)
            floor = batch * load.work / peaks[name.rpartition("/")[2]]
            rows.append(
                {
                    "peer": name,
                    "batch": batch,
                    "ms": 1000 * seconds,
                    "calls/s": 1 / seconds,
                    "x first": ratio(given, first),
                    "floor ms": 1000 * floor,
                    "of peak": floor / seconds,
                    "error": given[0]["error"],
                }
            )
    return rows, peaks


def add_options(made: argparse.ArgumentParser, batches: Sequence[int]) -> None:
    """What such a benchmark is asked besides the options of all."""
    made.add_argument("--batches", type=int, nargs="+", default=list(batches))
    made.add_argument("--calls", type=int, default=1, help="timed as one; more on a GPU")


def title(folder: object, load: Load, given: argparse.Namespace) -> str:
    """What was measured, in a line."""
    return (
        f"{load.network} of {folder}: {load.side}x{load.side}, {load.work / 1e12:.3g} TFLOP a "
        f"picture, on {given.device}; medians of {given.rounds} rounds of {given.calls} calls"
    )


def peaks_line(peaks: dict[str, float]) -> str:
    """The machine's own speed."""
    shown = (f"{name} {peak / 1e12:.3g}" for name, peak in sorted(peaks.items()))
    return f"best product of matrices, TFLOP/s: {', '.join(shown) or 'none'}"
