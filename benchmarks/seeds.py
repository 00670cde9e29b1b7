"""Eight seeds trained as one program, against the same eight one after another.

    python -m benchmarks.seeds
    python -m benchmarks.seeds --device=gpu

A step is one update of every seed. Both ways take turns; compiling is told of apart. On a CPU the
one program also runs its seeds one after another (see `medjax.train.step.over_seeds`).
"""

import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import common, learner
from benchmarks.common import Row
from medjax import app
from medjax.errors import UserError
from medjax.train.state import count_parameters
from medjax.train.step import Advance, over_seeds

option = app.option
MODEL, SHAPE, NUM_CLASSES = "resnet_slim", (28, 28, 1), 10


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
    """A training program and the state that it is given and gives back."""

    def __init__(self, advance: Advance, key: Any, state: Any, data: Any):
        self._given, self.state = (key, data), jax.tree.map(jnp.copy, state)
        began = time.perf_counter()
        self._program = jax.jit(advance, donate_argnums=1).lower(
            key, self.state, data, jnp.int32(1)).compile()
        self.compile_seconds = time.perf_counter() - began

    def train(self, count: int) -> None:
        """Starts `count` updates."""
        key, data = self._given
        self.state, _ = self._program(key, self.state, data, jnp.int32(count))
