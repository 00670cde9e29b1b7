"""Networks of masks: shapes, gradients, coarser maps in training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax import models
from medjax.errors import UserError
from medjax.models import blocks
from medjax.tasks.segmentation.predictor import SegmentationPredictor
from medjax.tasks.segmentation.task import LossWeights, loss_of_maps, loss_parts

TINY = {
    "unet": {"width": 4, "levels": 2},
    "resenc_unet": {"width": 4, "levels": 2},
    "vnet": {"width": 2, "levels": 2},
    "wnet": {"width": 2},
    "meshnet": {"width": 2},
}


def test_every_network_is_tried():
    assert set(TINY) == set(models.SEGMENTERS)


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize(("ndim", "channels"), [(2, 3), (3, 1)])
def test_a_logit_a_class(name, ndim, channels):
    model = models.segmenter(name, num_classes=3, **TINY[name])
    x = jnp.zeros((2, *(16, 8, 8)[:ndim], channels))
    variables = jax.eval_shape(lambda: model.init(jax.random.key(1), x, train=False))
    out = jax.eval_shape(lambda v: model.apply(v, x, train=False), variables)
    assert out.shape == (*x.shape[:-1], 3) and out.dtype == jnp.float32


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_every_weight_has_a_gradient(name):
    model = models.segmenter(name, num_classes=3, **TINY[name])
    x = jax.random.normal(jax.random.key(0), (2, 16, 8, 3))
    variables = dict(jax.jit(lambda k: model.init(k, x, train=False))(jax.random.key(1)))
    params = variables.pop("params")

    def energy(params):
        out, _ = model.apply(
            {"params": params, **variables}, x, train=True, mutable=["batch_stats"]
        )
        maps = out if isinstance(out, tuple) else (out,)
        return sum(((m - 1.0) ** 3).sum() for m in maps)

    slopes = jax.jit(jax.grad(energy))(params)
    for path, slope in jax.tree_util.tree_leaves_with_path(slopes):
        where = jax.tree_util.keystr(path)
        # A bias before a norm has none: the norm takes it away.
        assert jnp.abs(slope).max() > 0 or "bias" in where, where


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_strided_convolution_is_xlas(ndim):
    layer = blocks.DownConv(5)
    x = jax.random.normal(jax.random.key(0), (2, *(4, 6, 8)[:ndim], 3))
    variables = layer.init(jax.random.key(1), x)
    layout = {2: ("NHWC", "HWIO", "NHWC"), 3: ("NDHWC", "DHWIO", "NDHWC")}[ndim]
    expected = jax.lax.conv_general_dilated(
        x, variables["params"]["kernel"], (2,) * ndim, "VALID", dimension_numbers=layout
    )
    np.testing.assert_allclose(layer.apply(variables, x), expected, atol=1e-5)


def test_coarser_levels_have_a_loss_of_half_the_weight():
    keys = jax.random.split(jax.random.key(0), 3)
    masks = jax.random.randint(keys[0], (2, 8, 12), 0, 3)
    fine, coarse = (
        jax.random.normal(k, (2, 8 // s, 12 // s, 3)) for k, s in zip(keys[1:], (1, 2), strict=True)
    )
    weights = LossWeights(dice_weight=0.0)
    both = loss_of_maps((fine, coarse), masks, num_classes=3, weights=weights)
    by_hand = [
        loss_parts(m, jax.nn.one_hot(masks[:, ::s, ::s], 3), weights=weights)["cross_entropy_loss"]
        for m, s in ((fine, 1), (coarse, 2))
    ]
    expected = (by_hand[0] + by_hand[1] / 2) / 1.5
    assert float(both["cross_entropy_loss"]) == pytest.approx(float(expected), rel=1e-5)


def test_which_networks_and_levels_may_be_supervised():
    for wrong in ({"model": "vnet"}, {"levels": 2}):
        with pytest.raises(UserError, match=r"`deep_supervision=1`: unet, resenc_unet have it"):
            SegmentationPredictor(deep_supervision=1, **wrong)._supervised_levels()
    model = models.segmenter("unet", num_classes=2, width=2, levels=3, supervised=1)
    x = jnp.zeros((1, 8, 8, 1))
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), x, train=False))
    maps = jax.eval_shape(lambda v: model.apply(v, x, train=True), variables)
    assert [m.shape for m in maps] == [(1, 8, 8, 2), (1, 4, 4, 2)]
