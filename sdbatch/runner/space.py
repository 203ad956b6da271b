"""Whether the images still to be made fit on the disk."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_RESERVE = 1.02
"""Metadata, folders, and images that are larger than the estimate."""


@dataclass(frozen=True)
class FreeSpace:
    """What can still be written by this user; None where the file system does not say."""

    bytes: int | None
    inodes: int | None


def free_space(folder: Path) -> FreeSpace:
    """Room in the file system of a folder, or of the folder it will be in if it is not there yet.

    Quotas are not seen.
    """
    folder = folder.absolute()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    status = os.statvfs(there)
    # Sizes of 0 mean "no limit" or "not known": tmpfs with size=0, many FUSE file systems, btrfs.
    return FreeSpace(
        bytes=status.f_bavail * status.f_frsize if status.f_blocks else None,
        inodes=status.f_favail if status.f_files else None,
    )


def shortage(free: FreeSpace, images: int, bytes_per_image: float) -> str | None:
    """Why images do not fit with a reserve of 2 %, in one line; None if they do.

    Args:
        free: what there is.
        images: how many are still to be made, each a file.
        bytes_per_image: mean size of a file, in bytes.
    """
    need_bytes = images * bytes_per_image * _RESERVE
    need_files = images * _RESERVE
    if free.bytes is not None and need_bytes > free.bytes:
        return (
            f"{images:,} images of about {size_text(bytes_per_image)} need "
            f"{size_text(need_bytes)} with a reserve of 2 %, {size_text(free.bytes)} are free"
        )
    if free.inodes is not None and need_files > free.inodes:
        return (
            f"{images:,} images need about {need_files:,.0f} files with a reserve of 2 %, "
            f"{free.inodes:,} can be made"
        )
    return None


def size_text(size: float) -> str:
    """Bytes as people read them, in powers of 1000: `406 kB`, `9.3 GB`."""
    units = ["B", "kB", "MB", "GB", "TB"]
    while round(size) >= 1000 and len(units) > 1:
        size, units = size / 1000, units[1:]
    digits = 1 if size < 9.95 and units[0] != "B" else 0
    return f"{size:,.{digits}f} {units[0]}"
