"""`python -m sdbatch.verify DIR`: whether a dataset is what its metadata tell."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence

from sdbatch.command import DatasetParser, print_folder, run, say
from sdbatch.dataset.existing import listed
from sdbatch.dataset.repairs import is_repair
from sdbatch.dataset.verify import Report, discard, verify
from sdbatch.errors import EXIT_DONE, EXIT_INTERRUPTED, EXIT_SOME_FAILED

_LINE_EVERY_S = 30.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Verify, print the dataset's folder, exit with the contract's code."""
    run(_parser(), _verify, arguments)


def _parser() -> DatasetParser:
    parser = DatasetParser("verify", "Read every file of a dataset and compare it with its row.")
    parser.add_argument(
        "--discard",
        action="store_true",
        help="remove shards that have problems, so that the job makes them anew",
    )
    parser.add_argument(
        "--regenerate",
        metavar="N",
        type=int,
        default=0,
        help="make N random images again from their rows, and compare pixels",
    )
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="for --regenerate: a change to the recorded config, as model.path=/elsewhere",
    )
    return parser


def _verify(given: argparse.Namespace) -> int:
    report = verify(given.folder, _progress())
    for problem in report.problems:
        say(problem)
    if report.missing:
        planned = report.shards + len(report.missing)
        missing = f"{len(report.missing)} of {planned} shards are missing"
        say(f"{missing}: {listed(report.missing)}; run the job again")
    if given.discard:
        discard(given.folder, report)
    if report.problems:
        say(_what_next(report, given.discard))
    say(f"{report.images} images in {report.shards} shards checked: {_problems(report)}")
    differing = _regenerate(given) if given.regenerate else 0
    print_folder(given.folder)
    if report.problems or differing:
        return EXIT_SOME_FAILED
    return EXIT_INTERRUPTED if report.missing else EXIT_DONE


def _regenerate(given: argparse.Namespace) -> int:
    """Make images again; returns how many are not what they were."""
    # Needs the model: Paddle, unless the dataset is a rehearsal's.
    from sdbatch.runner.regenerate import regenerate

    remade = []
    for one in regenerate(given.folder, given.regenerate, given.set):
        remade.append(one)
        if one.difference is None:
            say(f"{one.image_id}: not made again: {one.why_not}")
        elif not one.equal:
            allowed = f"expected {one.allowed} at most"
            say(f"{one.image_id}: made again, it differs by {one.difference} of 255; {allowed}")
    equal = sum(one.equal for one in remade)
    say(f"{len(remade)} images made again: {equal} are as they were")
    return len(remade) - equal


def _problems(report: Report) -> str:
    count = len(report.problems)
    return f"{count} problem{'' if count == 1 else 's'}"


def _what_next(report: Report, discarded: bool) -> str:
    damaged = report.damaged
    if not damaged:
        return "no shard is damaged; `python -m sdbatch.merge` writes the merged files again"
    if not discarded:
        return f"--discard removes what is damaged ({listed(damaged)}), for the job to make anew"
    again = "run the job again"
    if any(map(is_repair, damaged)):
        again += ", with retry_failed=true"
    return f"discarded: {listed(damaged)}; {again}"


def _progress() -> Callable[[int], None]:
    """Says now and then how many images are checked."""
    images, last = 0, time.monotonic()

    def advance(more: int) -> None:
        nonlocal images, last
        images += more
        if time.monotonic() - last >= _LINE_EVERY_S:
            last = time.monotonic()
            say(f"{images} images checked")

    return advance


if __name__ == "__main__":
    main()
