"""What writing safely needs of a file system."""

from __future__ import annotations

import contextlib
import errno
import os
import uuid
from collections.abc import Iterator
from pathlib import Path


def fsync(path: Path) -> None:
    """Wait until a file, or the names in a folder, have reached the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def written_aside(path: Path, text: str) -> Iterator[Path]:
    """A file with the text beside `path`, on the disk, to be put in its place; gone afterwards."""
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")  # machines may share a pid
    try:
        with aside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        yield aside
    finally:
        aside.unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """Write or replace a small file: readers see the old one or the new one, each whole."""
    with written_aside(path, text) as aside:
        aside.replace(path)
        fsync(path.parent)


def is_full(error: OSError) -> bool:
    """Whether there was no room: on the disk, or in this user's quota of it."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)
