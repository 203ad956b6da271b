"""Make a prompt table from a CSV, TSV, JSON-lines or plain text file."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

from sdbatch.errors import UserError
from sdbatch.prompts.checks import OVERRIDES, check_schema
from sdbatch.prompts.table import PromptDefaults, PromptTable


def convert(source: Path, target: Path) -> PromptTable:
    """Write `source` as a Parquet table and check it as a run would.

    Empty cells of a CSV or TSV are nulls, so that the config's value holds for that row. A text
    file is one prompt a line; its blank lines are skipped.

    Raises:
        UserError: an unknown ending, an unreadable file, or a table that a run would refuse; then
            no target is left behind.
    """
    table = _read(source)
    check_schema(source, table.schema)
    unfinished = target.with_name(target.name + ".tmp")
    pq.write_table(table, unfinished, compression="zstd")
    try:
        PromptTable(unfinished).check(PromptDefaults(1, 1, 8, 8))
    except UserError as error:
        unfinished.unlink()
        raise UserError(str(error).replace(str(unfinished), str(source))) from error
    unfinished.replace(target)
    return PromptTable(target)


def _read(source: Path) -> pa.Table:
    try:
        if source.suffix in (".csv", ".tsv"):
            return _read_delimited(source, "," if source.suffix == ".csv" else "\t")
        if source.suffix == ".jsonl":
            return pyarrow.json.read_json(source)
        if source.suffix == ".txt":
            lines = source.read_text(encoding="utf-8").splitlines()
            return pa.table({"prompt": [line.strip() for line in lines if line.strip()]})
    except FileNotFoundError as error:
        raise UserError(f"{source}: no such file") from error
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        raise UserError(f"{source}: cannot be read: {error}") from error
    raise UserError(f"{source}: expected a file ending in .csv, .tsv, .jsonl or .txt")


def _read_delimited(source: Path, delimiter: str) -> pa.Table:
    return pyarrow.csv.read_csv(
        source,
        parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types={"id": pa.string(), "prompt": pa.string(), **OVERRIDES},
            strings_can_be_null=True,
            null_values=[""],
        ),
    )
