"""How time and memory of an update grow with the work, on a log-log plot with fitted exponents.

    python -m benchmarks.growth --figure=growth.png

Each axis is varied by itself: the side of volumes (3-D U-Net), examples a batch (2-D U-Net),
landmarks, seeds as one program, frames of a sequence, agents (the environment's step), and cases of
a set from arrays (opening it). Memory is what the compiled program needs beside its arguments, by
XLA. An exponent of 1 is linear; it is fitted to the larger half of an axis, where fixed costs
matter less.
"""

import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import medjax
from benchmarks import common, learner, search
from benchmarks.cases import Case
from medjax import app, models
from medjax.config import option
from medjax.data.dataset import Split
from medjax.errors import UserError, unknown
from medjax.evaluation import plot, report
from medjax.models.recurrent import FrameNetwork
from medjax.train.step import over_seeds

_SMALL = (8, 16, 32)
AXES = {
    "volume_side": (16, 32, 48, 64, 96, 128, 192),
    "batch": (1, 4, 16, 64),
    "landmarks": (1, 8, 32, 100, 200),
    "seeds": (1, 2, 4, 8, 16, 32),
    "frames": (8, 16, 32, 64, 128),
    "agents": (1, 16, 256, 4096, 16384),
    "cases": (100, 1000, 10_000, 100_000),
}


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings; the fields are the flags."""

    axes: tuple[str, ...] = option((), "of these alone; empty: all", item=str)
    most: int = option(0, "no point of an axis above it; 0: all")
    repeats: int = option(3, "calls, of which the median is reported")
    native: bool = option(True, "with the convolutions of `medjax build`")
    figure: str = option("", "file for the plot; empty: none")


class Point(NamedTuple):
    """An axis at one place: seconds a call, and bytes beside its arguments (NaN: not known)."""

    size: int
    seconds: float
    memory_bytes: float


def main(config: Config) -> None:
    for name in config.axes:
        if name not in AXES:
            raise unknown("axis", name, AXES)
    learner.use("cpu", compiled=config.native)
    found: dict[str, list[Point]] = {}
    for name in config.axes or AXES:
        for size in AXES[name]:
            if not config.most or size <= config.most:
                print(f"{name} {size}", flush=True)
                found.setdefault(name, []).append(measure(name, size, config.repeats))
    if not found:
        raise UserError(f"--most={config.most}: no axis has a point so small")
    machine = common.machine()
    report.show(
        f"{time.strftime('%Y-%m-%d')}; {machine['cpu']}, {machine['cores']} cores",
        ("axis", "at", "ms", "MB", "exponent of time", "of memory"),
        [row for name, points in found.items() for row in _rows(name, points)],
    )
    if config.figure:
        draw(Path(config.figure), found)


def _rows(name: str, points: Sequence[Point]) -> list[list[str]]:
    fits = [f"{exponent(points, what):.2f}" for what in ("seconds", "memory_bytes")]
    return [
        [
            name if i == 0 else "",
            f"{p.size:,}",
            f"{1e3 * p.seconds:.4g}",
            f"{p.memory_bytes / 1e6:.4g}",
            *(fits if i == len(points) - 1 else ["", ""]),
        ]
        for i, p in enumerate(points)
    ]


def exponent(points: Sequence[Point], what: str) -> float:
    """That of the power of the size that fits the larger half of the points; NaN below two."""
    some = points[len(points) // 2 - 1 :] if len(points) > 2 else points
    values = [getattr(p, what) for p in some]
    if len(some) < 2 or not all(v > 0 for v in values):
        return float("nan")
    return float(np.polyfit(np.log([p.size for p in some]), np.log(values), 1)[0])


def measure(name: str, size: int, repeats: int) -> Point:
    """The median of some calls, after one that compiles or warms up."""
    call, memory = _CALLS[name](size)
    call()
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return Point(size, statistics.median(seconds), memory)


Call = tuple[Callable[[], Any], float]


def _update(case: Case, *, seeds: int = 0) -> Call:
    """An update of a network, or of many seeds of it."""
    init, advance = learner.make(case)
    data, key = learner.data(case, batch=case.batch), jax.random.key(0)
    if seeds:
        key = jax.vmap(jax.random.key)(jnp.arange(seeds))
        init, advance = over_seeds(init, (0,)), over_seeds(advance, (0, 0, None, None))
    state = jax.jit(init)(key)
    program, _ = learner.compiled(advance, key, state, data)
    kept = [state]

    def call() -> None:
        kept[0], _ = program(key, kept[0], data, jnp.int32(1))
        jax.block_until_ready(kept[0])

    return call, _memory_of(program)


def _memory_of(program: Any) -> float:
    return float(program.memory_analysis().temp_size_in_bytes)


def _of_frames(count: int) -> Call:
    """The gradient of a recurrent network on four sequences of 32 x 32."""
    encoder = models.classifier("cnn", num_classes=16)
    network = FrameNetwork(encoder, hidden=32)
    frames, lengths = jnp.ones((4, count, 32, 32, 1)), jnp.full(4, count)
    variables = network.init(jax.random.key(0), frames, lengths, train=False)

    def energy(variables: Any) -> Any:
        out = network.apply(variables, frames, lengths, train=False)
        return jnp.square(out).mean()

    program = jax.jit(jax.grad(energy)).lower(variables).compile()
    return lambda: jax.block_until_ready(program(variables)), _memory_of(program)


def _of_agents(count: int) -> Call:
    """A step of the environment alone, as of `benchmarks.search`."""
    rng, side = np.random.default_rng(0), search.SIDE
    images = rng.integers(0, 255, (2, side, side, side), dtype=np.uint8)
    split = Split(
        {
            "box": np.tile([[[0] * 3, [side] * 3]], (2, 1, 1)),
            "landmarks": rng.uniform(20, side - 20, (2, 1, 3)),
        },
        [""] * 2,
        [""] * 2,
        [{}] * 2,
        lambda i: images[i, ..., None],
        (side, side, side, 1),
        images.dtype,
    )
    _, step, arguments = search.programs(split, count, 25, 1, 8)[0]
    program = jax.jit(step).lower(jax.random.key(0), *arguments, jnp.int32(1)).compile()

    def call() -> None:
        jax.block_until_ready(program(jax.random.key(1), *arguments, jnp.int32(1)))

    return call, _memory_of(program)


def _of_cases(count: int) -> Call:
    """Opening arrays of 28 x 28 as a set."""
    images = np.zeros((count, 28, 28), np.uint8)
    labels, subjects = np.arange(count) % 2, [str(i // 2) for i in range(count)]
    return lambda: medjax.Dataset.from_arrays(images, labels, subjects=subjects), float("nan")


_CALLS: dict[str, Callable[[int], Call]] = {
    "volume_side": lambda n: _update(Case("unet", (n, n, n, 1), 4, 1, 1, widths=_SMALL)),
    "batch": lambda n: _update(Case("unet", (64, 80, 1), 10, n, 1, widths=_SMALL)),
    "landmarks": lambda n: _update(Case("unet", (64, 80, 1), n, 4, 1, widths=_SMALL)),
    "seeds": lambda n: _update(Case("cnn", (28, 28, 1), 10, 32, 1), seeds=n),
    "frames": _of_frames,
    "agents": _of_agents,
    "cases": _of_cases,
}


def draw(path: Path, found: dict[str, list[Point]]) -> None:
    """Time against size, an axis a panel, with the line of its exponent."""
    columns = min(len(found), 4)
    rows = -(-len(found) // columns)

    def fill(figure: Any, axes: Any) -> None:
        panels = [axis for row in axes for axis in row]
        for axis in panels[len(found) :]:
            axis.set_axis_off()
        for axis, (name, points) in zip(panels, found.items(), strict=False):
            sizes, times = np.array([[p.size, 1e3 * p.seconds] for p in points]).T
            power = exponent(points, "seconds")
            axis.loglog(sizes, times, "o-", ms=4, color="C0")
            axis.loglog(sizes, times[-1] * (sizes / sizes[-1]) ** power, ":", color="C7")
            axis.set(title=f"{name.replace('_', ' ')}: power {power:.2f}", ylabel="ms")
            plot.plain_numbers(axis.yaxis)
            axis.set_xticks(sizes, [f"{int(size):,}" for size in sizes], rotation=45, fontsize=7)
            axis.set_xticks([], minor=True)

    plot.new_figure(path, rows, columns, (2.6 * columns, 2.4 * rows), fill)


if __name__ == "__main__":
    app.run(main, Config)
