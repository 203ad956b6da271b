"""`python -m sdbatch.prompts SRC DST.parquet`: a checked prompt table from another file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sdbatch.command import complain
from sdbatch.errors import EXIT_USER_ERROR, UserError
from sdbatch.prompts.convert import convert


def main() -> None:
    """Convert, print the table's path, exit with the contract's code."""
    parser = argparse.ArgumentParser(prog="python -m sdbatch.prompts", description=__doc__)
    parser.add_argument("source", type=Path, help="a .csv, .tsv, .jsonl or .txt file")
    parser.add_argument("target", type=Path, help="the .parquet file to write")
    arguments = parser.parse_args()
    try:
        table = convert(arguments.source, arguments.target)
    except UserError as error:
        sys.exit(complain(error, EXIT_USER_ERROR))
    print(f"{table.rows} prompts", file=sys.stderr)
    print(arguments.target)


if __name__ == "__main__":
    main()
