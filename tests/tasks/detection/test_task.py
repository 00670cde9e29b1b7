"""Detection as a task: mirrored views, and the options of a predictor."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax import models
from medjax.errors import UserError
from medjax.ops.preprocess import Preprocessing
from medjax.tasks.base import check_mirror
from medjax.tasks.detection import task

UNIT = Preprocessing(0.0, 1.0, (0.0,), (1.0,))


def make(mirror=()):
    network = models.detector("unet", num_classes=1, dtype="float32", width=4, levels=3, finest=1)
    return task.make(
        network,
        image_shape=(16, 24, 1),
        num_classes=1,
        preprocessing=UNIT,
        stride=2,
        most=5,
        mirror=mirror,
    )


def test_mirrored_distances_by_hand():
    """A row of two voxels, 1 and 2 from the left side, 4 and 3 from the right one."""
    distances = jnp.array([[[[9.0, 1.0, 8.0, 4.0], [9.0, 2.0, 8.0, 3.0]]]])
    mirrored = task.flip_distances(distances, (2,))
    np.testing.assert_array_equal(mirrored, [[[[9, 3, 8, 2], [9, 4, 8, 1]]]])
    np.testing.assert_array_equal(task.flip_distances(mirrored, (2,)), distances)
    np.testing.assert_array_equal(task.flip_distances(distances, ()), distances)


@pytest.mark.parametrize("axes", [(1,), (0, 1)])
def test_with_mirrored_views_a_mirrored_image_has_mirrored_boxes(axes, rng):
    made = make(axes)
    params, stats = make().init(jax.random.key(1))
    image = jnp.asarray(rng.random((1, 16, 24, 1)), jnp.float32)
    here = made.predict(params, stats, {"image": image})
    there = made.predict(params, stats, {"image": jnp.flip(image, 2)})
    np.testing.assert_allclose(here["scores"], there["scores"], rtol=1e-4)
    low, high = jnp.split(there["boxes"], 2, axis=-1)
    turned = jnp.stack([low[..., 0], 23 - high[..., 1], high[..., 0], 23 - low[..., 1]], -1)
    best = jnp.argmax(jnp.nan_to_num(here["scores"][0]))
    np.testing.assert_allclose(here["boxes"][0, best], turned[0, best], atol=1e-3)


@pytest.mark.parametrize("mirror", [(2,), (0, 0), (-1,)])
def test_axes_that_are_not_there_are_refused(mirror):
    with pytest.raises(UserError, match="`mirror`: name axes once"):
        check_mirror(mirror, axes=2)
