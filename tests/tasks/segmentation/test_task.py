"""Segmentation: losses by hand, slices of volumes, mirrored views, what is chosen from a set."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from medjax.config import replace_settings
from medjax.data.patches import UNKNOWN
from medjax.errors import UserError
from medjax.ops.preprocess import Preprocessing
from medjax.tasks.segmentation import suggest, task
from medjax.tasks.segmentation.predictor import SegmentationPredictor
from medjax.tasks.segmentation.task import LossWeights

PLAIN = Preprocessing(0.0, 1.0, (0.0,), (1.0,))


class Pointwise(nn.Module):
    """The logit of the structure is ten times the pixel less 5, plus a weight that starts at 0."""

    @nn.compact
    def __call__(self, x, *, train):
        shift = self.param("shift", nn.initializers.zeros, ())
        return jnp.concatenate([jnp.zeros_like(x), 10.0 * x - 5.0 + shift], -1)


def make(shape, **options):
    return task.make(
        Pointwise(), image_shape=(*shape, 1), num_classes=2, preprocessing=PLAIN, **options
    )


def loss_of(made, image, mask):
    params, stats = made.init(jax.random.key(0))
    batch = {"image": image, "mask": mask}
    value, (_, logs) = made.loss(jax.random.key(1), params, stats, batch)
    return float(value), {k: float(v) for k, v in logs.items()}


def test_losses_by_hand():
    image = jnp.array([[[1.0, 1.0], [0.0, 0.0]]])[..., None]
    mask = jnp.array([[[1, 0], [0, 0]]], jnp.uint8)
    p = 1 / (1 + np.exp(-5.0))  # of the structure where the pixel is 1; of the background at 0
    entropy = -(np.log(p) + np.log(1 - p) + 2 * np.log(p)) / 4
    dice = 1 - 2 * p / (2 * p + 2 * (1 - p) + 1)
    value, logs = loss_of(make((2, 2)), image, mask)
    assert logs["cross_entropy_loss"] == pytest.approx(entropy, rel=1e-5)
    assert logs["dice_loss"] == pytest.approx(dice, rel=1e-4)
    assert value == pytest.approx(entropy + dice, rel=1e-4)


def test_what_is_not_known_counts_nowhere():
    image = jnp.array([[[1.0, 1.0, 1.0], [0.0, 0.0, 1.0]]])[..., None]
    mask = jnp.array([[[1, 0, UNKNOWN], [0, 0, UNKNOWN]]], jnp.uint8)
    cut, _ = loss_of(make((2, 2)), image[:, :, :2], mask[:, :, :2])
    padded, _ = loss_of(make((2, 3)), image, mask)
    assert padded == pytest.approx(cut, rel=1e-5)


def test_what_augmentation_turns_in_is_not_known():
    """All is structure, and stays so: the corners that a rotation brings in are no background."""
    image, mask = jnp.ones((4, 16, 16, 1)), jnp.ones((4, 16, 16), jnp.uint8)
    moving = task.Augmentation(rotate_degrees=45.0, translate=0.3)
    value, _ = loss_of(make((16, 16), augmentation=moving), image, mask)
    still, _ = loss_of(make((16, 16)), image, mask)
    assert value == pytest.approx(still, rel=1e-3)


def test_slices_of_volumes_are_shown_as_pictures(rng):
    volume = jnp.asarray(rng.uniform(size=(2, 4, 6, 1, 1)), jnp.float32)
    flat, thin = make((4, 6)), make((4, 6, 1))
    params, stats = thin.init(jax.random.key(0))
    found = thin.predict(params, stats, {"image": volume})["probability"]
    alike = flat.predict(params, stats, {"image": volume[:, :, :, 0]})["probability"]
    assert found.shape == (2, 4, 6, 1, 2)
    np.testing.assert_allclose(found[:, :, :, 0], alike)


def test_mirrored_views_of_a_network_without_sides_change_nothing(rng):
    image = jnp.asarray(rng.uniform(size=(1, 4, 6, 1)), jnp.float32)
    params, stats = make((4, 6)).init(jax.random.key(0))
    plain, both = (
        make((4, 6), mirror=axes).predict(params, stats, {"image": image})["probability"]
        for axes in ((), (0, 1))
    )
    np.testing.assert_allclose(both, plain, atol=1e-6)


@pytest.mark.parametrize(
    "name", [n for n in LossWeights.__dataclass_fields__ if n != "boundary_weight"]
)
def test_each_loss_is_finite_and_least_where_all_is_right(name, rng):
    none = dict.fromkeys(LossWeights.__dataclass_fields__, 0.0)
    made = make((4, 4), weights=LossWeights(**{**none, name: 1.0}))
    mask = jnp.asarray(rng.integers(0, 2, (2, 4, 4)), jnp.uint8)
    right, _ = loss_of(made, mask[..., None].astype(jnp.float32), mask)
    wrong, _ = loss_of(made, 1.0 - mask[..., None].astype(jnp.float32), mask)
    assert np.isfinite([right, wrong]).all() and right < 0.05 < wrong


def test_the_boundary_loss_by_hand_in_a_batch():
    """Of a row of three pixels the last is the structure: 1.5 and 0.5 from its edge, then -0.5. Of
    probabilities of one half it is 1.5 / 2, over three pixels and one class."""
    logits, mask = jnp.zeros((1, 1, 3, 2)), jnp.array([[[0, 0, 1]]])
    weights = LossWeights(boundary_weight=0.1)
    value = task.loss_parts(logits, jax.nn.one_hot(mask, 2), weights=weights)["boundary_loss"]
    assert value == pytest.approx(0.1 * (1.5 + 0.5 - 0.5) / 2 / 3)
    first_unknown = jax.nn.one_hot(jnp.array([[[-1, 1, 1]]]), 2)
    value = task.loss_parts(logits, first_unknown, weights=weights)["boundary_loss"]
    assert value == pytest.approx(0.1 * (-0.5 - 1.5) / 2 / 2)


def test_the_boundary_loss_is_not_trained_alone():
    with pytest.raises(UserError, match="ends at empty masks"):
        LossWeights(cross_entropy_weight=0.0, dice_weight=0.0, boundary_weight=1.0)


def test_without_any_loss_it_is_refused():
    with pytest.raises(UserError, match="one must be positive"):
        LossWeights(cross_entropy_weight=0.0, dice_weight=0.0)


def test_coarse_or_short_axes_make_slices():
    same = np.array([[100, 100, 10]] * 3)
    assert suggest.thin_axis(same, None) == 2
    assert suggest.thin_axis(same, (1.0, 1.0, 1.0)) is None
    assert suggest.thin_axis(np.array([[60, 60, 60]]), (5.0, 1.0, 1.0)) == 0
    assert suggest.thin_axis(np.array([[64, 64]]), None) is None


def test_a_patch_holds_the_image_or_as_much_as_allowed():
    np.testing.assert_array_equal(
        suggest.fit_patch(np.array([35, 50, 36]), most=64**3, divisor=8), [40, 56, 40]
    )
    patch = suggest.fit_patch(np.array([512, 512, 100]), most=64**3, divisor=16)
    assert patch.prod() <= 64**3 and (patch % 16 == 0).all() and patch.max() - patch.min() <= 16


def test_a_network_says_which_patches_fit():
    predictor = replace_settings(SegmentationPredictor(), levels=4)
    assert predictor.divisor == 8
