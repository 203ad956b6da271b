"""Unfinished work under `_tmp/`: whose it is, and whether whoever began it is gone.

    _tmp/<shard, repair or "merge">.<host>.<boot>.<pid>.<random>/

Machines may share a folder, host names and process numbers. So `boot` tells one start of one
machine, and one container on it, from every other: only where it is ours does a number name a
process that can be looked up. Of all others, 24 hours of silence must do.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import shutil
import socket
import uuid
from dataclasses import dataclass
from pathlib import Path

QUIET_S = 24 * 3600.0
"""An attempt of which nothing changed for so long is abandoned, whoever's it is."""

_NAME = re.compile(r"(merge|\d+(?:\.r\d+)?)\.(.+)\.([0-9a-f]{8})\.(\d+)\.[^.]+")


@dataclass(frozen=True)
class Attempt:
    """What the name of an unfinished folder tells."""

    folder: Path
    shard: str
    host: str
    boot: str
    pid: int

    @property
    def gone(self) -> bool:
        """Whether its process is known to have ended."""
        return self.boot == this_boot() and not _runs(self.pid)

    def last_change(self) -> float:
        """When it or anything in it last changed, in seconds, by the file system's clock.

        Raises:
            OSError: it is being finished or removed at this moment.
        """
        return max(path.stat().st_mtime for path in (self.folder, *self.folder.rglob("*")))

    def grew_after(self, moment: float) -> bool:
        """Whether a file appeared in it later (seconds, by the file system's clock).

        Two looks, whatever it holds; what is finished or removed at this moment has grown.
        """
        try:
            return (
                max(place.stat().st_mtime for place in (self.folder, self.folder / "images"))
                > moment
            )
        except OSError:
            return True


def new_name(shard: str) -> str:
    """The name of a new attempt of this process at a shard or repair."""
    host = socket.gethostname().replace(".", "_")  # or 00042 on r1.lab would read as 00042.r1
    return f"{shard}.{host}.{this_boot()}.{os.getpid()}.{uuid.uuid4().hex[:8]}"


def attempts(tmp: Path) -> list[Attempt]:
    """All attempts, by one directory listing, in order of their names; foreign names are none."""
    try:
        names = sorted(path.name for path in tmp.iterdir())
    except FileNotFoundError:
        return []
    found = ((name, _NAME.fullmatch(name)) for name in names)
    return [
        Attempt(tmp / name, match[1], match[2], match[3], int(match[4]))
        for name, match in found
        if match
    ]


def discard_abandoned(tmp: Path) -> None:
    """Remove attempts whose process is gone, and those that nothing has changed for 24 hours."""
    left = []
    for attempt in attempts(tmp):
        if attempt.gone:
            shutil.rmtree(attempt.folder, ignore_errors=True)
        else:
            left.append(attempt)
    if not left:
        return
    now = clock(tmp)
    for attempt in left:
        with contextlib.suppress(OSError):  # it is finished or removed at this moment
            if now - attempt.last_change() > QUIET_S:
                shutil.rmtree(attempt.folder, ignore_errors=True)


def _runs(pid: int) -> bool:
    """Whether there is such a process; one that has ended and waits to be noticed is none."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] not in ("Z", "X")


@functools.cache
def this_boot() -> str:
    """Eight hexadecimal digits for this start of this machine and this container on it."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    container = Path("/proc/self/ns/pid").readlink()
    return hashlib.sha256(f"{boot}{container}".encode()).hexdigest()[:8]


def clock(tmp: Path) -> float:
    """Now, by the clock that stamps files there: a file server has its own."""
    os.utime(tmp)
    return tmp.stat().st_mtime
