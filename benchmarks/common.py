"""Taking turns, and writing down what was found."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from medjax.train.record import write_json

_HEADER = """| side | median ms a step | min | max | ratio | compile s |
|---|---|---|---|---|---|"""


class Row(NamedTuple):
    """One side: the seconds a step of every repetition, or why there are none."""

    side: str
    seconds: Sequence[float] = ()
    compile_seconds: float | None = None
    failed: str = ""


def take_turns(runs: Mapping[str, Callable[[], float]], *, repeats: int) -> dict[str, list[float]]:
    """What each run returns, `repeats` times, A B A B; a first round warms up and is dropped."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(repeats + 1):
        for name, run in runs.items():
            seconds = run()
            if turn:
                found[name].append(seconds)
    return found


def machine() -> dict[str, Any]:
    """The processor, its cores, and how busy it is with other things."""
    return {"cpu": _cpu(), "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1)}


def _cpu() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def table(rows: Sequence[Row]) -> str:
    """The rows in Markdown; `ratio` is a side's median over that of the first side."""
    base = statistics.median(rows[0].seconds)
    return "\n".join([_HEADER, *(_line(row, base) for row in rows)])


def _line(row: Row, base: float) -> str:
    if row.failed:
        return f"| {row.side} | failed: {row.failed.replace('|', '/')} | | | | |"
    middle, low, high = (f(row.seconds) for f in (statistics.median, min, max))
    compiled = "-" if row.compile_seconds is None else f"{row.compile_seconds:.1f}"
    return (f"| {row.side} | {1e3 * middle:.1f} | {1e3 * low:.1f} | {1e3 * high:.1f} | "
            f"{middle / base:.2f} | {compiled} |")


def report(title: str, rows: Sequence[Row], *, before: Mapping[str, Any],
           versions: Mapping[str, str], device: str, path: str) -> None:
    """Prints the header and the table; `path`, unless empty, gets the same as JSON.

    Args:
      before: the machine, as `machine` saw it before the timing began.
    """
    date = time.strftime("%Y-%m-%d")
    names = ", ".join(f"{k} {v}" for k, v in {"python": platform.python_version(),
                                              **versions}.items())
    print(f"\n{title}\n{date}; {before['cpu']}, {before['cores']} cores, load {before['load']} "
          f"before; ran on {device}; {names}\n\n{table(rows)}\n\n"
          "ratio: the median over that of the first row")
    if path:
        base = statistics.median(rows[0].seconds)
        write_json(Path(path), {
            "title": title, "date": date, "machine": before, "device": device,
            "versions": {"python": platform.python_version(), **versions},
            "rows": [_described(row, base) for row in rows]})


def _described(row: Row, base: float) -> dict[str, Any]:
    if row.failed:
        return {"side": row.side, "failed": row.failed}
    middle = statistics.median(row.seconds)
    return {"side": row.side, "seconds": list(row.seconds), "median_seconds": middle,
            "min_seconds": min(row.seconds), "max_seconds": max(row.seconds),
            "ratio": middle / base, "compile_seconds": row.compile_seconds}
