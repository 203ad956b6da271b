"""Memory as the operating system hands it out: how the allocator keeps it, and what can be let go.

Linux with glibc; elsewhere nothing here does anything.
"""

from __future__ import annotations

import ctypes
from collections.abc import Collection
from pathlib import Path

# malloc.h
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8
_TOP_PAD = 64 << 20
_MADV_DONTNEED = 4


def keep_freed_memory() -> None:
    """Let the allocator keep large blocks that were freed, for the next ones.

    By default glibc gives every block above 32 MB back at once, and the kernel clears each new one
    page by page: a third of the time of a UNet's step on Paddle 3 (docs/performance.md).
    """
    mallopt = _libc("mallopt")
    if mallopt is not None:
        for option, value in (
            (_M_MMAP_MAX, 0),
            (_M_TRIM_THRESHOLD, 2**31 - 1),
            (_M_TOP_PAD, _TOP_PAD),
            (_M_ARENA_MAX, 1),
        ):
            mallopt(option, value)


def return_freed_memory() -> None:
    """Give the system what the allocator keeps, where it will not be wanted again soon."""
    malloc_trim = _libc("malloc_trim")
    if malloc_trim is not None:
        malloc_trim(0)


def forget_file_pages(files: Collection[Path], maps: Path = Path("/proc/self/maps")) -> int:
    """Take the pages of mapped files out of this process; they come back when they are read.

    Only for files whose private maps were never written to: what was written is lost.

    Args:
        files: absolute paths.
        maps: the kernel's list of this process's maps.

    Returns:
        Bytes of the maps.
    """
    madvise, wanted, total = _libc("madvise"), {str(path) for path in files}, 0
    if madvise is None or not maps.exists():
        return 0
    for line in maps.read_text().splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and fields[5] in wanted:
            start, stop = (int(address, 16) for address in fields[0].split("-"))
            madvise(ctypes.c_void_p(start), ctypes.c_size_t(stop - start), _MADV_DONTNEED)
            total += stop - start
    return total


def _libc(name: str) -> ctypes._CFuncPtr | None:
    try:
        return getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError, TypeError):
        return None
