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
from sdbatch.prompts.language import ChineseRows, chinese, translation_of

OVERRIDES = {
    "negative_prompt": pa.string(),
    "seed": pa.int64(),
    "width": pa.int64(),
    "height": pa.int64(),
    "steps": pa.int64(),
    "guidance_scale": pa.float64(),
    "guidance_rescale": pa.float64(),
    "strength": pa.float64(),
    "images_per_prompt": pa.int64(),
}
"""Columns that override the config for their row, where they are not null."""

SIZE_HINTS = (
    "original_width",
    "original_height",
    "crop_left",
    "crop_top",
    "target_width",
    "target_height",
)
"""Columns that tell SDXL of sizes; where null, those of the picture, not cut."""

PICTURES = ("init_image", "mask")
"""Columns that hold a picture each: a path, its bytes, or both in a struct as HF datasets has."""

DEFAULT_STRENGTH = 0.8
"""Of rows with a picture but no mask, where nobody says; as in diffusers."""

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
        """Refuse guidance scales that are negative or not finite, and rescaling outside 0..1."""
        values = self._numbers("guidance_scale", 0.0)
        bad = ~np.isfinite(values) | (values < 0)
        self._refuse("guidance_scale", bad, "expected a number of 0 or more")
        values = self._numbers("guidance_rescale", 0.0)
        self._refuse("guidance_rescale", ~((values >= 0) & (values <= 1)), "expected 0 to 1")

    def pictures(self, steps: np.ndarray, strength: float | None, *, all_masked: bool) -> None:
        """Refuse masks without a picture, and strengths that leave nothing to do.

        Args:
            steps: of each row.
            strength: the config's.
            all_masked: the network cannot do without picture and mask.
        """
        for name in PICTURES:
            self._refuse(name, self._empty_path(name), "expected a path")
        has_picture, has_mask = self._given("init_image"), self._given("mask")
        if all_masked:
            why = "expected a picture: the model is for inpainting"
            self._refuse("init_image", ~has_picture, why)
            self._refuse("mask", ~has_mask, why.replace("picture", "mask"))
        self._refuse("init_image", has_mask & ~has_picture, "expected the picture of the mask")
        usual = np.where(has_mask, 1.0, DEFAULT_STRENGTH) if strength is None else strength
        strengths = np.where(self._given("strength"), self._numbers("strength", 1.0), usual)
        bad = ~((strengths > 0) & (strengths <= 1))
        self._refuse("strength", bad, "expected more than 0, up to 1")
        idle = has_picture & ((steps * strengths).astype(np.int64) < 1)
        self._refuse("strength", idle, "expected at least one step (steps x strength)", strength)

    def languages(self, rows: ChineseRows) -> None:
        """Refuse Chinese texts without a translation, and translations that are Chinese."""
        for name in ("prompt", "negative_prompt"):
            if name not in self.batch.schema.names:
                continue
            bad = chinese(self._get(name))
            if rows.column is None:
                self._refuse(name, bad, rows.advice)
            elif pc.any(bad).as_py():
                self._translations(name, bad, translation_of(name, rows.column))

    def _translations(self, name: str, chinese_rows: pa.Array, column: str) -> None:
        schema = self.batch.schema
        if column not in schema.names or not _is_text(schema.field(column).type):
            self._refuse(name, chinese_rows, f"expected a column {column} of text in English")
        english = self._get(column)
        missing = pc.or_(pc.is_null(english), chinese(english))
        self._refuse(column, pc.and_(chinese_rows, missing), f"expected {name} in English")

    def size_hints(self) -> None:
        """Refuse sizes and corners that no picture has."""
        for name in SIZE_HINTS:
            least = 0 if name.startswith("crop") else 1
            self.column(name, least, least, 1 << 20)

    def _numbers(self, name: str, default: float) -> np.ndarray:
        """float64 [rows]: the column, `default` where it is null or absent."""
        if name not in self.batch.schema.names:
            return np.full(self.batch.num_rows, default)
        column = self._get(name).cast(pa.float64(), safe=False)
        return pc.fill_null(column, default).to_numpy(zero_copy_only=False)

    def _given(self, name: str) -> np.ndarray:
        """bool [rows]: where the column holds something."""
        if name not in self.batch.schema.names:
            return np.zeros(self.batch.num_rows, bool)
        column = self._get(name)
        parts = column.flatten() if pa.types.is_struct(column.type) else [column]
        return np.any([np.asarray(pc.is_valid(part)) for part in parts], axis=0)

    def _empty_path(self, name: str) -> np.ndarray:
        """bool [rows]: where the column holds a path of no characters, and no bytes."""
        if name not in self.batch.schema.names:
            return np.zeros(self.batch.num_rows, bool)
        column = self._get(name)
        parts = column.flatten() if pa.types.is_struct(column.type) else [column]
        empty, data = np.zeros((2, len(column)), bool)
        for part in parts:
            if _is_text(part.type):
                empty |= np.asarray(pc.fill_null(pc.equal(part, ""), False))
            else:
                data |= np.asarray(pc.is_valid(part))
        return empty & ~data

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
    for name, expected in (OVERRIDES | dict.fromkeys(SIZE_HINTS, pa.int64())).items():
        if name in schema.names:
            _check_type(path, schema.field(name), expected)
    for name in PICTURES:
        if name in schema.names and not _holds_pictures(schema.field(name).type):
            raise UserError(
                f"{path}: {name}: expected paths, bytes or a struct of bytes and path, found "
                f"{schema.field(name).type}"
            )


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


def _holds_pictures(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        names = {kind.field(i).name for i in range(kind.num_fields)}
        parts = [kind.field(name).type for name in ("bytes", "path") if name in names]
        return bool(parts) and names <= {"bytes", "path"} and all(map(_holds_pictures, parts))
    plain = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_null, _is_text)
    return any(test(kind) for test in plain)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)
