"""`python -m sdbatch.merge DIR`: the metadata of all shards in one table, and the proof of it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from sdbatch.command import DatasetParser, complain, print_folder, run, say
from sdbatch.dataset.existing import open_dataset
from sdbatch.dataset.merge import ShardsMissing, merge
from sdbatch.errors import EXIT_INTERRUPTED, UserError


def main(arguments: Sequence[str] | None = None) -> None:
    """Merge, print the dataset's folder, exit with the contract's code."""
    parser = DatasetParser("merge", "Write a dataset's metadata.parquet and summary.json again.")
    run(parser, _merge, arguments)


def _merge(given: argparse.Namespace) -> int:
    store, plan = open_dataset(given.folder)
    try:
        summary = merge(store, plan)
    except ShardsMissing as error:
        return complain(error, EXIT_INTERRUPTED)
    if not summary.complete:
        raise UserError(f"{given.folder}: {summary.line()}")
    say(summary.line())
    print_folder(given.folder)
    return summary.exit_code


if __name__ == "__main__":
    main()
