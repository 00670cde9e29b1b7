"""Convolution on a CPU: the forms of `medjax.ops.conv` against XLA's own, in one run.

    python -m benchmarks.conv

Each row times the forward pass and both gradients of one convolution, alone and as the body of a
compiled loop (`fori_loop`), as training uses it. XLA's own is slow in three places: gradients in a
loop, 3-D, and the kernel gradient of a 1-wide convolution.
"""

import dataclasses
import statistics
import time
from collections.abc import Callable

import jax
from jax import lax

from benchmarks import common, learner
from medjax import app
from medjax.config import option
from medjax.evaluation import report
from medjax.ops import conv
from medjax.typing import Array

# name: (images, kernel, stride)
CASES = {
    "2-D, 3 wide, 48 channels": ((128, 14, 14, 48), (3, 3, 48, 48), 1),
    "2-D, 3 wide, 128 channels": ((64, 14, 14, 128), (3, 3, 128, 128), 1),
    "2-D, 1 wide, 256 channels": ((64, 14, 14, 256), (1, 1, 256, 256), 1),
    "3-D, 3 wide, 32 channels": ((2, 32, 32, 32, 32), (3, 3, 3, 32, 32), 1),
    "3-D, 3 wide, stride 2": ((4, 32, 32, 32, 16), (3, 3, 3, 16, 32), 2),
}


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings; the fields are the flags."""

    repeats: int = option(5, "repetitions, of which the median is reported")
    updates: int = option(3, "passes of the loop in one repetition")


def main(config: Config) -> None:
    learner.use("cpu")
    rows = []
    for name, (images, kernel, stride) in CASES.items():
        for where in ("alone", "in a loop"):
            count = 1 if where == "alone" else config.updates
            times = [
                seconds(form, images, kernel, stride, count, config.repeats)
                for form in (conv.conv_general_dilated, lax.conv_general_dilated)
            ]
            ours, xla = (1e3 * t for t in times)
            rows.append((name, where, f"{ours:.1f}", f"{xla:.1f}", f"{xla / ours:.1f}"))
    about = common.machine()
    report.show(
        f"{time.strftime('%Y-%m-%d')}; {about['cpu']}, {about['cores']} cores; "
        f"jax {jax.__version__}; median of {config.repeats}",
        ("convolution", "", "medjax ms", "XLA ms", "XLA / medjax"),
        rows,
    )


def seconds(
    form: Callable[..., Array],
    images: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: int,
    count: int,
    repeats: int,
) -> float:
    """The median seconds of one forward pass with both gradients."""
    ndim = len(images) - 2
    pads = [(kernel[0] // 2,) * 2] * ndim
    keys = jax.random.split(jax.random.key(0))
    start = (jax.random.normal(keys[0], images), 0.01 * jax.random.normal(keys[1], kernel))

    def energy(pair: tuple[Array, Array]) -> Array:
        out = form(*pair, (stride,) * ndim, pads, dimension_numbers=conv.LAYOUT[ndim + 2])
        return (out**2).mean()

    def body(i: int, pair: tuple[Array, Array]) -> tuple[Array, Array]:
        return jax.tree.map(lambda p, g: p - 1e-3 * g, pair, jax.grad(energy)(pair))

    program = jax.jit(
        lambda pair: body(0, pair) if count == 1 else lax.fori_loop(0, count, body, pair)
    )
    times = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        jax.block_until_ready(program(start))
        times.append((time.perf_counter() - began) / count)
    return statistics.median(times[1:])


if __name__ == "__main__":
    app.run(main, Config)
