"""When a job must end: what `stop_at` means, and how clocks that jump are borne."""

import math
import time
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sdbatch.errors import UserError
from sdbatch.runner.deadline import Deadline, parse_stop_at

SHANGHAI = timezone(timedelta(hours=8))
EVENING = datetime(2026, 11, 25, 22, 0, tzinfo=SHANGHAI)
NIGHT_S = 9 * 3600.0

zones = st.integers(-14 * 60, 14 * 60).map(lambda m: timezone(timedelta(minutes=m)))
moments = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=zones)
minutes_of_day = st.integers(0, 24 * 60 - 1)


def set_zone(patch: pytest.MonkeyPatch, rule: str) -> None:
    """Give this process a zone by its POSIX rule, which needs no files."""
    patch.setenv("TZ", rule)
    time.tzset()


@pytest.fixture(scope="module", autouse=True)
def shanghai():
    """The machine is in Shanghai, where summer time is unknown."""
    with pytest.MonkeyPatch.context() as patch:
        set_zone(patch, "CST-8")
        yield
    time.tzset()


@pytest.fixture
def berlin():
    """The machine is in Berlin: summer time ends on 25 October 2026, at 3:00."""
    with pytest.MonkeyPatch.context() as patch:
        set_zone(patch, "CET-1CEST,M3.5.0,M10.5.0/3")
        yield
    time.tzset()


class TestTimeOfDay:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("07:00", "2026-11-26T07:00+08:00"),
            ("7:00", "2026-11-26T07:00+08:00"),
            ("23:59", "2026-11-25T23:59+08:00"),
            ("00:00", "2026-11-26T00:00+08:00"),
            (" 22:01 ", "2026-11-25T22:01+08:00"),
        ],
    )
    def test_is_the_next_one(self, text, expected):
        assert parse_stop_at(text, EVENING) == datetime.fromisoformat(expected)

    def test_this_very_minute_is_tomorrows(self):
        assert parse_stop_at("22:00", EVENING) == EVENING + timedelta(days=1)

    @given(moments, minutes_of_day)
    @example(EVENING, 22 * 60)
    @example(EVENING - timedelta(microseconds=1), 22 * 60)
    def test_is_within_a_day_and_what_the_local_clock_will_show(self, now, minute):
        hour, minute = divmod(minute, 60)
        found = parse_stop_at(f"{hour:02d}:{minute:02d}", now)
        assert now < found <= now + timedelta(days=1)
        local = found.astimezone()
        assert (local.hour, local.minute, local.second, local.microsecond) == (hour, minute, 0, 0)
        assert found.utcoffset() == local.utcoffset()

    @given(moments, minutes_of_day)
    @example(EVENING, 1020)  # what YAML 1.1 makes of 17:00
    def test_may_have_become_minutes_after_midnight_in_yaml(self, now, minute):
        hour, rest = divmod(minute, 60)
        assert parse_stop_at(str(minute), now) == parse_stop_at(f"{hour}:{rest:02d}", now)

    def test_holds_though_summer_time_ends_before_it(self, berlin):
        evening = datetime(2026, 10, 24, 22, 0).astimezone()
        found = parse_stop_at("07:00", evening)
        assert found == datetime.fromisoformat("2026-10-25T07:00+01:00")
        assert found - evening == timedelta(hours=10)


class TestDateAndTime:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("2026-11-26T07:00", "2026-11-26T07:00+08:00"),
            ("2026-11-26 07:00:30", "2026-11-26T07:00:30+08:00"),
            ("2026-11-26T07:00Z", "2026-11-26T15:00+08:00"),
            ("2026-11-25T21:00-05:00", "2026-11-26T10:00+08:00"),
            ("2027-02-28T23:59", "2027-02-28T23:59+08:00"),
        ],
    )
    def test_is_local_unless_it_has_a_zone(self, text, expected):
        found = parse_stop_at(text, EVENING)
        assert found == datetime.fromisoformat(expected)
        assert found.utcoffset() == timedelta(hours=8)

    @given(moments, st.integers(1, 10**8))
    def test_any_moment_to_come_is_read_back(self, now, seconds):
        moment = now.replace(microsecond=0) + timedelta(seconds=seconds)
        assert parse_stop_at(moment.isoformat(), now.replace(microsecond=0)) == moment

    @pytest.mark.parametrize("text", ["2026-11-25T22:00", "2026-11-25T13:59Z", "1970-01-01T00:00"])
    def test_that_is_past_is_refused(self, text):
        with pytest.raises(UserError) as caught:
            parse_stop_at(text, EVENING)
        assert str(caught.value) == (
            f"stop_at: expected a moment after now, 2026-11-25T22:00, found '{text}'"
        )


