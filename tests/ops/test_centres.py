"""Boxes as peaks of maps: by hand, there and back, in 2-D and 3-D."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax import losses
from medjax.ops import centres


def test_targets_of_one_box_by_hand():
    """A box of 8 x 16 about the voxel (2, 3) of a map of stride 4, which lies at 9.5, 13.5."""
    box = jnp.array([[5.5, 5.5, 13.5, 21.5], [np.nan] * 4])
    made = centres.encode(box, jnp.array([1, 0]), shape=(6, 8), stride=4, num_classes=2)
    np.testing.assert_array_equal(np.argwhere(made.heat == 1.0), [[2, 3, 1]])
    sigma = (max(8 / 4 / 6, 0.6), 16 / 4 / 6)
    expected = np.exp(-0.5 * ((1 / sigma[0]) ** 2 + (2 / sigma[1]) ** 2))
    assert float(made.heat[3, 5, 1]) == pytest.approx(expected, rel=1e-5)
    assert float(made.heat[..., 0].max()) == 0.0
    np.testing.assert_allclose(made.box[2, 3], box[0])
    assert float(made.weight[2, 3]) == 1.0 and float(made.weight[0, 0]) == 0.0


def test_an_image_without_boxes_has_no_peak():
    made = centres.encode(
        jnp.full((3, 4), jnp.nan), jnp.zeros(3, int), shape=(4, 4), stride=2, num_classes=1
    )
    assert float(made.heat.max()) == float(made.weight.max()) == 0.0


@pytest.mark.parametrize("ndim", [2, 3])
def test_boxes_come_back_from_their_targets(ndim, rng):
    """Middles that lie at voxels of the map, and no two boxes near one another."""
    shape, stride = (12, 10, 8)[:ndim], 4
    at = np.array([[2, 2, 2], [9, 7, 5], [2, 7, 5]])[:, :ndim]
    middle = stride * at + (stride - 1) / 2
    half = rng.uniform(3, 7, middle.shape)
    boxes = jnp.asarray(np.concatenate([middle - half, middle + half], 1), jnp.float32)
    labels = jnp.array([0, 1, 1])
    made = centres.encode(boxes, labels, shape=shape, stride=stride, num_classes=2)
    here = centres.places(shape, stride=stride)
    low, high = jnp.split(made.box, 2, -1)
    distances = jnp.concatenate([here - low, high - here], -1) / stride
    decoded = centres.decode(made.heat, distances, stride=stride, most=20, overlap=0.5)
    best = decoded.scores == 1.0
    assert int(best.sum()) == 3
    order = np.lexsort(np.asarray(decoded.boxes)[best].T)
    expected = np.lexsort(np.asarray(boxes).T)
    np.testing.assert_allclose(decoded.boxes[best][order], boxes[expected], atol=1e-4)
    np.testing.assert_array_equal(decoded.labels[best][order], labels[expected])


def test_of_two_boxes_at_one_place_the_lower_goes_unless_it_is_of_another_class():
    heat = jnp.zeros((1, 8, 2)).at[0, 2, 0].set(0.9).at[0, 4, 0].set(0.8).at[0, 4, 1].set(0.7)
    distances = jnp.full((1, 8, 4), 3.0)  # of 6 voxels; those two apart share 2/3 of either
    kept = centres.decode(heat, distances, stride=1, most=3, overlap=0.4)
    np.testing.assert_allclose(kept.scores, [0.9, np.nan, 0.7])
    np.testing.assert_array_equal(kept.labels, [0, 0, 1])


def test_the_focal_loss_of_peaks_by_hand():
    logits = jnp.array([[[0.0], [1.0], [-2.0]]])
    target = jnp.array([[[1.0], [0.5], [0.0]]])
    p = 1 / (1 + np.exp(-np.array([0.0, 1.0, -2.0])))
    expected = -(
        (1 - p[0]) ** 2 * np.log(p[0])
        + 0.5**4 * p[1] ** 2 * np.log(1 - p[1])
        + p[2] ** 2 * np.log(1 - p[2])
    )
    assert float(losses.peak_focal(logits, target)) == pytest.approx(expected, rel=1e-5)
    slope = jax.grad(lambda x: losses.peak_focal(x, target))(100.0 * logits)
    assert np.isfinite(slope).all()
