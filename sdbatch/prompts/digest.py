"""A digest of a table's content: the same for the same values in the same order.

How the file is cut into row groups, compressed or encoded does not change it; nor does the width
of an integer, number or string type (uint64 apart, which is wider than any other integer).
"""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


class TableDigest:
    """SHA-256 over all columns, fed slice by slice."""

    def __init__(self, schema: pa.Schema):
        self._columns = {field.name: _ColumnDigest() for field in schema}

    def update(self, batch: pa.RecordBatch) -> None:
        """Add the next slice of rows."""
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            self._columns[name].update(column)

    def hexdigest(self) -> str:
        """The digest of all rows so far; the order of columns does not matter."""
        total = hashlib.sha256()
        for name in sorted(self._columns):
            total.update(f"{name}:{self._columns[name].hexdigest()}\n".encode())
        return total.hexdigest()


class _ColumnDigest:
    """Validity, lengths and bytes are hashed as three streams, so that slicing cannot show."""

    def __init__(self) -> None:
        self._streams = [hashlib.sha256() for _ in range(3)]
        self._kind = ""
        self._fields: dict[tuple[str, int], _ColumnDigest] = {}  # of a struct with bytes in it

    def update(self, column: pa.Array) -> None:
        if isinstance(column, pa.ExtensionArray):
            column = column.storage
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        valid, lengths, values = self._streams
        valid.update(np.asarray(pc.is_valid(column)).astype(np.uint8).tobytes())
        kind = column.type
        if pa.types.is_integer(kind) and not pa.types.is_uint64(kind):
            self._kind = "integer"
            values.update(_numbers(column.cast(pa.int64()), 0))
        elif pa.types.is_floating(kind):
            self._kind = "number"
            values.update(_numbers(column.cast(pa.float64()), 0.0))
        elif _is_bytes(kind):
            self._kind = "binary"
            self._update_bytes(column)
        elif pa.types.is_struct(kind) and any(_is_bytes(field.type) for field in kind):
            self._kind = "struct"
            for k, cells in enumerate(column.flatten()):
                self._fields.setdefault((kind[k].name, k), _ColumnDigest()).update(cells)
        else:
            self._kind = "text"
            if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
                self._kind = "other"
                column = pa.array(_as_json(column), pa.large_string())
            texts = pc.fill_null(column.cast(pa.large_string()), "")
            lengths.update(pc.binary_length(texts).to_numpy(zero_copy_only=False).tobytes())
            values.update("".join(texts.to_pylist()).encode())

    def _update_bytes(self, column: pa.Array) -> None:
        """Null cells have no bytes; the others lie in one buffer, end to end."""
        cells = pc.fill_null(column.cast(pa.large_binary()), b"")
        _, lengths, values = self._streams
        lengths.update(pc.binary_length(cells).to_numpy(zero_copy_only=False).tobytes())
        _, offsets, buffer = cells.buffers()
        ends = np.frombuffer(offsets, np.int64)[cells.offset : cells.offset + len(cells) + 1]
        if buffer is not None and len(cells):
            values.update(memoryview(buffer)[ends[0] : ends[-1]])

    def hexdigest(self) -> str:
        parts = [self._kind, *(stream.hexdigest() for stream in self._streams)]
        fields = sorted(self._fields.items())
        parts += [f"{json.dumps(name)}:{field.hexdigest()}" for (name, _), field in fields]
        return hashlib.sha256("|".join(parts).encode()).hexdigest()


def _is_bytes(kind: pa.DataType) -> bool:
    tests = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)
    return any(test(kind) for test in tests)


def _numbers(column: pa.Array, null: float) -> bytes:
    return pc.fill_null(column, null).to_numpy(zero_copy_only=False).tobytes()


def _as_json(column: pa.Array) -> list[str | None]:
    """Dates, lists, structs and the rest, by their Python values."""
    encode = json.JSONEncoder(sort_keys=True, default=str).encode
    return [None if value is None else encode(value) for value in column.to_pylist()]
