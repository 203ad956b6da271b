"""When a job must end: at a moment of the day, or after so many hours of work."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from sdbatch.errors import UserError

_MINUTES = re.compile("0|[1-9][0-9]*")
_TIME = re.compile("([0-9]{1,2}):([0-9]{2})")
_MOMENT = re.compile(
    "[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2})?(Z|[+-][0-9]{2}:[0-9]{2})?"
)


def parse_stop_at(text: str, now: datetime) -> datetime:
    """The moment that a user means by `stop_at`.

    Args:
        text: `HH:MM` of 24 hours, the next one after `now`; or an ISO date and time, local if
            without a zone. Digits alone are minutes after midnight, since YAML 1.1 reads an
            unquoted 17:00 as the number 1020.
        now: the present moment, with its zone.

    Returns:
        A moment after `now`, in the zone of this machine.

    Raises:
        UserError: it is none of these, or not after `now`.
    """
    try:
        moment = _parse(text.strip(), now)
    except (ValueError, OverflowError):
        raise UserError(
            f"stop_at: expected HH:MM or a date and time as 2026-11-26T07:00, found {text!r}"
        ) from None
    if moment <= now:
        raise UserError(
            f"stop_at: expected a moment after now, {now.astimezone():%Y-%m-%dT%H:%M}, "
            f"found {text!r}"
        )
    return moment


def _parse(text: str, now: datetime) -> datetime:
    """Raises ValueError or OverflowError where there is no such moment."""
    if _MOMENT.fullmatch(text):
        return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone()
    if match := _TIME.fullmatch(text):
        hour, minute = map(int, match.groups())
    elif _MINUTES.fullmatch(text):  # 0700 is none: who writes that means 7 o'clock
        hour, minute = divmod(int(text), 60)
    else:
        raise ValueError(text)
    # What the clock on the wall shows; its zone is settled for each day anew, as summer time may
    # end in the night between.
    wall = now.astimezone().replace(tzinfo=None, hour=hour, minute=minute, second=0, microsecond=0)
    today = wall.astimezone()
    return today if today > now else (wall + timedelta(days=1)).astimezone()


class Deadline:
    """How long a job may go on: until a moment, for a time, whichever ends first, or for ever."""

    def __init__(
        self,
        stop_at: datetime | None,
        max_s: float | None,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ):
        """Begins to count.

        Args:
            stop_at: a moment with its zone. It is that of the wall clock, even if someone sets the
                clock anew under way.
            max_s: seconds from now, whatever the wall clock does.
            clock: Unix time in seconds.
            monotonic: seconds that never jump.
        """
        self._stop_at, self._max_s = stop_at, max_s
        self._clock, self._monotonic = clock, monotonic
        self._started = monotonic()

    def seconds_left(self) -> float:
        """Seconds until the end: 0 if it is past, infinity if there is none."""
        return max(self._nearest()[0], 0.0)

    @property
    def reason(self) -> str:
        """What ends first, for the log: `stop_at 07:00`, `max_hours` or `no deadline`."""
        return self._nearest()[1]

    def _nearest(self) -> tuple[float, str]:
        ends = [(math.inf, "no deadline")]
        if self._stop_at is not None:
            left = self._stop_at.timestamp() - self._clock()
            ends.append((left, f"stop_at {self._stop_at:%H:%M}"))
        if self._max_s is not None:
            ends.append((self._max_s - (self._monotonic() - self._started), "max_hours"))
        return min(ends)
