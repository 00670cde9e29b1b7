import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.ops import heatmap as maps
from medjax.ops.augment import Augmentation, Sample, augment_together
from medjax.ops.preprocess import Preprocessing
from medjax.tasks.heatmap import task as heatmap

PLAIN = Preprocessing(0.0, 255.0, (0.0,), (1.0,))


class Fixed(nn.Module):
    """Maps that do not depend on the image: one parameter a voxel."""

    shape: tuple[int, ...]

    @nn.compact
    def __call__(self, x, *, train):
        maps = self.param("maps", nn.initializers.normal(0.1), self.shape)
        return jnp.broadcast_to(maps, (x.shape[0], *self.shape))


def make(shape=(9, 8, 2), **options):
    return heatmap.make(
        Fixed(shape),
        image_shape=(*shape[:-1], 1),
        num_landmarks=shape[-1],
        preprocessing=PLAIN,
        **{"sigma": 1.0, **options},
    )


def score(logits, points, known, *, loss="l2", **options):
    width = jnp.zeros(len(points))  # log of 1
    return heatmap.example_loss(logits, points, known, width, kind=loss, sigma=1.0, **options)


POINTS = jnp.array([[3.0, 4.0], [6.0, 2.0]])
BOTH = jnp.array([True, True])


def targets(points, shape=(9, 8), sigma=1.0):
    return jnp.stack([maps.gaussian(p, jnp.float32(sigma), shape=shape) for p in points], -1)


def test_the_l2_loss_by_hand():
    assert score(targets(POINTS), POINTS, BOTH) == pytest.approx(0.0, abs=1e-6)
    high = targets(POINTS) + 0.5  # half a unit over 72 voxels: 0.5 * 72 * 0.25 = 9
    assert score(high, POINTS, BOTH) == pytest.approx(9.0, rel=1e-5)


def test_the_cross_entropy_is_least_at_the_target():
    logits = jnp.log(targets(POINTS) + 1e-9)
    share = np.asarray(targets(POINTS)[..., 0]) / np.asarray(targets(POINTS)[..., 0]).sum()
    entropy = -(share * np.log(share)).sum()
    found = score(logits, POINTS, BOTH, loss="cross_entropy")
    assert found == pytest.approx(entropy, abs=0.05)
    assert score(jnp.roll(logits, 2, 0), POINTS, BOTH, loss="cross_entropy") > found + 1


@pytest.mark.parametrize("loss", heatmap.LOSSES)
def test_a_missing_point_teaches_nothing(loss):
    weight = 0.1 if loss == "cross_entropy" else 0.0
    points = POINTS.at[1].set(jnp.nan)

    def value(logits):
        known = ~jnp.isnan(points).any(-1)
        return score(logits, points, known, loss=loss, coordinate_weight=weight)

    slope = jax.grad(value)(jax.random.normal(jax.random.key(0), (9, 8, 2)))
    assert np.isfinite(slope).all()
    assert np.abs(slope[..., 0]).max() > 0
    np.testing.assert_array_equal(slope[..., 1], 0.0)


def test_a_point_known_to_be_outside_asks_for_an_empty_map():
    gone = POINTS.at[1].set(jnp.nan)
    empty = targets(POINTS).at[..., 1].set(0.0)
    assert score(empty, gone, BOTH) == pytest.approx(0.0, abs=1e-6)
    assert score(targets(POINTS), gone, BOTH) > 0.1


@pytest.mark.parametrize("loss", heatmap.LOSSES)
def test_pairs_without_order_may_be_answered_either_way(loss):
    logits = jnp.log(targets(POINTS) + 1e-6) if loss == "cross_entropy" else targets(POINTS)
    there = score(logits, POINTS, BOTH, loss=loss, unordered=((0, 1),))
    back = score(logits[..., ::-1], POINTS, BOTH, loss=loss, unordered=((0, 1),))
    assert there == pytest.approx(float(back), rel=1e-6)
    assert score(logits[..., ::-1], POINTS, BOTH, loss=loss) > there + 0.5


