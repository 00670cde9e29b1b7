"""Networks of one's own compute as fast as medjax's."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from medjax import models


class Strided(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        x = nn.relu(nn.Conv(4, (3, 3), (2, 2))(x))
        return nn.Conv(6, (2, 2), feature_group_count=2, padding="VALID")(x).mean((1, 2))


def gradient(x):
    net = Strided()
    params = net.init(jax.random.key(0), x)

    def loss(params):
        return (net.apply(params, x) ** 2).sum()

    text = str(jax.make_jaxpr(jax.grad(loss))(params))
    return jax.grad(loss)(params), text


def test_a_module_of_ones_own_uses_the_convolution_that_is_fast_in_loops():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 9, 7, 2)), jnp.float32)
    plain, before = gradient(x)
    with models.use_fast_convolutions():
        ours, text = gradient(x)
    assert "platform_index" in text and "platform_index" not in before
    for a, b in zip(*map(jax.tree.leaves, (plain, ours)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert "platform_index" not in gradient(x)[1]  # it ends with the context
