"""medjax's sides of `conv`: the forms of `medjax.ops`, or with `xla` XLA's own."""

import sys
import time

import jax
from jax import lax

from benchmarks import learner, sides
from benchmarks.cases import Job
from benchmarks.convolutions import CONVOLUTIONS
from medjax.ops import conv
from medjax.typing import Array

Pair = tuple[Array, Array]


class Convolver:
    """Forward passes with both gradients, in a compiled loop as training uses them."""

    def __init__(self, job: Job):
        learner.use(job.device, compiled=learner.NATIVE in sys.argv)
        case = CONVOLUTIONS[job.case]
        form = lax.conv_general_dilated if "xla" in sys.argv else conv.conv_general_dilated
        ndim = len(case.images) - 2
        kernel = (*(case.taps,) * ndim, case.images[-1] // case.groups, case.features)
        keys = jax.random.split(jax.random.key(0))
        self._pair = jax.random.normal(keys[0], case.images), jax.random.normal(keys[1], kernel)

        def energy(pair: Pair) -> Array:
            pads = [(case.taps // 2,) * 2] * ndim
            strides, names = (case.stride,) * ndim, conv.LAYOUT[ndim + 2]
            out = form(
                *pair, strides, pads, dimension_numbers=names, feature_group_count=case.groups
            )
            return (out**2).mean()

        def body(i: int, pair: Pair) -> Pair:
            return jax.tree.map(lambda p, g: p - 1e-6 * g, pair, jax.grad(energy)(pair))

        began = time.perf_counter()
        program = jax.jit(lambda pair, count: lax.fori_loop(0, count, body, pair))
        self._program = program.lower(self._pair, 1).compile()
        self.about = {**learner.about(), "compile_seconds": time.perf_counter() - began}

    def advance(self, count: int) -> None:
        self._out = self._program(self._pair, count)

    def wait(self) -> float:
        return float(jax.block_until_ready(self._out)[1].sum())


if __name__ == "__main__":
    sides.serve(Convolver)
