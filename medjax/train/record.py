"""Writing what happens: `metrics.jsonl`, and the progress line."""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medjax.files import write_bytes, write_table
from medjax.progress import clock, note_output, several
from medjax.typing import Json, JsonView, Logs, Tree

__all__ = ["write_bytes", "write_table"]  # what others find here


def write_json(path: Path, value: Any) -> None:
    """Writes all or nothing."""
    write_bytes(path, dump_json(value))


def dump_json(value: Any) -> bytes:
    """`value` as a file has it; what is not finite is null."""
    return (json.dumps(plain(value), indent=2, allow_nan=False) + "\n").encode()


def plain(value: Any) -> Any:
    """`value` as JSON knows it; what is not finite becomes null."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(v) for v in value]
    if isinstance(value, (np.integer, int)) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, (np.floating, float)):
        return float(value) if np.isfinite(value) else None
    return value


_SILENT_SECONDS = 5.0  # after which a log has a line, whatever is due


class MetricsFile:
    """`metrics.jsonl`: one object a line, each written whole, so a kill leaves whole lines."""

    def __init__(
        self, path: Path, *, step: int, also: Sequence[Callable[[int, JsonView], None]] = ()
    ):
        """Opens `path`; lines after `step` (of a run that went further, then was killed) go.

        `also` takes each line too.
        """
        self._also = also
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        write_bytes(
            path,
            b"".join(line for line in lines if (entry := _object(line)) and entry["step"] <= step),
        )
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND)

    def write(self, step: int, values: JsonView) -> None:
        for call in self._also:
            call(step, values)
        line = (json.dumps({"step": step, **plain(values)}, allow_nan=False) + "\n").encode()
        while line:  # a full disk takes a part, then none
            line = line[os.write(self._file, line) :]

    def close(self) -> None:
        os.close(self._file)


class NoFile:
    """What other processes than the first write their metrics to."""

    def write(self, step: int, values: JsonView) -> None:
        pass

    def close(self) -> None:
        pass


def read_lines(path: Path) -> list[dict]:
    """The objects of a `metrics.jsonl`; a line that was cut off, or damaged, is no line."""
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    return [entry for line in lines if (entry := _object(line))]


def _object(line: bytes) -> dict | None:
    """What a whole line holds: an object with its step."""
    try:
        value = json.loads(line) if line.endswith(b"\n") else None
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and isinstance(value.get("step"), int) else None


class Progress:
    """Averages the logs, writes them every so often, and shows how far the run is.

    Learners whose logs are not finite are left out of the averages, and counted: `not_finite`.

    An update is counted as `batch` of what `unit` names.
    """

    def __init__(
        self,
        file: MetricsFile | NoFile,
        *,
        start: int,
        steps: int,
        batch: int,
        every: int,
        unit: str = "examples",
    ):
        self._unit = unit
        self._file, self._batch, self._every, self._steps = file, batch, every, steps
        self._start, self._began = start, time.perf_counter()
        self._sums: Json = {}
        self._count, self._failed = 0, 0
        self._beside: Json = {}
        self._count_shown = 0
        self._tty = sys.stdout.isatty()
        self._told = -np.inf  # so that the first update is shown

    def __call__(self, step: int, state: Tree, logs: Logs, count: int) -> None:
        for name, value in logs.items():
            if name != "bad_step":
                fine = np.isfinite(value)  # of several settings, some may have failed
                self._sums[name] = self._sums.get(name, 0.0) + np.mean(value, where=fine)
                self._failed = max(self._failed, int(np.sum(~fine)))
        self._count += count
        seconds = time.perf_counter() - self._began
        rate = (step - self._start) / seconds
        means = {k: float(v) / self._count for k, v in self._sums.items()}
        due = step % self._every == 0 or step == self._steps or bool(self._beside)
        now = time.perf_counter()
        if due or self._tty or now - self._told > _SILENT_SECONDS:
            self._show(step, means, rate)
            self._told = now
        if due:
            failed = {"not_finite": self._failed} if self._failed else {}
            self._file.write(
                step, {**means, "examples_per_second": rate * self._batch, **failed, **self._beside}
            )
            self._sums, self._count, self._failed, self._beside = {}, 0, 0, {}

    def add(self, values: JsonView) -> None:
        """Has `values` stand in the line of this step."""
        self._beside.update(values)

    def _show(self, step: int, means: Mapping[str, float], rate: float) -> None:
        left = clock((self._steps - step) / rate)
        line = (
            f"step {step:>6}/{self._steps}  loss {means['loss']:.4f}  "
            f"{several(rate * self._batch):>8} {self._unit}/s  {left} left"
        )
        print(f"\r{line}\033[K" if self._tty else line, end="" if self._tty else "\n", flush=True)
        self._count_shown += 1
        note_output()

    def end(self) -> None:
        """Leaves the line that changes, so that what is printed next has one of its own."""
        if self._tty and self._count_shown:
            print(flush=True)

    def say(self, line: str) -> None:
        """Prints a line of its own, below which the progress goes on."""
        print(f"\r\033[K{line}" if self._tty else line, flush=True)
        note_output()
