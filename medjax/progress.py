"""How far a longer piece of work is, on a terminal or in a log."""

import contextlib
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from typing import TextIO, TypeVar

Item = TypeVar("Item")
_last = {"told": 0.0, "ended": 0.0}  # when anything was, and when work ended
_works: list[threading.Event] = []  # that last, the innermost last
_LOG_SECONDS, _SCREEN_SECONDS = 4.0, 0.2  # between two lines of a log, and two states of a screen
_SILENCE_SECONDS = 4.0  # after which a line says that work goes on


def track(
    items: Iterable[Item], *, total: int, what: str, out: TextIO | None = None
) -> Iterator[Item]:
    """The items as they come, while `out` is told how many are done and how long the rest takes.

    A terminal has one line that changes; a log one every four seconds, and none if all takes less.
    """
    stream = out or sys.stdout
    screen = stream.isatty()
    began = last_told = time.monotonic()
    shown = False
    for number, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last_told >= (_SCREEN_SECONDS if screen else _LOG_SECONDS):
            left = clock((now - began) / number * (total - number))
            line = f"{what} {number:,}/{total:,}  {left} left"
            print(
                f"\r{line}\033[K" if screen else line,
                end="" if screen else "\n",
                file=stream,
                flush=True,
            )
            last_told, shown = now, screen
            note_output()
    if shown:
        print("\r\033[K", end="", file=stream, flush=True)


def note_output() -> None:
    """Remembers that something was told just now."""
    _last["told"] = time.monotonic()


@contextlib.contextmanager
def alive(what: str, *, out: TextIO | None = None) -> Iterator[None]:
    """Tells `out` every few seconds how long it lasts, unless somebody else has told something; of
    several, one inside the other, the innermost tells."""
    stream, began, ended = out or sys.stdout, time.monotonic(), threading.Event()
    goes_on = began - _last["ended"] < _SILENCE_SECONDS  # so nothing may have been told for a while

    def watch() -> None:
        while not ended.wait(0.25):
            now = time.monotonic()
            silent = now - max(0.0 if goes_on else began, _last["told"])
            if silent >= _SILENCE_SECONDS and _works[-1] is ended:
                line = f"{what}, {clock(now - began)} so far"
                print(f"\r\033[K{line}" if stream.isatty() else line, file=stream, flush=True)
                note_output()

    thread = threading.Thread(target=watch, daemon=True)
    _works.append(ended)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        _works.remove(ended)
        _last["ended"] = time.monotonic()


def several(rate: float) -> str:
    """`1,058`, or of a slow one `0.31`: never 0."""
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"


def clock(seconds: float) -> str:
    """`1:02:03` or `2:03`."""
    minutes, seconds = divmod(round(max(seconds, 0.0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