@pytest.mark.parametrize(
    ("loss", "decoder"),
    [(a, b) for a in heatmap.LOSSES for b in heatmap.DECODERS if (a, b) != ("l2", "soft_argmax")],
)
def test_every_decoder_finds_the_point_between_voxels(loss, decoder):
    points = jnp.array([[3.3, 4.2], [5.6, 2.9]])
    height = targets(points)
    logits = jnp.log(height + 1e-9) if loss == "cross_entropy" else height
    task = make(loss=loss, decoder=decoder)
    params = {"net": {"maps": logits}, "log_sigma": jnp.zeros(2)}
    found = jax.jit(task.predict)(params, {}, {"image": jnp.zeros((1, 9, 8, 1))})
    np.testing.assert_allclose(found["points"][0], points, atol=0.1)
    assert (np.asarray(found["confidence"]) > 0.4).all()


def test_points_of_little_confidence_are_absent():
    task = make(absent_below=0.5)
    params = {"net": {"maps": targets(POINTS) * jnp.array([1.0, 0.3])}, "log_sigma": jnp.zeros(2)}
    found = task.predict(params, {}, {"image": jnp.zeros((1, 9, 8, 1))})
    assert np.isnan(found["points"]).tolist() == [[[False] * 2, [True] * 2]]
    assert "loss" not in found


def test_the_loss_of_each_case_comes_with_its_points():
    task = make()
    params = {"net": {"maps": targets(POINTS)}, "log_sigma": jnp.zeros(2)}
    batch = {"image": jnp.zeros((2, 9, 8, 1)), "landmarks": jnp.stack([POINTS, POINTS[::-1]])}
    losses = task.predict(params, {}, batch)["loss"]
    assert losses[0] == pytest.approx(0.0, abs=1e-6)
    assert losses[1] == pytest.approx(float(score(targets(POINTS), POINTS[::-1], BOTH)), rel=1e-5)


def test_sigma_is_learned_where_it_is_asked_for():
    image = jnp.zeros((4, 9, 8, 1))
    batch = {"image": image, "landmarks": jnp.tile(POINTS, (4, 1, 1))}
    for weight in (0.0, 0.1):
        task = make(learn_sigma=weight)
        params, stats = jax.jit(task.init)(jax.random.key(0))
        slope = jax.jit(jax.grad(lambda p, s, t=task: t.loss(jax.random.key(0), p, s, batch)[0]))(
            params, stats
        )
        assert (np.abs(slope["log_sigma"]).max() > 1e-3) == bool(weight)


def test_points_near_the_border_are_found_by_the_width_that_was_learned():
    """The centre of mass of a Gaussian that the image cuts depends on how wide it is."""
    points = jnp.array([[0.6, 4.0], [10.0, 9.3]])
    params = {
        "net": {"maps": targets(points, (20, 18), 1.8)},
        "log_sigma": jnp.log(1.8 * jnp.ones(2)),
    }
    task = make((20, 18, 2), learn_sigma=0.1, decoder="mass", sigma=1.5)
    found = task.predict(params, {}, {"image": jnp.zeros((1, 20, 18, 1))})
    np.testing.assert_allclose(found["points"][0], points, atol=0.02)


def test_the_regulariser_keeps_sigma_small_and_the_spread_of_the_points_keeps_it_large():
    """2019, section 3: where annotators differ the best sigma lies between zero and infinity."""
    spread = jax.random.normal(jax.random.key(1), (16, 2, 2))
    batch = {"image": jnp.zeros((16, 9, 8, 1)), "landmarks": POINTS + spread}

    def best(weight):
        task = make(learn_sigma=weight, sigma=1.0)
        params, stats = task.init(jax.random.key(0))

        def step(p, _):
            slope = jax.grad(lambda p: task.loss(jax.random.key(0), p, stats, batch)[0])(p)
            return jax.tree.map(lambda a, b: a - 0.3 * b, p, slope), None

        return np.exp(jax.jit(lambda p: jax.lax.scan(step, p, None, 800))(params)[0]["log_sigma"])

    small, large = best(0.3), best(0.03)
    assert (small > 0.05).all()
    assert (small < large).all()
    assert (large < 4.0).all()


def test_unknown_names_raise():
    with pytest.raises(ValueError, match="known are"):
        make(loss="l3")
    with pytest.raises(ValueError, match="known are"):
        make(decoder="top")
    with pytest.raises(ValueError, match="no logits"):
        make(decoder="soft_argmax")


