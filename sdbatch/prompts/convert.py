"""Make a prompt table from a CSV, TSV, JSON-lines or plain text file."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

from sdbatch.dataset.schema import check_carried
from sdbatch.errors import UserError, one_line
from sdbatch.prompts.checks import OVERRIDES, PICTURES, SIZE_HINTS, check_schema
from sdbatch.prompts.table import PromptDefaults, PromptTable


def convert(source: Path, target: Path) -> PromptTable:
    """Write `source` as a Parquet table and check it as a run would.

    Empty cells of a CSV or TSV are nulls, so that the config's value holds for that row. A text
    file is one prompt a line; its blank lines are skipped.

    Raises:
        UserError: an unknown ending, an unreadable file, a target that cannot be written, or a
            table that a run would refuse; then no target is left behind.
    """
    table = _read(source)
    check_schema(source, table.schema)
    unfinished = target.with_name(target.name + ".tmp")
    try:
        pq.write_table(table, unfinished, compression="zstd")
        written = PromptTable(unfinished)
        written.check(PromptDefaults(1, 1, 8, 8))
        check_carried(source, written.carried)
        unfinished.replace(target)
    except OSError as error:
        raise UserError(f"{target}: cannot be written: {one_line(error)}") from error
    except UserError as error:
        raise UserError(str(error).replace(str(unfinished), str(source))) from error
    finally:
        unfinished.unlink(missing_ok=True)
    return PromptTable(target)


def _read(source: Path) -> pa.Table:
    try:
        if source.suffix in (".csv", ".tsv"):
            return _read_delimited(source, "," if source.suffix == ".csv" else "\t")
        if source.suffix == ".jsonl":
            return _read_json(source)
        if source.suffix == ".txt":
            lines = source.read_text(encoding="utf-8-sig").splitlines()
            return pa.table({"prompt": [line.strip() for line in lines if line.strip()]})
    except FileNotFoundError as error:
        raise UserError(f"{source}: no such file") from error
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        raise UserError(f"{source}: cannot be read: {one_line(error)}") from error
    raise UserError(f"{source}: expected a file ending in .csv, .tsv, .jsonl or .txt")


def _read_delimited(source: Path, delimiter: str) -> pa.Table:
    return pyarrow.csv.read_csv(
        source,
        parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types={
                **{"id": pa.string(), "prompt": pa.string()},
                **OVERRIDES,
                **dict.fromkeys(SIZE_HINTS, pa.int64()),
                **dict.fromkeys(PICTURES, pa.string()),
            },
            strings_can_be_null=True,
            null_values=[""],
        ),
    )


def _read_json(source: Path) -> pa.Table:
    """Arrow takes text that looks like a date for one: ids and prompts are then read once more."""
    table = pyarrow.json.read_json(source)
    dates = {field.name for field in table.schema if pa.types.is_timestamp(field.type)}
    texts = [(name, pa.string()) for name in ("id", "prompt", "negative_prompt") if name in dates]
    if not texts:
        return table
    options = pyarrow.json.ParseOptions(explicit_schema=pa.schema(texts))
    return pyarrow.json.read_json(source, parse_options=options)
