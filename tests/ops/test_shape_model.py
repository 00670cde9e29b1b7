"""The shape model: outliers are found and mended, whatever shift and scale."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.ops import shape_model

MEAN = np.array([[0.0, 0, 0], [10, 0, 0], [0, 10, 0], [0, 0, 10], [10, 10, 10]])


@pytest.fixture(scope="module")
def model():
    rng = np.random.default_rng(0)
    shapes = [
        rng.uniform(0.8, 1.2) * (MEAN + rng.normal(0, 0.2, MEAN.shape)) + rng.uniform(0, 50)
        for _ in range(60)
    ]
    return shape_model.fit_model(jnp.asarray(np.stack(shapes), jnp.float32))


def test_the_model_is_the_normalised_mean(model):
    away = MEAN - MEAN.mean(0)
    wanted = away / np.sqrt((away**2).sum(1).mean())
    np.testing.assert_allclose(model.mean, wanted, atol=0.02)


@pytest.mark.parametrize("wrong", [(), (2,), (0, 4)])
def test_points_that_lie_elsewhere_are_brought_back(model, wrong):
    true = jnp.asarray(3.0 * MEAN + np.array([5.0, -7.0, 100.0]), jnp.float32)
    points = true
    for i in wrong:
        points = points.at[i].add(jnp.array([40.0, -30.0, 25.0]) * (1 + i))
    fit = jax.jit(shape_model.correct)(model, points)
    assert set(np.flatnonzero(fit.outlier)) == set(wrong)
    np.testing.assert_allclose(fit.points, true, atol=1.5)
    kept = [i for i in range(5) if i not in wrong]
    np.testing.assert_array_equal(fit.points[np.array(kept)], points[np.array(kept)])


def test_a_point_that_was_not_found_is_filled_in(model):
    points = jnp.asarray(MEAN, jnp.float32).at[3].set(jnp.nan)
    fit = shape_model.correct(model, points)
    assert fit.outlier.tolist() == [False, False, False, True, False]
    np.testing.assert_allclose(fit.points[3], MEAN[3], atol=0.6)
    assert np.isinf(fit.distance[3])


def test_distances_do_not_depend_on_shift_and_scale(model):
    points = jnp.asarray(MEAN + 0.1 * np.arange(15).reshape(5, 3) % 0.7, jnp.float32)
    one = shape_model.correct(model, points).distance
    two = shape_model.correct(model, 4.0 * points + 9.0).distance
    np.testing.assert_allclose(one, two, rtol=1e-3)


@pytest.mark.parametrize("known", [0, 1, 2])
def test_fewer_than_three_known_points_stay_as_they_are(model, known):
    points = jnp.full((5, 3), jnp.nan).at[:known].set(jnp.arange(3.0 * known).reshape(known, 3))
    fit = shape_model.correct(model, points)
    np.testing.assert_array_equal(fit.points, points)
    assert np.isnan(fit.distance).all()
    assert not fit.outlier.any()


@pytest.mark.parametrize("wrong", [3, 4])
def test_where_no_three_points_fit_nothing_is_moved(model, wrong, rng):
    away = np.zeros((5, 3))
    away[:wrong] = rng.uniform(200, 400, (wrong, 3)) * rng.choice([-1, 1], (wrong, 3))
    points = jnp.asarray(MEAN + away, jnp.float32)
    fit = shape_model.correct(model, points)
    np.testing.assert_array_equal(fit.points, points)
    assert np.isnan(fit.distance).all()
