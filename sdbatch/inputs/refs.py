"""What a table's cell says about a picture, and the bytes behind it."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sdbatch.errors import one_line

_SHOWN = 200  # of a name in a message


class BadImage(ValueError):
    """A picture that cannot be used. Its text is one line: which one, expected, found."""


@dataclass(frozen=True)
class ImageLimits:
    """Beyond them a picture is refused before it is read, or before it is decoded.

    Attributes:
        max_bytes: of a file.
        max_pixels: width times height; decoding takes up to 12 bytes of memory for each.
    """

    max_bytes: int = 64 << 20
    max_pixels: int = 64_000_000


@dataclass(frozen=True)
class ImageRef:
    """A picture by its path, by its bytes, or both; the bytes are what counts.

    Attributes:
        path: as the table has it; a relative one begins at the table's folder.
        data: the bytes of a file, as they are.
    """

    path: str | None = None
    data: bytes | None = field(default=None, repr=False)

    @classmethod
    def from_cell(cls, cell: str | bytes | Mapping | None) -> ImageRef | None:
        """Read a cell: a path, bytes, or what Hugging Face datasets store: `{bytes, path}`.

        None where the cell is null, or both of its fields are.

        Raises:
            BadImage: anything else, or an empty path.
        """
        if isinstance(cell, Mapping) and set(cell) <= {"bytes", "path"}:
            path, data = cell.get("path"), cell.get("bytes")
        elif isinstance(cell, bytes):
            path, data = None, cell
        else:
            path, data = cell, None
        if path is None and data is None:
            return None
        if not isinstance(path, str | None) or not isinstance(data, bytes | None):
            raise BadImage(f"expected a path, bytes or {{bytes, path}}, found {_kind(cell)}")
        if data is None and not path:
            raise BadImage("expected a path, found an empty text")
        return cls(path, data)

    @property
    def name(self) -> str:
        """What messages call it."""
        if not self.path:
            return f"bytes of {len(self.data or b'')}"
        shown = one_line(self.path)
        return shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "…"


def read_bytes(ref: ImageRef, folder: Path, limits: ImageLimits) -> bytes:
    """The bytes of a picture's file.

    Args:
        ref: what the table says.
        folder: of the table, where relative paths begin.
        limits: a larger file is not read.

    Raises:
        BadImage: missing, no regular file, unreadable, or too large.
    """
    data = ref.data
    if data is None:
        try:
            data = _read_file(folder / (ref.path or ""), limits.max_bytes)
        except BadImage as error:
            raise BadImage(f"{ref.name}: {error}") from error
        except (OSError, ValueError) as error:  # ValueError: a path with a zero byte
            reason = getattr(error, "strerror", None) or one_line(error)
            raise BadImage(f"{ref.name}: expected a readable file, found: {reason}") from error
    if len(data) > limits.max_bytes:
        raise BadImage(f"{ref.name}: {_too_large(len(data), limits.max_bytes)}")
    return data


def _read_file(path: Path, most: int) -> bytes:
    # Asked before it is opened: opening a named pipe would wait for a writer.
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        what = "a folder" if stat.S_ISDIR(status.st_mode) else "no regular file"
        raise BadImage(f"expected a file, found {what}")
    if status.st_size > most:
        raise BadImage(_too_large(status.st_size, most))
    with path.open("rb") as file:
        return file.read(most + 1)  # it may have grown


def _too_large(size: int, most: int) -> str:
    return f"expected at most {most:,} bytes, found {size:,}"


def _kind(cell: object) -> str:
    if isinstance(cell, Mapping):
        return one_line("fields " + ", ".join(f"{k}: {type(v).__name__}" for k, v in cell.items()))
    return type(cell).__name__
