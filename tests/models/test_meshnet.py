"""MeshNet: its size, how far it sees, and the importer of published weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.errors import UserError
from medjax.models import meshnet, pretrained
from tests.conftest import real_data

NET = meshnet.MeshNet(3)


@pytest.fixture(scope="module")
def shapes():
    return jax.eval_shape(
        lambda: NET.init(jax.random.key(0), jnp.zeros((1, 8, 8, 8, 1)), train=False)
    )


def test_it_is_small(shapes):
    assert sum(x.size for x in jax.tree.leaves(shapes)) == 5_598


def test_it_sees_46_voxels_to_each_side():
    """Twice the sum of the dilations, and itself."""
    net, x = meshnet.MeshNet(1, width=1), jnp.ones((1, 121, 1, 1))
    ones = jax.tree.map(
        lambda leaf: jnp.ones(leaf.shape),
        jax.eval_shape(lambda: net.init(jax.random.key(0), x, train=False)),
    )
    slope = jax.grad(lambda x: net.apply(ones, x, train=False)[0, 60, 0, 0])(x)
    seen = np.flatnonzero(slope[0, :, 0, 0])
    assert (seen.min(), seen.max()) == (60 - 46, 60 + 46)


def test_weights_of_another_network_are_refused(shapes):
    with pytest.raises(UserError, match="the weights have 2 layers where 10 are needed"):
        meshnet.published_weights(shapes, {"3.kernel": np.zeros(1)})


def test_published_weights_have_the_shapes_that_are_needed(shapes):
    tensors = pretrained.read(real_data("weights") / "brainchop_model5_gw_ae.safetensors")
    variables = meshnet.published_weights(shapes, tensors)
    kernel = variables["params"]["conv_0"]["kernel"]
    np.testing.assert_array_equal(kernel, tensors["21.kernel"])
    out = NET.apply(variables, jnp.zeros((1, 9, 9, 9, 1)), train=False)
    assert out.shape == (1, 9, 9, 9, 3) and jnp.isfinite(out).all()
    del tensors["21.kernel"], tensors["21.bias"]
    with pytest.raises(UserError, match="the weights have 9 layers"):
        meshnet.published_weights(shapes, tensors)
