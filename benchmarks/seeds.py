"""Eight seeds trained as one program, against the same eight one after another.

    python -m benchmarks.seeds
    python -m benchmarks.seeds --device=gpu

A step is one update of every seed. Both ways take turns; compiling is told of apart. On a CPU the
one program also runs its seeds one after another (see `medjax.train.step.over_seeds`).
"""

import dataclasses
import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import common, learner
from benchmarks.cases import Case
from benchmarks.common import Row
from medjax import app
from medjax.config import option
from medjax.errors import UserError
from medjax.train.state import count_parameters
from medjax.train.step import Advance, over_seeds

CASE = Case("resnet_slim", (28, 28, 1), 10, batch=64, updates=4)


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings; the fields are the flags."""

    seeds: int = option(8, "how many")
    batch: int = option(64, "examples a step, of one seed")
    updates: int = option(4, "steps in one repetition")
    repeats: int = option(7, "repetitions, of which the median is reported")
    dtype: str = option("float32", "of the computation", choices=("float32", "bfloat16"))
    device: str = option("cpu", "where", choices=("cpu", "gpu"))
    json: str = option("", "file for the same as JSON")


class Learner:
    """What a program is given, and the state that it gives back."""

    def __init__(self, program: Any, key: Any, state: Any, data: Any):
        self._program, self._key, self._state, self._data = program, key, state, data

    def train(self, count: int) -> None:
        """Does `count` updates."""
        self._state, _ = self._program(self._key, self._state, self._data, jnp.int32(count))
        jax.block_until_ready(self._state)


def main(config: Config) -> None:
    if min(config.seeds, config.batch, config.updates, config.repeats) < 1:
        raise UserError("--seeds, --batch, --updates and --repeats must be at least 1")
    learner.use(config.device)
    busy = common.busy_cores()
    init, advance = learner.make(CASE, dtype=config.dtype)
    keys = jax.vmap(jax.random.key)(jnp.arange(config.seeds))
    states = jax.jit(over_seeds(init, (0,)))(keys)
    parameters = count_parameters(states.params) // config.seeds
    rows = measure(config, advance, keys, states)
    about = learner.about()
    common.report(
        f"{config.seeds} seeds of {CASE.model}, batch {config.batch} of "
        f"{'x'.join(map(str, CASE.shape))} each, {config.dtype}, {parameters:,} parameters "
        f"each, {config.repeats} repetitions",
        rows,
        busy=busy,
        versions=about["versions"],
        device=about["device"],
        path=config.json,
    )


def measure(config: Config, advance: Advance, keys: Any, states: Any) -> list[Row]:
    """Times both ways in turn."""
    data = learner.data(CASE, batch=config.batch)
    each = [(keys[i], jax.tree.map(lambda x, i=i: x[i], states)) for i in range(config.seeds)]
    together = over_seeds(advance, (0, 0, None, None))
    many, many_seconds = learner.compiled(together, keys, states, data)
    one, one_seconds = learner.compiled(advance, *each[0], data)
    at_once = [Learner(many, keys, states, data)]
    in_turn = [Learner(one, key, state, data) for key, state in each]
    names = {
        f"{config.seeds} seeds at once": (at_once, many_seconds),
        f"{config.seeds} seeds one after another": (in_turn, one_seconds),
    }
    found = common.take_turns(
        {name: partial(seconds, learners, config.updates) for name, (learners, _) in names.items()},
        repeats=config.repeats,
    )
    return [Row(name, times, names[name][1]) for name, times in found.items()]


def seconds(learners: list[Learner], updates: int) -> float:
    """Seconds a step, when each learner does its updates before the next."""
    began = time.perf_counter()
    for one in learners:
        one.train(updates)
    return (time.perf_counter() - began) / updates


if __name__ == "__main__":
    app.run(main, Config)
