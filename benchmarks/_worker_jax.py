"""The medjax side of `train_step`: one compiled program that does any number of updates."""

import jax
import jax.numpy as jnp

from benchmarks import learner, sides
from benchmarks.cases import CASES, Job
from medjax.train.state import count_parameters


class Medjax:
    """A network in training; the state is donated to each call."""

    def __init__(self, job: Job):
        learner.use(job.device)
        case = CASES[job.case]
        init, advance = learner.make(
            case.model, shape=case.shape, num_classes=case.num_classes, dtype=job.dtype)
        self._key = jax.random.key(0)
        self._data = learner.data(case.shape, num_classes=case.num_classes, batch=job.batch)
        self._state = jax.jit(init)(self._key)
        self._program, seconds = learner.compiled(advance, self._key, self._state, self._data)
        self.about = {**learner.about(), "compile_seconds": seconds,
                      "parameters": count_parameters(self._state.params)}

    def advance(self, count: int) -> None:
        self._state, logs = self._program(self._key, self._state, self._data, jnp.int32(count))
        self._loss, self._count = logs["loss"], count

    def wait(self) -> float:
        jax.block_until_ready(self._state)
        return float(self._loss) / self._count


if __name__ == "__main__":
    sides.serve(Medjax)
