"""Where the time of an update goes: a trace, and a table of the dearest operations."""

import gzip
import json
import shutil
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from medjax.errors import UserError
from medjax.evaluation import report
from medjax.train.hlo_cost import OperationCost, count_costs
from medjax.train.record import write_json
from medjax.typing import Json

FOLDER = "profile"
_UPDATES, _SHOWN = 3, 10
_PRODUCT_SIDE, _COPY_BYTES = 1024, 2**27  # 2.1 GFLOP, and 0.13 GB: larger than any cache
_DEVICES_GB = (16, 40, 80)  # of common accelerators
_WAITING = ("while", "call", "conditional")  # what only waits for the operations inside


class Peak(NamedTuple):
    """What this machine does at best: a product of matrices, and a copy."""

    flops_per_second: float
    bytes_per_second: float


class Spent(NamedTuple):
    """An operation of an update.

    Attributes:
      seconds, calls: an update; operations that run side by side add up to more than its time.
    """

    name: str
    cost: OperationCost
    seconds: float
    calls: float

    @property
    def flops(self) -> float:
        """Of an update."""
        return self.cost.flops * self.calls

    @property
    def moved_bytes(self) -> float:
        """Of an update."""
        return self.cost.moved_bytes * self.calls


def measure_peak() -> Peak:
    """The best of five, of a product of two matrices in float32 and of a copy."""
    a = jnp.ones((_PRODUCT_SIDE, _PRODUCT_SIDE))
    b = jnp.ones((_COPY_BYTES // 4,))
    product = best_seconds(jax.jit(lambda x: x @ x), a)
    copy = best_seconds(jax.jit(lambda x: x + 1), b)
    return Peak(2 * _PRODUCT_SIDE**3 / product, 2 * _COPY_BYTES / copy)


def best_seconds(function: Callable, *arguments: Any) -> float:
    """The least of five calls, after one that compiles."""
    seconds = []
    for _ in range(6):
        began = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        seconds.append(time.perf_counter() - began)
    return min(seconds[1:])  # the first compiles


def profile_update(
    folder: Path, compiled: Any, update: Callable[[int], Any], compile_seconds: float
) -> None:
    """Traces some updates, prints where their time goes, and writes it down.

    Args:
      folder: of the trace, which TensorBoard, Perfetto and XProf open, and of `profile.json`.
      compiled: the program; update: makes a number of updates of a copy of the state.
      compile_seconds: that it has taken.

    Raises:
      UserError: if this JAX has no profiler.
    """
    peak = measure_peak()
    jax.block_until_ready(update(1))
    shutil.rmtree(folder, ignore_errors=True)
    began = time.perf_counter()
    try:
        with jax.profiler.trace(str(folder)):
            jax.block_until_ready(update(_UPDATES))
            seconds = (time.perf_counter() - began) / _UPDATES
    except (RuntimeError, ImportError) as e:
        raise UserError(f"`profile`: this JAX has no profiler ({e}); leave it out") from None
    spent = attribute_time(count_costs(compiled.as_text()), read_trace(folder), updates=_UPDATES)
    summary = summarise(spent, seconds, peak, compile_seconds=compile_seconds)
    summary |= plan_memory(compiled)
    write_json(folder / "profile.json", summary)
    show(summary, folder)


def plan_memory(compiled: Any) -> Json:
    """By the compiler's plan: what lies there before and after, the images of a resident set among
    it, and what an update needs in between."""
    plan = compiled.memory_analysis()
    held = plan.argument_size_in_bytes + plan.output_size_in_bytes - plan.alias_size_in_bytes
    return {"held_gigabytes": held / 1e9, "temporary_gigabytes": plan.temp_size_in_bytes / 1e9}


def describe_memory(held: float, temporary: float) -> str:
    """The same in GB as a line, with the least of the usual accelerators that holds it."""
    enough = next((size for size in _DEVICES_GB if held + temporary < size), None)
    on = f"fits a device of {enough} GB" if enough else f"fits no device of {_DEVICES_GB[-1]} GB"
    return (
        f"memory, as compiled here: state, batch and resident set {held:.2f} GB, an update "
        f"{temporary:.2f} GB more; {on}"
    )


def read_trace(folder: Path) -> dict[str, tuple[float, int]]:
    """By the name of an event of a trace its seconds, and how often it came."""
    seconds: dict[str, float] = defaultdict(float)
    calls: dict[str, int] = defaultdict(int)
    for path in folder.rglob("*.trace.json.gz"):
        with gzip.open(path) as file:
            events = json.load(file)["traceEvents"]
        for event in events:
            if event.get("ph") == "X":
                seconds[event["name"]] += event["dur"] / 1e6
                calls[event["name"]] += 1
    return {name: (seconds[name], calls[name]) for name in seconds}


def attribute_time(
    costs: dict[str, OperationCost], events: dict[str, tuple[float, int]], *, updates: int
) -> list[Spent]:
    """The operations of a program that a trace has seen, the dearest first."""
    spent = [
        Spent(name, cost, events[name][0] / updates, events[name][1] / updates)
        for name, cost in costs.items()
        if name in events and cost.opcode not in _WAITING
    ]
    return sorted(spent, key=lambda s: -s.seconds)


def summarise(spent: list[Spent], seconds: float, peak: Peak, *, compile_seconds: float) -> Json:
    """The table, an entry an operation, and the sums; each achieved rate beside the peak."""
    hidden = [s for s in spent if _runs_elsewhere(s, peak)]
    traced = [s for s in spent if not _runs_elsewhere(s, peak)]
    busy = sum(s.seconds for s in traced)
    rest = max(seconds - busy, 0.0)
    operations = [_describe(s, seconds, peak) for s in traced]
    if hidden and rest:
        operations.append(_describe(_joined(hidden, rest), seconds, peak))
    return {
        "update_seconds": seconds,
        "compile_seconds": compile_seconds,
        "operations_seconds": busy,
        "host_seconds": 0.0 if hidden else rest,
        "gflop": sum(s.flops for s in spent) / 1e9,
        "gigabytes": sum(s.moved_bytes for s in spent) / 1e9,
        "peak_gflops": peak.flops_per_second / 1e9,
        "peak_gigabytes_per_second": peak.bytes_per_second / 1e9,
        "operations": sorted(operations, key=lambda o: -o["milliseconds"]),
    }


def _runs_elsewhere(spent: Spent, peak: Peak) -> bool:
    """Whether the trace has seen no more than that an operation was handed to other threads: it
    would have been faster than the machine can be."""
    return spent.flops > max(1e6, 2 * spent.seconds * peak.flops_per_second)


def _joined(hidden: list[Spent], seconds: float) -> Spent:
    """Such operations as one, which have at most what is left of the time of an update."""
    flops, moved = sum(s.flops for s in hidden), sum(s.moved_bytes for s in hidden)
    what = f"{len(hidden)} convolutions and products in threads of their own, with the host"
    return Spent("others", OperationCost("together", what, flops, moved), seconds, 1.0)


def _describe(spent: Spent, seconds: float, peak: Peak) -> Json:
    of_flops = spent.flops / spent.seconds / peak.flops_per_second
    of_bytes = spent.moved_bytes / spent.seconds / peak.bytes_per_second
    return {
        "name": spent.name,
        "opcode": spent.cost.opcode,
        "source": spent.cost.source,
        "milliseconds": spent.seconds * 1e3,
        "share": spent.seconds / seconds,
        "calls": spent.calls,
        "gflop": spent.flops / 1e9,
        "gigabytes": spent.moved_bytes / 1e9,
        "of_peak": max(of_flops, of_bytes),
        "limit": "arithmetic" if of_flops >= of_bytes else "memory",
    }


def show(summary: Json, folder: Path) -> None:
    """Prints the dearest operations."""
    rows = [
        [
            f"{o['source'] or o['name']} ({o['opcode']})",
            f"{o['milliseconds']:.2f}",
            f"{o['share']:.1%}",
            f"{o['calls']:g}",
            f"{o['gflop']:.3f}",
            f"{o['gigabytes']:.3f}",
            f"{o['of_peak']:.0%} {o['limit']}",
        ]
        for o in summary["operations"][:_SHOWN]
    ]
    milliseconds = summary["update_seconds"] * 1e3
    report.show(
        f"the {len(rows)} dearest operations of an update of {milliseconds:.1f} ms",
        ["operation", "ms", "share", "calls", "GFLOP", "GB", "of peak"],
        rows,
        [
            f"all: {summary['gflop']:.2f} GFLOP, {summary['gigabytes']:.2f} GB; operations "
            f"that the trace saw whole {summary['operations_seconds'] * 1e3:.1f} ms; host alone "
            f"{summary['host_seconds'] * 1e3:.1f} ms; compiling {summary['compile_seconds']:.1f} s",
            describe_memory(summary["held_gigabytes"], summary["temporary_gigabytes"]),
            f"peak of this machine: {summary['peak_gflops']:.0f} GFLOP/s by a product of matrices, "
            f"{summary['peak_gigabytes_per_second']:.1f} GB/s by a copy",
            f"wrote {folder}: profile.json, and a trace for TensorBoard or ui.perfetto.dev",
        ],
    )
