"""Linear interpolation with both gradients: by JAX, by medjax, and by its library.

    python -m benchmarks.interpolation --side=64 --channels=3

A step warps a volume by a field of about a voxel, with the gradients to both. The sides take turns;
compiling is told of apart. `JAX` is its `map_coordinates`; `medjax, built` is with the library of
`medjax build`.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates

from benchmarks import common, learner
from benchmarks.common import Row
from medjax import app, native
from medjax.config import option
from medjax.errors import UserError
from medjax.ops import grid, interpolation
from medjax.typing import Array


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings; the fields are the flags."""

    side: int = option(64, "of the volume")
    channels: int = option(3, "of a voxel; a displacement has 3")
    repeats: int = option(7, "repetitions, of which the median is reported")
    json: str = option("", "file for the same as JSON")


def main(config: Config) -> None:
    learner.use("cpu")
    busy = common.busy_cores()
    compiled = {"JAX": compile_step(of_jax, config), "medjax": compile_step(of_medjax, config)}
    with contextlib.suppress(UserError):  # not built: a row less
        learner.use("cpu", compiled=True)
        compiled["medjax, built"] = compile_step(of_medjax, config, built=True)
    times = common.take_turns(
        {name: seconds_of(step) for name, (step, _) in compiled.items()}, repeats=config.repeats
    )
    about = learner.about()
    common.report(
        f"interpolation of {config.channels} channels at {config.side}^3 places, with both "
        f"gradients, {config.repeats} repetitions",
        [Row(name, times[name], compiled[name][1]) for name in compiled],
        busy=busy,
        versions=about["versions"],
        device=about["device"],
        path=config.json,
    )


def of_jax(image: Array, where: Array) -> Array:
    """As a user of JAX would."""

    def of_channel(channel: Array) -> Array:
        return map_coordinates(channel, list(where), order=1, mode="nearest")

    return jax.vmap(of_channel, in_axes=-1, out_axes=-1)(image)


def of_medjax(image: Array, where: Array) -> Array:
    """As the library's warps do."""
    return interpolation.sample(image, where, fill=None)


def compile_step(
    form: Callable[[Array, Array], Array], config: Config, *, built: bool = False
) -> tuple[Callable[[], Any], float]:
    """A step, and the seconds that it took to trace and compile."""
    shape = (config.side,) * 3
    keys = jax.random.split(jax.random.key(0))
    image = jax.random.normal(keys[0], (*shape, config.channels))
    where = grid.identity_grid(shape) + jax.random.normal(keys[1], (3, *shape))

    def energy(image: Array, where: Array) -> Array:
        return jnp.square(form(image, where)).sum()

    began = time.perf_counter()
    with contextlib.nullcontext() if built else native.set_aside():
        lowered = jax.jit(jax.value_and_grad(energy, argnums=(0, 1))).lower(image, where)
    program = lowered.compile()
    return lambda: program(image, where), time.perf_counter() - began


def seconds_of(step: Callable[[], Any]) -> Callable[[], float]:
    """Runs it once and says how long it took."""

    def run() -> float:
        began = time.perf_counter()
        jax.block_until_ready(step())
        return time.perf_counter() - began

    return run


if __name__ == "__main__":
    app.run(main, Config)
