"""Read pieces of a file that may be hostile: every length is checked, all memory is counted.

Pieces are read, not mapped: touching a map's pages all over a large file would count as memory of
this process, and a file that shrinks meanwhile would kill it.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from sdbatch.errors import UserError, one_line

MEMORY = 96 << 20
"""Bytes that may be made out of one file's description of its tensors, which is enough for 19,000
of them (SDXL has 2,600, and 8,000 with the state of its training). Python and NumPy take another
45 MB, so that a process stays below 200 MB whatever file it is given."""
_AHEAD = 1 << 14


class Malformed(Exception):
    """What is wrong with a file, in one line that `FileWindow` completes with its path."""


class TooMuch(Malformed):
    """The file wants more memory than any checkpoint needs."""


class FileWindow:
    """A file, open while its context lasts, and the memory spent on what was found in it.

    Whatever the body of the context finds `Malformed`, or cannot read, leaves it as a UserError.
    """

    def __init__(self, path: Path):
        self.path = path
        self.size = 0
        self.text_lengths: dict[int, int] = {}  # of texts that were counted, by their first byte
        self._left = MEMORY

    def __enter__(self) -> FileWindow:
        """Open the file.

        Raises:
            UserError: it is missing, cannot be read, or is no file.
        """
        try:
            # Asked before it is opened: opening a named pipe would wait for a writer.
            if not stat.S_ISREG(self.path.stat().st_mode):
                what = "a folder" if self.path.is_dir() else "no regular file"
                raise Malformed(f"cannot be read: expected a file, this is {what}")
            self._file = self.path.open("rb", buffering=0)
        except (OSError, Malformed) as error:
            raise self._user_error(error) from error
        self.size = os.fstat(self._file.fileno()).st_size
        return self

    # Not a generator with @contextmanager: in Python 3.12 that keeps the error, and through its
    # traceback all that was read, until the garbage collector comes by.
    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self._file.close()
        if isinstance(error, (OSError, Malformed)):
            raise self._user_error(error) from error

    def _user_error(self, error: OSError | Malformed) -> UserError:
        if isinstance(error, Malformed):
            return UserError(f"{self.path}: {error}")
        return UserError(f"{self.path}: cannot be read: {error.strerror or error}")

    def read(self, position: int, count: int) -> bytes:
        """Bytes from anywhere in the file.

        Raises:
            Malformed: the file ends before.
        """
        piece = os.pread(self._file.fileno(), count, position)
        while len(piece) < count:
            more = os.pread(self._file.fileno(), count - len(piece), position + len(piece))
            if not more:
                raise Malformed(f"truncated: expected {position + count} bytes, found {self.size}")
            piece += more
        return piece

    def charge(self, count: int) -> None:
        """Account for memory about to be used.

        Raises:
            TooMuch: there was enough already.
        """
        self._left -= count
        if self._left < 0:
            raise TooMuch(
                f"the description of its tensors would take more than {MEMORY >> 20} MiB of memory"
            )


class Cursor:
    """Reads a part of a file from front to back in small pieces."""

    def __init__(self, window: FileWindow, position: int, stop: int):
        self.position = position
        self.stop = stop
        self._window = window
        self._ahead = b""
        self._start = position  # of what was read ahead

    def take(self, count: int) -> bytes:
        """The next bytes.

        Raises:
            Malformed: there are fewer.
        """
        begin, end = self.skip(count)
        if not self._start <= begin <= end <= self._start + len(self._ahead):
            self._start = begin
            self._ahead = self._window.read(begin, min(max(count, _AHEAD), self.stop - begin))
        return self._ahead[begin - self._start : end - self._start]

    def skip(self, count: int) -> tuple[int, int]:
        """Pass over bytes without reading them; where they begin and end.

        Raises:
            Malformed: there are fewer.
        """
        begin, end = self.position, self.position + count
        if end > self.stop:
            raise Malformed(
                f"truncated: {count} bytes should follow byte {begin}, there are "
                f"{self.stop - begin}"
            )
        self.position = end
        return begin, end

    def line(self, limit: int = 1 << 12) -> bytes:
        """Everything up to the next line feed, which is passed over.

        Raises:
            Malformed: it is longer than `limit`, or has no end.
        """
        begin = self.position
        piece = self.take(min(limit, self.stop - begin))
        length = piece.find(b"\n")
        if length < 0:
            raise Malformed(f"the line at byte {begin} has no end")
        self.position = begin + length + 1
        return piece[:length]


def shown(text: str) -> str:
    """A name out of a file, fit to be part of an error's line: short, nothing but printable."""
    text = one_line(text[:100])
    return "".join(character if character.isprintable() else "?" for character in text)
