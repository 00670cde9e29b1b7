"""The medjax side of `train_step`: one compiled program that does any number of updates."""

import sys
import time

import jax
import jax.numpy as jnp

from benchmarks import learner, sides
from benchmarks.cases import CASES, Job
from medjax.train.state import count_parameters


class Medjax:
    """A network in training; the state is donated to each call."""

    def __init__(self, job: Job):
        learner.use(job.device, compiled=learner.NATIVE in sys.argv)
        case = CASES[job.case]
        init, advance = learner.make(case, dtype=job.dtype)
        self._key = jax.random.key(0)
        self._data = learner.data(case, batch=job.batch)
        self._state = jax.jit(init)(self._key)
        self.program, seconds = learner.compiled(advance, self._key, self._state, self._data)
        self.about = {
            **learner.about(),
            "compile_seconds": seconds,
            "parameters": count_parameters(self._state.params),
        }

    def advance(self, count: int) -> None:
        self._state, logs = self.program(self._key, self._state, self._data, jnp.int32(count))
        self._loss, self._count = logs["loss"], count

    def wait(self) -> float:
        jax.block_until_ready(self._state)
        return float(self._loss) / self._count


class Predictor:
    """A network that answers; one call an update."""

    def __init__(self, job: Job):
        learner.use(job.device, compiled=learner.NATIVE in sys.argv)
        case = CASES[job.case]
        model = learner.network(case, dtype=job.dtype)
        self._images = learner.data(case, batch=job.batch)["image"][0]
        self._variables = jax.jit(lambda k: model.init(k, self._images, train=False))(
            jax.random.key(0)
        )
        began = time.perf_counter()
        self.program = (
            jax.jit(lambda v, x: model.apply(v, x, train=False))
            .lower(self._variables, self._images)
            .compile()
        )
        self.about = {
            **learner.about(),
            "compile_seconds": time.perf_counter() - began,
            "parameters": count_parameters(self._variables["params"]),
        }

    def advance(self, count: int) -> None:
        for _ in range(count):
            self._out = self.program(self._variables, self._images)

    def wait(self) -> float:
        return float(jax.block_until_ready(self._out).ravel()[0])


if __name__ == "__main__":
    sides.serve(lambda job: Predictor(job) if job.mode == "predict" else Medjax(job))
