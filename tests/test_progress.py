"""Progress on a terminal and in a log."""

import io
import time

import pytest

from medjax import progress


class Screen(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(progress, "_LOG_SECONDS", 0.2)
    monkeypatch.setattr(progress, "_SILENCE_SECONDS", 0.2)
    monkeypatch.setattr(progress, "_SCREEN_SECONDS", 0.0)


def test_a_log_has_lines_and_a_screen_one_that_is_cleared(quick):
    log, screen = io.StringIO(), Screen()
    for out in (log, screen):
        for _ in progress.track(range(6), total=6, what="reading", out=out):
            time.sleep(0.08)
    assert 1 <= len(log.getvalue().splitlines()) <= 3
    assert "reading 3/6  0:00 left" in log.getvalue()
    assert screen.getvalue().endswith("\r\033[K")
    assert "\n" not in screen.getvalue()


def test_quick_work_says_nothing():
    out = io.StringIO()
    assert list(progress.track(range(3), total=3, what="x", out=out)) == [0, 1, 2]
    assert out.getvalue() == ""


def test_long_work_without_a_word_is_told_of(quick, monkeypatch):
    monkeypatch.setitem(progress._last, "told", 0.0)
    out = io.StringIO()
    with progress.alive("reading the files", out=out):
        time.sleep(0.8)
    assert out.getvalue().startswith("reading the files, 0:0")
    length = len(out.getvalue())
    time.sleep(0.6)
    assert len(out.getvalue()) == length  # it has ended


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (61.4, "1:01"), (3723, "1:02:03")])
def test_clock(seconds, text):
    assert progress.clock(seconds) == text


@pytest.mark.parametrize(("rate", "text"), [(1058.2, "1,058"), (0.31, "0.31"), (0.004, "0.004")])
def test_a_rate_is_never_nought(rate, text):
    assert progress.several(rate) == text
