"""Progress: a bar on a terminal, else a plain line now and then."""

import io
import logging
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdbatch.runner.progress import Progress, _clock


@pytest.fixture
def logged(caplog):
    """`logged()`: the lines that were logged so far."""
    caplog.set_level(logging.INFO, logger="sdbatch")
    return lambda: caplog.messages


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_line_tells_count_rate_and_time_left():
    progress = Progress(total=100, done=0)
    progress.advance(25)
    line = progress.line()
    assert line.startswith("25/100 images, ")
    assert line.endswith("images/s, 0:00:00 left")


def test_before_the_first_image_the_time_left_is_unknown():
    assert Progress(total=100, done=0).line() == "0/100 images, 0.00 images/s, ? left"


def test_images_of_an_earlier_run_count_as_done_but_not_in_the_rate():
    assert Progress(total=100, done=90).line() == "90/100 images, 0.00 images/s, ? left"


def test_images_that_are_to_be_made_again_are_taken_back():
    progress = Progress(total=10, done=2)
    progress.advance(3)
    progress.advance(-3)
    assert progress.line().startswith("2/10 images, 0.00 images/s, ")
    assert (progress.left, progress.earlier) == (8, 2)


@given(
    total=st.integers(0, 100), earlier=st.integers(0, 100), advances=st.lists(st.integers(-9, 9))
)
def test_what_is_left_is_what_is_not_done_and_never_below_none(total, earlier, advances):
    progress = Progress(total, earlier, every_s=1e9)
    for images in advances:
        progress.advance(images)
    assert progress.left == max(total - earlier - sum(advances), 0)
    assert progress.earlier == earlier


def test_time_before_the_beginning_does_not_count(monkeypatch):
    """A model takes minutes to load."""
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    progress = Progress(total=100, done=50)
    now[0] += 600
    progress.begin()
    now[0] += 10
    progress.advance(20)
    assert progress.rate == 2.0
    assert progress.line() == "70/100 images, 2.00 images/s, 0:00:15 left"


def test_an_estimate_that_was_too_high_leaves_no_negative_time():
    progress = Progress(total=10, done=8)
    progress.advance(5)
    assert progress.line().endswith(" 0:00:00 left")


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0:00:00"), (59.6, "0:01:00"), (3661, "1:01:01"), (360_000, "100:00:00")],
)
def test_times_are_hours_minutes_and_seconds(seconds, shown):
    assert _clock(seconds) == shown


def test_without_a_terminal_a_line_is_logged_when_it_is_due(logged):
    progress = Progress(total=3, done=0, every_s=0)
    for _ in range(3):
        progress.advance(1)
    assert [line.split()[0] for line in logged()] == ["1/3", "2/3", "3/3"]


def test_and_not_before(logged):
    progress = Progress(total=3, done=0)
    progress.advance(1)
    progress.close()
    assert logged() == []


def test_on_a_terminal_there_is_a_bar_and_no_line(monkeypatch, logged):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    progress = Progress(total=10, done=4, every_s=0)
    assert terminal.getvalue() == ""  # not before work begins
    progress.begin()
    progress.advance(6)
    progress.close()
    shown = terminal.getvalue()
    assert "4/10" in shown and "10/10" in shown and "img" in shown
    assert logged() == []