@pytest.mark.parametrize(
    "text",
    [
        "", "tomorrow", "24:00", "12:60", "7am", "12:5", "-1:00", "1440", "-5", "0700", "1e3",
        "12:30:00", "07:00Z", "2026-11-26", "20261126T0700", "2026-11-31T07:00", "2026-11-26T24:30",
        "2026-11-26T07", "2026-11-26T07:00+99:00", "0001-01-01T00:00Z", "١٧:٠٠", "１７:００",
        "07:00\n08:00",
    ],
)  # fmt: skip
def test_anything_else_is_refused_in_one_line(text):
    with pytest.raises(UserError) as caught:
        parse_stop_at(text, EVENING)
    assert str(caught.value).startswith("stop_at: expected ")
    assert str(caught.value).endswith(f", found {text!r}")
    assert "\n" not in str(caught.value)


class Clocks:
    """A wall clock and a monotonic one, both at 22:00 when a job begins."""

    def __init__(self):
        self.wall, self.monotonic = EVENING.timestamp(), 1000.0

    def go_on(self, seconds: float) -> None:
        self.wall += seconds
        self.monotonic += seconds

    def deadline(self, stop_at=None, max_s=None) -> Deadline:
        return Deadline(stop_at, max_s, clock=lambda: self.wall, monotonic=lambda: self.monotonic)


@pytest.fixture
def clocks():
    return Clocks()


class TestDeadline:
    def test_without_one_a_job_may_go_on_for_ever(self, clocks):
        deadline = clocks.deadline()
        clocks.go_on(1e9)
        assert deadline.seconds_left() == math.inf
        assert deadline.reason == "no deadline"

    def test_counts_down_to_a_moment(self, clocks):
        deadline = clocks.deadline(stop_at=parse_stop_at("07:00", EVENING))
        assert deadline.seconds_left() == NIGHT_S
        clocks.go_on(3600)
        assert deadline.seconds_left() == NIGHT_S - 3600
        assert deadline.reason == "stop_at 07:00"

    def test_counts_down_a_time_from_when_it_was_made(self, clocks):
        clocks.go_on(500)
        deadline = clocks.deadline(max_s=3600)
        clocks.go_on(600)
        assert deadline.seconds_left() == 3000
        assert deadline.reason == "max_hours"

    def test_what_is_past_leaves_nothing(self, clocks):
        deadline = clocks.deadline(max_s=10)
        clocks.go_on(11)
        assert deadline.seconds_left() == 0
        assert deadline.reason == "max_hours"

    @pytest.mark.parametrize(
        ("max_s", "left", "reason"),
        [(3600, 3600, "max_hours"), (NIGHT_S + 1, NIGHT_S, "stop_at 07:00")],
    )
    def test_of_two_the_nearer_counts(self, clocks, max_s, left, reason):
        deadline = clocks.deadline(parse_stop_at("07:00", EVENING), max_s)
        assert (deadline.seconds_left(), deadline.reason) == (left, reason)

    def test_with_the_clocks_of_this_machine(self):
        now = datetime.now().astimezone()
        assert 0 < Deadline(now + timedelta(hours=2), 3600).seconds_left() <= 3600
        assert 0 < Deadline(now + timedelta(hours=1), 7200).seconds_left() <= 3600


class TestAClockThatIsSetAnew:
    @pytest.mark.parametrize("jump", [-7200.0, 7200.0])
    def test_moves_the_end_of_stop_at(self, clocks, jump):
        deadline = clocks.deadline(stop_at=parse_stop_at("07:00", EVENING))
        clocks.wall += jump
        assert deadline.seconds_left() == NIGHT_S - jump

    @pytest.mark.parametrize("jump", [-1e9, 1e9])
    def test_does_not_move_that_of_max_hours(self, clocks, jump):
        deadline = clocks.deadline(max_s=3600)
        clocks.wall += jump
        assert deadline.seconds_left() == 3600

    def test_can_change_which_is_nearer(self, clocks):
        deadline = clocks.deadline(parse_stop_at("07:00", EVENING), max_s=3600)
        clocks.wall += NIGHT_S - 60
        assert (deadline.seconds_left(), deadline.reason) == (60, "stop_at 07:00")
