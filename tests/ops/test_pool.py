"""Pooling beside XLA's own: the same maxima, and gradients to the same voxels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from medjax.ops.pool import max_pool

CASES = [  # sides, window, stride, pad
    ((8, 6), 2, 2, 0),
    ((9, 7), 2, 2, 0),
    ((9, 8), 3, 2, 1),
    ((7, 7), 3, 1, 1),
    ((6, 7, 4), 2, 2, 0),
    ((6, 6, 6), 3, 2, 1),  # of so many slices XLA's own
    ((12,), 3, 3, 0),
]


def native(x, *, window, strides, pads):
    sides, steps = (1, *window, 1), (1, *strides, 1)
    return lax.reduce_window(x, -jnp.inf, lax.max, sides, steps, [(0, 0), *pads, (0, 0)])


@pytest.mark.parametrize(("sides", "window", "stride", "pad"), CASES)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_maxima_and_gradients_are_those_of_xla(sides, window, stride, pad, dtype):
    """With many ties, as after a ReLU: the first of a window gets all of its gradient."""
    rng, ndim = np.random.default_rng(0), len(sides)
    x = jnp.asarray(np.maximum(rng.integers(-3, 3, (2, *sides, 3)), 0), dtype)
    how = {"window": (window,) * ndim, "strides": (stride,) * ndim, "pads": ((pad, pad),) * ndim}
    expected = native(x, **how)
    np.testing.assert_array_equal(max_pool(x, **how), expected)
    weight = jnp.asarray(rng.integers(1, 9, expected.shape), dtype)  # whole: sums are exact

    def total(pool):
        return jax.grad(lambda x: (pool(x, **how) * weight).sum())(x)

    np.testing.assert_array_equal(total(max_pool), total(native))


def test_it_is_vmapped_and_padding_never_wins():
    x = -jnp.ones((3, 2, 4, 4, 1))
    how = {"window": (3, 3), "strides": (2, 2), "pads": ((1, 1), (1, 1))}
    out = jax.vmap(lambda x: max_pool(x, **how))(x)
    assert out.shape == (3, 2, 2, 2, 1)
    assert (out == -1).all()
