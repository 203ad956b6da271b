"""Errors that a user can cause, and the exit codes of the contract."""

from __future__ import annotations

EXIT_DONE = 0
"""Every planned image is there."""
EXIT_USER_ERROR = 1
"""Refused before work began: bad config, table or weights."""
EXIT_SOME_FAILED = 3
"""Finished, but some rows have no picture."""
EXIT_INTERRUPTED = 75
"""Stopped on request; the same command goes on where it stopped."""


class UserError(Exception):
    """Something the user can mend. Its text is one line: what, where, expected, found."""


class Interruption(Exception):
    """The job cannot go on now, but the same command can, later. Its text is one line."""


def one_line(text: object) -> str:
    """Any message as a single line, so that a log stays one record per error."""
    return " ".join(str(text).split())
