"""The medjax side of `search --mode=update`."""

import sys
import time

import jax
import jax.numpy as jnp

from benchmarks import learner, sides
from benchmarks.cases import Job
from medjax.models.qnet import QNetwork
from medjax.ops.preprocess import Preprocessing
from medjax.tasks.search import task as search
from medjax.tasks.search.environment import Levels, Rules
from medjax.train import optim, state
from medjax.train.step import make_step


class Medjax:
    """Updates on one batch of crops."""

    def __init__(self, job: Job):
        learner.use(job.device, compiled=learner.NATIVE in sys.argv)
        crop, history = map(int, job.case.split(","))
        rules = Rules((crop,) * 3, history=history)
        one = Levels(jnp.array([1]), jnp.array([1]), jnp.array([1.0]))
        game = search.Game(one, rules, rules, search.Learning(variant="double"))
        task = search.make(
            QNetwork(1, 6, trunk="convolutions"),
            num_landmarks=1,
            game=game,
            preprocessing=Preprocessing(0.0, 255.0, (0.5,), (0.3,)),
        )
        optimizer = optim.make("adamw", learning_rate=1e-3, steps=10**6)
        params = jax.jit(task.init)(jax.random.key(0))
        self._state = state.create(params, {}, optimizer)
        self._data = {**batch(job.batch, crop, history), "target": jax.tree.map(jnp.copy, params)}
        update = jax.jit(make_step(task.loss, optimizer))
        began = time.perf_counter()
        self.program = update.lower(jax.random.key(0), self._state, self._data).compile()
        self.about = {
            **learner.about(),
            "compile_seconds": time.perf_counter() - began,
            "parameters": state.count_parameters(params),
        }

    def advance(self, count: int) -> None:
        for _ in range(count):
            self._state, self._logs = self.program(jax.random.key(0), self._state, self._data)

    def wait(self) -> float:
        return float(self._logs["loss"])


def batch(size: int, crop: int, history: int):
    """Random crops and what was learned from them."""
    one, two, three = jax.random.split(jax.random.key(1), 3)
    shape = (size, 1, crop, crop, crop, history)
    zeros = jnp.zeros((size, 1), jnp.int32)
    return {
        "seen": jax.random.randint(one, shape, 0, 255, jnp.uint8),
        "level": zeros,
        "seen_after": jax.random.randint(two, shape, 0, 255, jnp.uint8),
        "level_after": zeros,
        "action": jax.random.randint(three, (size, 1), 0, 6),
        "reward": jnp.ones((size, 1)),
        "discount": jnp.full((size, 1), 0.9),
        "weight": jnp.ones(size),
    }


if __name__ == "__main__":
    sides.serve(Medjax)
