"""Compiled programs kept on disk: a folder for each, under the digest of all that it depends on.

Any number of processes may share a cache. An entry appears by one rename and is never changed, so
that readers need no lock; of two processes that make the same one, the second throws its own away.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sdbatch.errors import UserError

_UNFINISHED = ".new-"
_ABANDONED_S = 24 * 3600


class ProgramCache:
    """Programs on disk.

    Args:
        folder: made when the first entry is.
        limit_bytes: of all entries; those unused for longest are deleted above it.
    """

    def __init__(self, folder: Path, limit_bytes: int):
        self._folder, self._limit = folder, limit_bytes

    def get(self, key: Mapping[str, Any], make: Callable[[Path], Path]) -> Path:
        """The program for a key, made where it is not there or damaged.

        Args:
            key: all that the program depends on, as JSON can hold it.
            make: writes the program into the folder it is given, and names the file.

        Returns:
            The file; it stays until it has not been used for long.

        Raises:
            UserError: the folder cannot be written.
        """
        text = json.dumps(key, sort_keys=True, indent=1)
        entry = self._folder / hashlib.sha256(text.encode()).hexdigest()[:32]
        found = _program(entry)
        if found is None:
            try:
                self._add(entry, text, make)
            except OSError as error:
                raise UserError(
                    f"engine.cache: {self._folder}: cannot be written: {error.strerror}"
                ) from error
            found = _program(entry)
            if found is None:
                raise UserError(f"engine.cache: {entry}: damaged as soon as it was written")
        return found

    def _add(self, entry: Path, text: str, make: Callable[[Path], Path]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=self._folder))
        try:
            program = make(aside)
            record = {"file": program.name, "sha256": _digest(program), "key": json.loads(text)}
            (aside / "entry.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
            if entry.exists() and _program(entry) is None:
                shutil.rmtree(entry, ignore_errors=True)  # damaged
            try:
                aside.rename(entry)
            except OSError:  # another process was first
                if _program(entry) is None:
                    raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        self._shrink(keep=entry)

    def _shrink(self, keep: Path) -> None:
        """Delete entries unused for longest, and what killed processes left unfinished."""
        entries = []
        for path in self._folder.iterdir():
            try:
                age, size = path.stat().st_mtime, sum(f.stat().st_size for f in path.iterdir())
            except OSError:  # another process deleted it
                continue
            if path.name.startswith(_UNFINISHED):
                if time.time() - age > _ABANDONED_S:
                    shutil.rmtree(path, ignore_errors=True)
            elif (path / "entry.json").exists():
                entries.append((age, size, path))
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if total > self._limit and path != keep:
                shutil.rmtree(path, ignore_errors=True)
                total -= size


def _program(entry: Path) -> Path | None:
    """The entry's program if it is whole; marks it as used."""
    try:
        record = json.loads((entry / "entry.json").read_text(encoding="utf-8"))
        program = entry / record["file"]
        if _digest(program) != record["sha256"]:
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    with contextlib.suppress(OSError):  # a cache that may be read but not written
        os.utime(entry)
    return program


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
