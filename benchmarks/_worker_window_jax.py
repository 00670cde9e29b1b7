"""The medjax side of `window`: what evaluates and predicts masks."""

import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import learner, sides
from benchmarks.cases import CASES, Job
from medjax.outputs.masks.infer import predict_windows
from medjax.train.state import count_parameters


class Medjax:
    """A mask of a volume at each call; one seed."""

    def __init__(self, job: Job):
        learner.use(job.device, compiled=learner.NATIVE in sys.argv)
        side, window = map(int, job.case.split())
        case, self._patch = CASES["unet_3d"], (window,) * 3
        model = learner.network(case)
        rng = np.random.default_rng(0)
        self._image = rng.standard_normal((side,) * 3 + (1,), dtype=np.float32)
        shape = jnp.zeros((1, *self._patch, 1))
        variables = jax.jit(lambda k: model.init(k, shape, train=False))(jax.random.key(0))
        self._weights = jax.tree.map(lambda x: x[None], (dict(variables), {}))

        def answer(variables, _, batch):
            one = jax.tree.map(lambda x: x[0], variables)
            logits = model.apply(one, batch["image"], train=False)
            return {"probability": jax.nn.softmax(logits)[None]}

        began = time.perf_counter()
        self._predict = jax.jit(answer).lower(*self._weights, {"image": shape}).compile()
        self.about = {
            **learner.about(),
            "compile_seconds": time.perf_counter() - began,
            "parameters": count_parameters(variables["params"]),
        }

    def advance(self, count: int) -> None:
        for _ in range(count):
            shares = predict_windows(
                self._predict, self._weights, self._image, patch=self._patch, batch=1
            )
            self._mask = shares[0].argmax(-1)

    def wait(self) -> float:
        return float(self._mask.mean())


if __name__ == "__main__":
    sides.serve(Medjax)
