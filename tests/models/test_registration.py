"""Networks that register: the identity before training, in 2-D and 3-D."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax import models
from medjax.models.registration import DualStreamPyramid

SIZES = {2: (32, 16), 3: (16, 16, 8)}


@pytest.mark.parametrize("name", models.REGISTRATORS)
@pytest.mark.parametrize("ndim", SIZES)
def test_untrained_they_are_the_identity_exactly(name, ndim):
    network = models.registrator(name, width=4, levels=3)
    pairs = jax.random.uniform(jax.random.key(1), (2, *SIZES[ndim], 2))
    u, _ = jax.jit(lambda key: network.init_with_output(key, pairs, train=False))(jax.random.key(0))
    assert u.shape == (2, *(n // 2 for n in SIZES[ndim]), ndim) and u.dtype == jnp.float32
    assert (np.asarray(u) == 0).all()


@pytest.mark.parametrize("name", models.REGISTRATORS)
def test_every_weight_learns(name):
    network = models.registrator(name, width=4, levels=3, steps=2)
    pairs = jax.random.uniform(jax.random.key(1), (1, *SIZES[2], 2))
    params = jax.jit(lambda key: network.init(key, pairs, train=False)["params"])(jax.random.key(0))
    noise = jax.random.normal(jax.random.key(2), (1, 16, 8, 2))
    params = jax.tree.map(
        lambda p: p + 0.05 * jax.random.normal(jax.random.key(3), p.shape), params
    )

    def total(p):
        return (noise * network.apply({"params": p}, pairs, train=True)).sum()

    slopes = jax.jit(jax.grad(total))(params)
    dead = [
        jax.tree_util.keystr(path)
        for path, slope in jax.tree_util.tree_leaves_with_path(slopes)
        if not np.abs(np.asarray(slope)).max() > 0
    ]
    # Instance norm takes away whatever a bias before it adds.
    assert [d for d in dead if not (d.endswith("['bias']") and "encode" in d)] == []


def test_the_images_of_a_pair_have_one_encoder():
    """Exchanged, the features of the two are exchanged too: no parameter is of one alone."""
    network = DualStreamPyramid(width=4, levels=3)
    pairs = jax.random.uniform(jax.random.key(1), (1, *SIZES[2], 2))
    shapes = jax.eval_shape(lambda key: network.init(key, pairs, train=False), jax.random.key(0))
    params = shapes["params"]
    assert params["encode0"]["conv"]["conv"]["kernel"].shape[-2] == 1


def test_bfloat16_answers_in_float32():
    network = models.registrator("dual_pyramid", width=4, levels=2, dtype="bfloat16")
    pairs = jnp.zeros((1, 8, 8, 2))
    u, _ = jax.eval_shape(
        lambda key: network.init_with_output(key, pairs, train=False), jax.random.key(0)
    )
    assert u.dtype == jnp.float32