def test_points_of_a_view_come_back_to_where_they_lie():
    """What `augment_together` does to a point, `back` undoes, to a tenth of a voxel."""
    how = Augmentation(rotate_degrees=20.0, scale=0.2, translate=0.05, elastic=0.3, gamma=0.3)
    image = jnp.zeros((1, 40, 36, 1))
    points = jnp.array([[12.0, 10.0], [20.0, 25.0], [30.0, 15.0]])
    for seed in range(4):
        key = jax.random.key(seed)
        varied, back = heatmap.view_and_way_back(key, image, augmentation=how)
        assert varied.shape == image.shape
        moved = augment_together(key, Sample(image[0], points), augmentation=how).points
        assert float(jnp.nanmax(jnp.abs(moved - points))) > 0.5
        np.testing.assert_allclose(back(moved), points, atol=0.1)


def test_views_of_a_network_that_sees_nothing_average_where_they_point():
    """Fixed maps: each view gives the same point of the view, brought back each its own way."""
    how = Augmentation(rotate_degrees=15.0)
    one, many = (make(augmentation=how, views=n) for n in (1, 3))
    params, stats = one.init(jax.random.key(0))
    batch = {"image": jnp.zeros((1, 9, 8, 1), jnp.uint8)}
    plain = one.predict(params, stats, batch)["points"]
    places = [plain]
    for number in (1, 2):
        key = jax.random.fold_in(jax.random.key(0), number)
        _, back = heatmap.view_and_way_back(key, jnp.zeros((1, 9, 8, 1)), augmentation=how)
        places.append(back(plain[0])[None])
    found = many.predict(params, stats, batch)["points"]
    np.testing.assert_allclose(found, np.mean(places, 0), atol=1e-4)


def test_a_loss_of_ones_own_takes_a_map_and_its_target():
    def own(logits, target):
        return jnp.sum(jnp.abs(logits - target))

    task = make(own_loss=own)
    params, stats = task.init(jax.random.key(0))
    batch = {"image": jnp.zeros((1, 9, 8, 1), jnp.uint8), "landmarks": POINTS[None]}
    value, _ = task.loss(jax.random.key(1), params, stats, batch)
    targets = [maps.gaussian(p, jnp.ones(()), shape=(9, 8)) for p in POINTS]
    logits = params["net"]["maps"]
    expected = np.mean([np.abs(logits[..., i] - t).sum() for i, t in enumerate(targets)])
    assert float(value) == pytest.approx(float(expected), rel=1e-5)


def test_of_a_pair_without_order_one_end_may_be_unknown():
    """The map that shows the known end is right, whichever of the two it is."""
    first = jnp.array([True, False])
    there = targets(POINTS)
    other = targets(POINTS[::-1])
    for shown in (there, other):
        assert score(shown, POINTS, first, unordered=((0, 1),)) == pytest.approx(0.0, abs=1e-6)
    empty = jnp.zeros_like(there)
    assert score(empty, POINTS, first, unordered=((0, 1),)) > 0.1


def test_a_mirror_image_has_the_mask_of_its_points_too():
    """The left point is known and the right one is not: mirrored, the other way round."""
    task = make(augmentation=Augmentation(flip=(1,)), mirrored=((0, 1),), loss="l2")
    params, stats = task.init(jax.random.key(0))
    maps = params["net"]["maps"]
    params["net"]["maps"] = jnp.zeros_like(maps)
    batch = {
        "image": jnp.zeros((1, 9, 8, 1), jnp.uint8),
        "landmarks": jnp.array([[[3.0, 4.0], [jnp.nan, jnp.nan]]]),
    }
    values = [float(task.loss(jax.random.key(k), params, stats, batch)[0]) for k in range(8)]
    # Half of the squares of one Gaussian, over both landmarks, wherever it comes to lie.
    one = [0.25 * float((targets(POINTS[:1].at[0, 1].set(y)) ** 2).sum()) for y in (4.0, 3.0)]
    for value in values:
        assert value == pytest.approx(one[0], rel=0.05) or value == pytest.approx(one[1], rel=0.05)
