"""The network of agents: patches, heads and what they tell each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.models.qnet import SMALLEST_CROP, QNetwork, patches


def test_patches_are_blocks_of_the_image():
    x = jnp.arange(2 * 4 * 6 * 1.0).reshape(2, 4, 6, 1)
    out = patches(x, 2)
    assert out.shape == (2, 2, 3, 4)
    np.testing.assert_array_equal(out[0, 1, 2], [16, 17, 22, 23])  # rows 2-3, columns 4-5


@pytest.fixture(scope="module")
def crops():
    return jax.random.normal(jax.random.key(1), (2, 3, 9, 9, 2))


def outputs(crops, **options):
    net = QNetwork(3, 4, width=4, hidden=8, num_levels=2, **options)
    level = jnp.zeros(crops.shape[:2], jnp.int32)
    params = net.init(jax.random.key(0), crops, level)
    return net, params, net.apply(params, crops, level)


@pytest.mark.parametrize("communicate", [False, True])
def test_agents_hear_each_other_only_if_they_are_to(crops, communicate):
    net, params, q = outputs(crops, communicate=communicate)
    assert q.shape == (2, 3, 4)
    level = jnp.zeros((2, 3), jnp.int32)
    other = net.apply(params, crops.at[0, 1].add(1.0), level)
    changed = np.abs(other - q).max(-1) > 1e-6
    wanted = [[communicate, True, communicate], [False] * 3]
    np.testing.assert_array_equal(changed, wanted)


def test_each_landmark_has_a_head_of_its_own_and_knows_its_scale(crops):
    net, params, _ = outputs(crops)
    same = jnp.broadcast_to(crops[:, :1], crops.shape)
    level = jnp.zeros((2, 3), jnp.int32)
    q = net.apply(params, same, level)
    assert np.abs(q[:, 0] - q[:, 1]).max() > 1e-3
    finer = net.apply(params, same, level.at[0, 0].set(1))
    changed = np.abs(finer - q).max(-1) > 1e-6
    np.testing.assert_array_equal(changed, [[True, False, False], [False] * 3])


def test_dueling_centres_the_advantages(crops):
    """Wang et al., equation 9: the mean over actions is the value, what remains the advantages."""
    net, params, q = outputs(crops, dueling=True)

    def without(name):
        kept = {
            k: jax.tree.map(jnp.zeros_like, v) if k == name else v
            for k, v in params["params"].items()
        }
        return net.apply({"params": kept}, crops, jnp.zeros((2, 3), jnp.int32))

    mean = q.mean(-1, keepdims=True)
    np.testing.assert_allclose(without("advantage"), jnp.broadcast_to(mean, q.shape), atol=1e-5)
    np.testing.assert_allclose(without("value"), q - mean, atol=1e-5)
    assert np.abs(q - mean).max() > 1e-3
    assert np.abs(mean).max() > 1e-3


@pytest.mark.parametrize(("side", "length"), [(SMALLEST_CROP, 64), (45, 64 * 4)])
def test_the_convolutions_leave_what_they_should(side, length):
    """35: 33, 16, 14, 7, 6, 3 and 1; 45: 43, 21, 19, 9, 8, 4 and 2, a side."""
    net = QNetwork(1, 4, trunk="convolutions", hidden=8)
    crops, level = jnp.zeros((1, 1, side, side, 2)), jnp.zeros((1, 1), jnp.int32)
    shapes = jax.eval_shape(net.init, jax.random.key(0), crops, level)
    assert shapes["params"]["shared"]["kernel"].shape == (length, 8)
