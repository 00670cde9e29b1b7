"""Losses of masks: by hand, and as each other's special cases."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax import losses

# Two pixels and two classes; the probabilities are 3/4 and 1/4, then 1/4 and 3/4.
LOGITS = jnp.log(jnp.array([[[3.0, 1.0], [1.0, 3.0]]]))
FOREGROUND = jnp.array([[[0.0, 1.0], [0.0, 1.0]]])  # both pixels


def test_soft_dice_by_hand():
    """Of the foreground both = 1/4 + 3/4, predicted = 1, reference = 2."""
    overlap = losses.mask_overlap(LOGITS, FOREGROUND)
    assert losses.soft_dice(overlap, smooth=0.0) == pytest.approx(1 - 2 * 1 / 3)


def test_the_dice_of_v_net_by_hand():
    """The squares are 1/16 + 9/16 and 2."""
    overlap = losses.mask_overlap(LOGITS, FOREGROUND, power=2)
    assert losses.soft_dice(overlap, smooth=0.0) == pytest.approx(1 - 2 * 1 / (10 / 16 + 2))


def test_tversky_by_hand_and_of_one_half_it_is_dice():
    """Nothing is too much, and one of two is missing."""
    overlap = losses.mask_overlap(LOGITS, FOREGROUND)
    loss = losses.tversky(overlap, false_positive=0.3, false_negative=0.7, smooth=0.0)
    assert loss == pytest.approx(1 - 1 / 1.7)
    half = losses.tversky(overlap, false_positive=0.5, false_negative=0.5, smooth=0.0)
    assert half == pytest.approx(float(losses.soft_dice(overlap, smooth=0.0)))


def test_a_class_that_both_lack_costs_nothing():
    logits = jnp.array([[[50.0, 0.0, -50.0], [0.0, 50.0, -50.0]]])
    target = jax.nn.one_hot(jnp.array([[0, 1]]), 3)
    assert losses.soft_dice(losses.mask_overlap(logits, target)) == pytest.approx(0.0, abs=1e-5)


def test_a_batch_as_one_image_is_that_image():
    keys = jax.random.split(jax.random.key(0))
    logits = jax.random.normal(keys[0], (2, 3, 4, 5))
    target = jax.nn.one_hot(jax.random.randint(keys[1], (2, 3, 4), 0, 5), 5)
    by_case = jax.vmap(losses.mask_overlap)(logits, target)
    summed = jax.tree.map(lambda x: x.sum(0), by_case)
    joined = losses.mask_overlap(logits.reshape(6, 4, 5), target.reshape(6, 4, 5))
    np.testing.assert_allclose(losses.soft_dice(summed), losses.soft_dice(joined), rtol=1e-5)


def test_the_mean_over_voxels_by_hand():
    """`-log 1/4` and `-log 3/4`; the focal loss weighs them by 9/16 and 1/16."""
    parts = -np.log([1 / 4, 3 / 4])
    loss = losses.mean_over_voxels(losses.cross_entropy, LOGITS, FOREGROUND)
    assert loss == pytest.approx(parts.mean())
    focal = losses.mean_over_voxels(losses.focal, LOGITS, FOREGROUND)
    assert focal == pytest.approx((parts * [9 / 16, 1 / 16]).mean())


def test_the_boundary_loss_by_hand():
    distance = jnp.array([[[0.0, -2.0], [0.0, 1.0]]])
    assert losses.boundary(LOGITS, distance) == pytest.approx((-2.0 / 4 + 3 / 4) / 2)
