"""From the command to the first update of each default, its programs not yet compiled and compiled.

    python -m benchmarks.startup --repeats=5

The set is prepared beforehand. Cold: programs are compiled, into an empty cache; warm: they are
kept from before. The clock runs from the start of the process to the first line that tells of a
step, which an experiment prints after its first updates; then the process is ended.
"""

import contextlib
import dataclasses
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import common
from medjax import app, runtime
from medjax.config import option
from medjax.errors import UserError
from medjax.evaluation import report

EXPERIMENTS = ("classify", "heatmap", "search", "segment", "detect", "register", "temporal")


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings; the fields are the flags."""

    repeats: int = option(5, "repetitions, of which the median is reported", least=1)
    cache_dir: str = option("", "where sets are prepared; empty: anew", path=True)
    only: str = option("", "one experiment; empty: all", choices=("", *EXPERIMENTS))


def main(config: Config) -> None:
    busy = common.busy_cores()
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(config.cache_dir or folder)
        rows = [
            row(name, cache, config.repeats) for name in EXPERIMENTS if config.only in ("", name)
        ]
    machine = common.machine()
    report.show(
        "seconds to the first update: median (least to most)",
        ["default", "cold", "warm"],
        rows,
        [f"{machine['cpu']}, {machine['cores']} cores; others kept {busy} cores busy before"],
    )


def row(name: str, cache: Path, repeats: int) -> list[str]:
    """A default's times; a first start, which prepares the set, does not count."""
    seconds_to_update(name, cache)
    cold, warm = [], []
    for _ in range(repeats):
        shutil.rmtree(cache / runtime.COMPILED, ignore_errors=True)
        cold.append(seconds_to_update(name, cache))
        warm.append(seconds_to_update(name, cache))
    return [name, describe(cold), describe(warm)]


def describe(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.1f} ({min(seconds):.1f} to {max(seconds):.1f})"


def seconds_to_update(name: str, cache: Path) -> float:
    """Seconds from the start of the process to the line of its first step."""
    with tempfile.TemporaryDirectory() as workdir, started(name, cache, workdir) as process:
        began, told = time.perf_counter(), ""
        for line in process.stdout or ():
            told += line
            if line.startswith("step "):
                return time.perf_counter() - began
        raise UserError(f"{name}: ended before its first step: {told[-300:]}")


@contextlib.contextmanager
def started(name: str, cache: Path, workdir: str) -> Iterator[subprocess.Popen[str]]:
    """The process of a default, ended afterwards."""
    flags = [f"--cache_dir={cache}", f"--workdir={workdir}/run"]
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", f"experiments.{name}", *flags],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


if __name__ == "__main__":
    app.run(main, Config)
