"""Sides in processes of their own that take turns: the rows of a table."""

import functools
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from typing import Any

from benchmarks import common
from benchmarks.cases import Job
from benchmarks.common import Row
from benchmarks.sides import Side, SideError
from medjax.errors import UserError


def race_and_report(
    title: str,
    workers: Mapping[str, Sequence[str]],
    job: Job,
    *,
    updates: int,
    repeats: int,
    path: str,
) -> None:
    """Prints the table of all sides; arguments as of `race` and `common.report`."""
    busy = common.busy_cores()
    rows, about = race(workers, job, updates=updates, repeats=repeats)
    common.report(
        f"{title}, {repeats} repetitions",
        rows,
        busy=busy,
        versions=about["versions"],
        path=path,
        device=about["device"],
    )


def race(
    workers: Mapping[str, Sequence[str]], job: Job, *, updates: int, repeats: int
) -> tuple[list[Row], dict[str, Any]]:
    """The rows of all sides, and what the first, medjax, says of itself, with all versions.

    Args:
      workers: by name, the interpreter, the module and its options.

    Raises:
      UserError: if the first cannot be timed; another stands in its row as failed.
    """
    failed: list[Row] = []
    sides: dict[str, Side] = {}
    with ExitStack() as stack:
        for name, (python, module, *options) in workers.items():
            print(f"{name}: building", flush=True)
            try:
                sides[name] = stack.enter_context(closing(Side(python, module, job, *options)))
            except SideError as e:
                if not sides:
                    raise UserError(f"{name}: {e}") from None
                failed.append(Row(name, failed=str(e)))
        runs = {name: functools.partial(side.seconds, 1, updates) for name, side in sides.items()}
        found = common.take_turns(runs, repeats=repeats)
    rows = [
        Row(name, seconds, sides[name].about["compile_seconds"], sides[name].peak_bytes)
        for name, seconds in found.items()
    ]
    versions = {k: v for side in sides.values() for k, v in side.about["versions"].items()}
    return rows + failed, {**next(iter(sides.values())).about, "versions": versions}
