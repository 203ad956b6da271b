"""What writing safely needs of a file system."""

from __future__ import annotations

import errno
import os
import uuid
from pathlib import Path


def fsync(path: Path) -> None:
    """Wait until a file, or the names in a folder, have reached the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_whole(path: Path, text: str) -> None:
    """Write or replace a small file: readers see the old one or the new one, each whole."""
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex}")  # machines may share a pid
    try:
        with unfinished.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
        fsync(path.parent)
    finally:
        unfinished.unlink(missing_ok=True)


def is_full(error: OSError) -> bool:
    """Whether there was no room: on the disk, or in this user's quota of it."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)
