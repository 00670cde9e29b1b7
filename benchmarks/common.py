"""Taking turns, and writing down what was found."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from medjax.evaluation import report as report_of_run
from medjax.train.record import write_json

BUSY = 0.2  # cores; with more at work for others, a timing is not to be trusted
_HEADER = """| side | median ms a step | min | max | ratio | compile s | peak GB |
|---|---|---|---|---|---|---|"""


class Row(NamedTuple):
    """One side: the seconds a step of every repetition, or why there are none.

    Attributes:
      peak_bytes: the most memory of the host that it had; 0 where it is not known.
    """

    side: str
    seconds: Sequence[float] = ()
    compile_seconds: float | None = None
    peak_bytes: int = 0
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
    """The processor and its cores."""
    return {"cpu": report_of_run.processor(), "cores": os.cpu_count()}


def busy_cores(seconds: float = 1.0) -> float:
    """How many cores are at work, watched for so long; call it while nothing here computes."""
    before = _ticks()
    time.sleep(seconds)
    return round((_ticks() - before) / os.sysconf("SC_CLK_TCK") / seconds, 1)


def _ticks() -> int:
    """Clock ticks that all cores have worked since the machine started; 0 where none tells."""
    path = Path("/proc/stat")
    if not path.exists():
        return 0
    user, nice, system, _, _, *rest = map(int, path.read_text().splitlines()[0].split()[1:9])
    return user + nice + system + sum(rest)


def table(rows: Sequence[Row]) -> str:
    """The rows in Markdown; `ratio` is a side's median over that of the first side."""
    base = statistics.median(rows[0].seconds)
    return "\n".join([_HEADER, *(_line(row, base) for row in rows)])


def _line(row: Row, base: float) -> str:
    if row.failed:
        return f"| {row.side} | failed: {row.failed.replace('|', '/')} | | | | | |"
    middle, low, high = (f(row.seconds) for f in (statistics.median, min, max))
    memory = f"{row.peak_bytes / 1e9:.2f}" if row.peak_bytes else "-"
    compiled = "-" if row.compile_seconds is None else f"{row.compile_seconds:.1f}"
    return (
        f"| {row.side} | {1e3 * middle:.4g} | {1e3 * low:.4g} | {1e3 * high:.4g} | "
        f"{middle / base:.2f} | {compiled} | {memory} |"
    )


def report(
    title: str,
    rows: Sequence[Row],
    *,
    busy: float,
    versions: Mapping[str, str],
    device: str,
    path: str,
) -> None:
    """Prints the header and the table; `path`, unless empty, gets the same as JSON.

    Args:
      busy: what `busy_cores` gave before the sides were started.
    """
    base = statistics.median(rows[0].seconds)
    found = {
        "title": title,
        "date": time.strftime("%Y-%m-%d"),
        "device": device,
        "machine": {**machine(), "busy_before": busy, "busy_after": busy_cores()},
        "versions": {"python": platform.python_version(), **versions},
        "rows": [_described(row, base) for row in rows],
    }
    print(f"\n{_header(found)}\n\n{table(rows)}\n\nratio: median over that of the first row")
    if path:
        write_json(Path(path), found)


def _header(found: Mapping[str, Any]) -> str:
    on = found["machine"]
    busy = f"others kept {on['busy_before']} cores busy before and {on['busy_after']} after"
    if max(on["busy_before"], on["busy_after"]) > BUSY:
        busy += ". WARNING: not idle; such ratios are not to be trusted"
    names = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    return (
        f"{found['title']}\n{found['date']}; {on['cpu']}, {on['cores']} cores; ran on "
        f"{found['device']}; {names}\n{busy}"
    )


def _described(row: Row, base: float) -> dict[str, Any]:
    if row.failed:
        return {"side": row.side, "failed": row.failed}
    middle = statistics.median(row.seconds)
    return {
        "side": row.side,
        "seconds": list(row.seconds),
        "median_seconds": middle,
        "min_seconds": min(row.seconds),
        "max_seconds": max(row.seconds),
        "ratio": middle / base,
        "compile_seconds": row.compile_seconds,
        "peak_bytes": row.peak_bytes or None,
    }
