import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax import models
from medjax.models import blocks, scn

TINY = {
    "scn": {"width": 4, "pool": 4, "reach": 3},
    "scn_local": {"width": 4},
    "scn2019": {"width": 4, "levels": 2, "pool": 4, "reach": 3},
    "unet": {"width": 4, "levels": 2},
    "conv": {"width": 4, "kernel": 3, "depth": 2},
    "downsampling": {"width": 4, "levels": 2},
}


def test_every_network_is_tried():
    assert set(TINY) == set(models.LANDMARKERS)


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("ndim", [2, 3])
def test_one_map_a_landmark_and_every_weight_has_a_gradient(name, ndim):
    model = models.landmarker(name, num_landmarks=3, **TINY[name])
    x = jax.random.normal(jax.random.key(0), (1, *(16, 8, 8)[:ndim], 1))
    variables = jax.jit(lambda k: model.init(k, x, train=False))(jax.random.key(1))

    def energy(params):
        out = model.apply({"params": params}, x, train=False)
        assert out.shape == (*x.shape[:-1], 3)
        return ((out - 1.0) ** 2).sum()

    slopes = jax.jit(jax.grad(energy))(variables["params"])
    for path, slope in jax.tree_util.tree_leaves_with_path(slopes):
        flat = bool(jnp.abs(slope).max() == 0)
        # A bias before instance norm has none: the norm takes it away.
        assert not flat or "conv" in jax.tree_util.keystr(path), path


def test_a_landmark_is_configured_by_the_others_only():
    layer = scn.OtherMaps(3)
    x = jax.random.normal(jax.random.key(0), (1, 6, 6, 3))
    variables = layer.init(jax.random.key(1), x)
    other = x.at[..., 1].add(1.0)
    change = layer.apply(variables, other) - layer.apply(variables, x)
    assert float(jnp.abs(change[..., 1]).max()) == 0.0
    assert float(jnp.abs(change[..., 0]).max()) > 0.0


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_transposed_convolution_is_xlas(ndim):
    layer = blocks.UpConv(5)
    x = jax.random.normal(jax.random.key(0), (2, *(3, 4, 5)[:ndim], 6))
    variables = layer.init(jax.random.key(1), x)
    layout = {2: ("NHWC", "HWIO", "NHWC"), 3: ("NDHWC", "DHWIO", "NDHWC")}[ndim]
    mirrored = jnp.flip(variables["params"]["kernel"], range(ndim))  # XLA correlates
    expected = jax.lax.conv_transpose(x, mirrored, (2,) * ndim, "VALID", dimension_numbers=layout)
    np.testing.assert_allclose(layer.apply(variables, x), expected, atol=1e-5)
