"""The medjax side of `transform`."""

import time

import jax
import jax.numpy as jnp

from benchmarks import learner, sides
from benchmarks.cases import Job
from medjax.ops.augment import Augmentation, Sample, augment_together

HOW = Augmentation(rotate_degrees=15, scale=0.1, translate=0.05, elastic=0.5, elastic_points=7)
LANDMARKS = 32


class Medjax:
    """One compiled program for the batch."""

    def __init__(self, job: Job):
        learner.use(job.device)
        shape = (int(job.case),) * 3
        image_key, point_key = jax.random.split(jax.random.key(0))
        images = jax.random.uniform(image_key, (job.batch, *shape, 1))
        points = jax.random.uniform(point_key, (job.batch, LANDMARKS, 3), maxval=shape[0] - 1.0)

        def vary(key, images, points):
            keys = jax.random.split(key, job.batch)
            return jax.vmap(lambda k, i, p: augment_together(k, Sample(i, p), augmentation=HOW))(
                keys, images, points
            )

        self._data, self._count = (images, points), 0
        began = time.perf_counter()
        self._program = jax.jit(vary).lower(jax.random.key(0), *self._data).compile()
        self.about = {**learner.about(), "compile_seconds": time.perf_counter() - began}

    def advance(self, count: int) -> None:
        for _ in range(count):
            self._count += 1
            self._out = self._program(jax.random.key(self._count), *self._data)

    def wait(self) -> float:
        return float(jnp.mean(jax.block_until_ready(self._out).image))


if __name__ == "__main__":
    sides.serve(Medjax)
