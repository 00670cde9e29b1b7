import functools

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from medjax.ops.order import shuffled


@functools.cache
def epoch_of(size: int):
    """One program a size."""
    return jax.jit(
        lambda seed, epoch: jax.vmap(lambda p: shuffled(jax.random.key(seed), p, size=size))(
            epoch * size + jnp.arange(size)
        )
    )


@given(
    size=st.sampled_from([1, 2, 3, 4, 5, 16, 17, 63, 64, 65, 300]),
    seed=st.integers(0, 10**6),
    epoch=st.integers(0, 5),
)
def test_every_epoch_is_a_permutation(size, seed, epoch):
    np.testing.assert_array_equal(np.sort(epoch_of(size)(seed, epoch)), np.arange(size))


def test_epochs_and_keys_differ():
    def order(seed, epoch):
        return np.asarray(
            jax.vmap(lambda p: shuffled(jax.random.key(seed), p, size=1000))(
                epoch * 1000 + jnp.arange(1000)
            )
        )

    first = order(0, 0)
    for other in (order(0, 1), order(1, 0), np.arange(1000)):
        assert (first == other).mean() < 0.02


def test_places_are_close_to_uniform():
    """Where example 0 stands, over 2,000 keys: chi-square over 10 bins, 9 degrees of freedom."""
    keys = jax.vmap(jax.random.key)(jnp.arange(2000))
    first = jax.vmap(lambda k: shuffled(k, jnp.int32(0), size=50))(keys)
    counts = np.bincount(np.asarray(first) // 5, minlength=10)
    assert ((counts - 200) ** 2 / 200).sum() < 27.9  # the 0.999 quantile


def test_every_order_of_four_is_about_as_frequent():
    """Over 4,800 epochs: chi-square of the 24 orders, 23 degrees of freedom."""
    epochs = jnp.arange(4800)
    order = jax.jit(
        jax.vmap(
            lambda e: jax.vmap(lambda p: shuffled(jax.random.key(0), p, size=4))(
                e * 4 + jnp.arange(4)
            )
        )
    )(epochs)
    _, counts = np.unique(np.asarray(order) @ [64, 16, 4, 1], return_counts=True)
    assert len(counts) == 24
    assert ((counts - 200) ** 2 / 200).sum() < 49.7  # the 0.999 quantile
