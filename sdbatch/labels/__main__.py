"""`python -m sdbatch.labels FILE...`: what picture files say of themselves, and if it holds."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from sdbatch.command import CommandParser, run, say
from sdbatch.errors import EXIT_DONE, EXIT_SOME_FAILED
from sdbatch.labels import BadLabel, found_in


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Print each file's AIGC object on stdout; on stderr what is wrong with the others."""
    parser = CommandParser(
        "labels", "Read the labels of GB 45438-2025 in picture files, check them."
    )
    parser.add_argument("files", metavar="FILE", type=Path, nargs="+", help="PNG, JPEG or WebP")
    run(parser, _read, arguments)


def _read(given: argparse.Namespace) -> int:
    bad = 0
    for path in given.files:
        try:
            print(f"{path}: {found_in(path.read_bytes()).json()}")
        except BadLabel as error:
            bad += 1
            say(f"{path}: {error}")
    return EXIT_SOME_FAILED if bad else EXIT_DONE


if __name__ == "__main__":
    main()
