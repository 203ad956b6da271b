"""The folder that a conversion makes: it must be free, and what a killed one left is removed."""

from __future__ import annotations

import glob
import os
import shutil
import socket
from pathlib import Path

from sdbatch.errors import UserError


def refuse_full(folder: Path) -> None:
    """Refuse a target that has something in it.

    Raises:
        UserError: it is not an empty folder, nor free to be made.
    """
    if os.path.ismount(folder):  # e.g. of a container: nothing can be renamed to it
        raise UserError(f"{folder}: is a mount point; expected a new folder, e.g. inside it")
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if os.path.lexists(folder):
        raise UserError(f"{folder}: exists already; expected a new or empty folder")


def discard_abandoned(folder: Path) -> None:
    """Remove what a conversion to the same place left when it was killed on this machine."""
    prefix = f".{folder.name}.{socket.gethostname()}."
    for path in folder.parent.glob(f"{glob.escape(prefix)}*.partial"):
        pid = path.name[len(prefix) : -len(".partial")]
        # Our own number: in a container that was started again, the one before had it too.
        if pid == str(os.getpid()) or (pid.isdecimal() and not Path(f"/proc/{pid}").exists()):
            shutil.rmtree(path, ignore_errors=True)
