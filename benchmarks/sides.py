"""Two sides in processes of their own, since JAX and PyTorch may live in different interpreters.

A worker builds, warms up and says one JSON line about itself. Then it waits for lines `go CALLS
UPDATES`, makes so many calls of so many updates, and answers each with a JSON line. The parent asks
one worker at a time, so only one computes.
"""

import contextlib
import json
import math
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from benchmarks.cases import Job

_ROOT = Path(__file__).parents[1]
_ENVIRONMENT = {
    "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1",  # compile times are those of a first run
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # the sides share one GPU
}


class Trainer(Protocol):
    """What a worker times. `about` has parameters, compile_seconds and versions."""

    about: dict[str, Any]

    def advance(self, count: int) -> None:
        """Starts `count` updates."""

    def wait(self) -> float:
        """Returns when all updates are done; the newest loss."""


def serve(build: Callable[[Job], Trainer]) -> None:
    """The worker: builds what `argv[1]` asks for and answers until its input ends."""
    answers, sys.stdout = sys.stdout, sys.stderr  # so that no library's print is an answer

    def say(value: dict[str, Any]) -> None:
        print(json.dumps(value), file=answers, flush=True)

    try:
        trainer = build(Job(**json.loads(sys.argv[1])))
        say(trainer.about)
        for line in sys.stdin:
            _, calls, updates = line.split()
            say(measure(trainer, int(calls), int(updates)))
    except Exception as e:
        traceback.print_exc()
        say({"failed": f"{type(e).__name__}: {_first_paragraph(e)}"})


def _first_paragraph(error: Exception) -> str:
    return " ".join(str(error).split("\n\n")[0].split())[:200]


def measure(trainer: Trainer, calls: int, updates: int) -> dict[str, float]:
    """The seconds of `calls` calls of `updates` updates, the newest loss, and the most memory that
    the process and its children have had so far."""
    began = time.perf_counter()
    for _ in range(calls):
        trainer.advance(updates)
    loss = trainer.wait()
    return {"seconds": time.perf_counter() - began, "loss": loss, "peak_bytes": peak_bytes()}


def peak_bytes() -> int:
    """The most memory of the host that this process has had, and its children that live now: what
    is shared with them is divided among them."""
    children = " ".join(p.read_text() for p in Path("/proc/self/task").glob("*/children")).split()
    shares = (_kilobytes(Path("/proc", child, "smaps_rollup"), "Pss:") for child in children)
    return 1024 * (_kilobytes(Path("/proc/self/status"), "VmHWM:") + sum(shares))


def _kilobytes(path: Path, name: str) -> int:
    """A line of a table of the kernel; 0 where there is none."""
    with contextlib.suppress(OSError):
        found = (line.split() for line in path.read_text().splitlines() if line.startswith(name))
        return int(next(found)[1])
    return 0


class SideError(Exception):
    """A side could not be timed; says why in one line."""


class Side:
    """The parent's end of a worker.

    Attributes:
      peak_bytes: the most memory of the host that it has had in any call.
    """

    peak_bytes = 0

    def __init__(self, python: str, module: str, job: Job, *options: str):
        """Starts the worker and waits until it has warmed up.

        Raises:
          SideError: if it does not get so far.
        """
        command = [python, "-m", module, json.dumps(job._asdict()), *options]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=_ROOT,
                env={**os.environ, **_ENVIRONMENT},
            )
        except OSError as e:
            raise SideError(f"{python}: {e.strerror}") from None
        try:
            self.about = self._answer()
        except BaseException:
            self.close()
            raise

    def seconds(self, calls: int, updates: int) -> float:
        """Seconds an update, in `calls` calls of `updates` updates.

        Raises:
          SideError: if the worker fails or its loss is no number.
        """
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):  # it has ended; `_answer` tells
            self._process.stdin.write(f"go {calls} {updates}\n")
            self._process.stdin.flush()
        answer = self._answer()
        self.peak_bytes = max(self.peak_bytes, answer["peak_bytes"])
        if not math.isfinite(answer["loss"]):
            raise SideError(f"the loss became {answer['loss']}")
        return answer["seconds"] / (calls * updates)

    def close(self) -> None:
        """Ends the worker."""
        try:
            self._process.communicate(timeout=30)  # closes its input
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise SideError(f"its process ended with exit code {self._process.wait()}")
        answer = json.loads(line)
        if "failed" in answer:
            raise SideError(answer["failed"])
        return answer
