"""How far a longer piece of work is, on a terminal or in a log."""

import contextlib
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from typing import TextIO, TypeVar

Item = TypeVar("Item")
_last = {"told": 0.0}  # when anything was
_LOG_SECONDS, _SCREEN_SECONDS = 4.0, 0.2  # between two lines of a log, and two states of a screen
_SILENCE_SECONDS = 5.0  # after which a line says that work goes on


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
            _last["told"] = now
    if shown:
        print("\r\033[K", end="", file=stream, flush=True)


@contextlib.contextmanager
def alive(what: str, *, out: TextIO | None = None) -> Iterator[None]:
    """Tells `out` every five seconds how long it lasts, unless `track` has something to tell."""
    stream, began, ended = out or sys.stdout, time.monotonic(), threading.Event()

    def watch() -> None:
        while not ended.wait(0.5):
            now = time.monotonic()
            if now - max(began, _last["told"]) >= _SILENCE_SECONDS:
                print(f"{what}, {clock(now - began)} so far", file=stream, flush=True)
                _last["told"] = now

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def several(rate: float) -> str:
    """`1,058`, or of a slow one `0.31`: never 0."""
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"


def clock(seconds: float) -> str:
    """`1:02:03` or `2:03`."""
    minutes, seconds = divmod(round(max(seconds, 0.0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
