"""What the commands on a dataset that is there have in common: `python -m sdbatch.NAME DIR`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from sdbatch.disk import is_full
from sdbatch.errors import EXIT_INTERRUPTED, EXIT_USER_ERROR, UserError, one_line
from sdbatch.lang import localized


class CommandParser(argparse.ArgumentParser):
    """Bad arguments exit with the contract's code, in one line."""

    def __init__(self, name: str, description: str):
        super().__init__(prog=f"python -m sdbatch.{name}", description=description)

    def error(self, message: str) -> NoReturn:
        """Refuse the command line."""
        self.exit(complain(message, EXIT_USER_ERROR))


class DatasetParser(CommandParser):
    """Takes a dataset's folder."""

    def __init__(self, name: str, description: str):
        super().__init__(name, description)
        self.add_argument("folder", metavar="DIR", type=Path, help="the dataset's folder")


def run(
    parser: CommandParser,
    work: Callable[[argparse.Namespace], int],
    arguments: Sequence[str] | None = None,
) -> NoReturn:
    """Do the work and exit with the code that it returns, or with that of what went wrong."""
    try:
        code = work(parser.parse_args(arguments))
        sys.stdout.flush()
    except UserError as error:
        code = complain(error, EXIT_USER_ERROR)
    except KeyboardInterrupt:
        code = complain("interrupted", EXIT_INTERRUPTED)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        code = complain(
            f"{where}{error.strerror or error}",
            EXIT_INTERRUPTED if is_full(error) else EXIT_USER_ERROR,
        )
    sys.exit(code)


def complain(message: object, code: int) -> int:
    """One line on stderr; returns the exit code that goes with it."""
    print(f"sdbatch: error: {localized(one_line(message))}", file=sys.stderr)
    return code


def say(line: object) -> None:
    """One line for people, on stderr."""
    print(f"sdbatch: {one_line(line)}", file=sys.stderr)


def print_folder(folder: Path) -> None:
    """The result, on stdout; a folder's name may hold bytes that are no text."""
    sys.stdout.flush()
    sys.stdout.buffer.write(os.fsencode(folder) + b"\n")
