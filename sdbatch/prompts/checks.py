"""Checks of a prompt table: its schema, and one slice of its rows at a time.

Every refusal is one line that names the file, the column, the first bad rows (the first row of a
table is 0), what was expected and what was found.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sdbatch.errors import UserError
from sdbatch.noise import MAX_SEED

OVERRIDES = {
    "negative_prompt": pa.string(),
    "seed": pa.int64(),
    "width": pa.int64(),
    "height": pa.int64(),
    "steps": pa.int64(),
    "guidance_scale": pa.float64(),
    "images_per_prompt": pa.int64(),
}
"""Columns that override the config for their row, where they are not null."""

_ID_BYTES = 100  # leaves room for "-000.png" and more under the usual limit of 255
_SAFE_ID = re.compile(r"(?!\.)[\w.\-]+")


def safe_id(text: str) -> str:
    """An id that can be a file name: no separators or control characters, no leading dot, bounded.

    Ids that are safe already stay as they are (in any script); others get a digest of the original
    appended, so that different ids stay different.
    """
    if _SAFE_ID.fullmatch(text) and len(text.encode()) <= _ID_BYTES:
        return text
    # 64 bits: even ten million long ids that start alike stay apart.
    tail = "-" + hashlib.sha256(text.encode()).hexdigest()[:16]
    safe = re.sub(r"[^\w.\-]|^\.", "_", text)
    stem = safe.encode()[: _ID_BYTES - len(tail)].decode(errors="ignore")
    return stem + tail


class RowChecks:
    """Checks over one slice; every refusal names the file, the column and the first bad rows."""

    def __init__(self, path: Path, start: int, batch: pa.RecordBatch):
        self.path, self.start, self.batch = path, start, batch

    def prompts(self) -> None:
        """Refuse nulls in `prompt`."""
        self._refuse("prompt", pc.is_null(self._get("prompt")), "expected text")

    def id_hashes(self) -> np.ndarray:
        """uint64 [rows]: 64-bit digests of the safe ids, so that ten million ids take 80 MB."""
        column = self._get("id")
        self._refuse("id", pc.is_null(column), "expected an id")
        texts = (safe_id(str(value)) for value in column.to_pylist())
        digests = b"".join(hashlib.blake2b(t.encode(), digest_size=8).digest() for t in texts)
        return np.frombuffer(digests, np.uint64)

    def filled(self, name: str, default: int) -> np.ndarray:
        """int64 [rows]: the column with the config's value where it is null or absent.

        Unsigned numbers beyond int64 come out negative, and so out of every range.
        """
        if name not in self.batch.schema.names:
            return np.full(self.batch.num_rows, default, np.int64)
        column = self._get(name).cast(pa.int64(), safe=False)
        return pc.fill_null(column, default).to_numpy(zero_copy_only=False)

    def column(
        self, name: str, default: int, least: int, most: int, multiple: int = 1
    ) -> np.ndarray:
        """`filled`, refused outside least..most or where not a multiple."""
        values = self.filled(name, default)
        bad = (values < least) | (values > most)
        self._refuse(name, bad, f"expected {least} to {most}", default)
        bad = values % multiple != 0
        self._refuse(name, bad, f"expected a multiple of {multiple}", default)
        return values

    def seeds(self, samples: np.ndarray) -> None:
        """Refuse seeds out of range; those of a row's later samples count up from it."""
        values = self.filled("seed", 0)
        self._refuse("seed", values < 0, "expected 0 to 2^63-1")
        last = MAX_SEED - (samples - 1)
        self._refuse("seed", values > last, "expected seed + images_per_prompt - 1 below 2^63")

    def guidance(self) -> None:
        """Refuse guidance scales that are negative or not finite."""
        if "guidance_scale" not in self.batch.schema.names:
            return
        column = self._get("guidance_scale").cast(pa.float64(), safe=False)
        values = pc.fill_null(column, 0.0).to_numpy(zero_copy_only=False)
        bad = ~np.isfinite(values) | (values < 0)
        self._refuse("guidance_scale", bad, "expected a number of 0 or more")

    def _get(self, name: str) -> pa.Array:
        return self.batch.column(self.batch.schema.get_field_index(name))

    def _refuse(
        self, name: str, bad: pa.Array | np.ndarray, expected: str, default: int | None = None
    ) -> None:
        rows = np.flatnonzero(np.asarray(bad))
        if len(rows) == 0:
            return
        listed = ", ".join(str(self.start + row) for row in rows[:5])
        more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
        plural = "rows" if len(rows) > 1 else "row"
        found = self._get(name)[rows[0]].as_py() if name in self.batch.schema.names else None
        found = default if found is None else found
        raise UserError(
            f"{self.path}: {name}: {plural} {listed}{more}: {expected}, "
            f"found {'null' if found is None else found}"
        )


def check_schema(path: Path, schema: pa.Schema) -> None:
    """Refuse a table without `prompt`, or with a column of the wrong type.

    Raises:
        UserError: naming the column, what was expected and what was found.
    """
    if "prompt" not in schema.names:
        raise UserError(f"{path}: no column 'prompt'; found {', '.join(schema.names) or 'none'}")
    if len(set(schema.names)) != len(schema.names):
        raise UserError(f"{path}: two columns share a name: {', '.join(schema.names)}")
    _check_type(path, schema.field("prompt"), pa.string())
    if "id" in schema.names and not (
        _is_text(schema.field("id").type) or pa.types.is_integer(schema.field("id").type)
    ):
        raise UserError(f"{path}: id: expected text or integers, found {schema.field('id').type}")
    for name, expected in OVERRIDES.items():
        if name in schema.names:
            _check_type(path, schema.field(name), expected)


def _check_type(path: Path, field: pa.Field, expected: pa.DataType) -> None:
    kind = field.type
    if pa.types.is_string(expected):
        good = _is_text(kind)
    elif pa.types.is_integer(expected):
        good = pa.types.is_integer(kind)
    else:
        good = pa.types.is_floating(kind) or pa.types.is_integer(kind)
    if not good and not pa.types.is_null(kind):
        raise UserError(f"{path}: {field.name}: expected {expected}, found {kind}")


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)
