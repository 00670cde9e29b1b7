import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medjax.ops import heatmap


def test_a_gaussian_by_hand():
    found = heatmap.gaussian(jnp.array([1.0, 2.0]), jnp.array(2.0), shape=(4, 5))
    assert found.shape == (4, 5)
    assert found[1, 2] == 1.0
    assert float(found[3, 3]) == pytest.approx(np.exp(-(2**2 + 1**2) / 8))


def test_a_missing_point_has_an_empty_map():
    assert not heatmap.gaussian(jnp.array([jnp.nan, 2.0]), jnp.array(2.0), shape=(4, 5)).any()
    slope = jax.grad(lambda s: heatmap.gaussian(jnp.array([jnp.nan, 2.0]), s, shape=(4, 5)).sum())(
        2.0
    )
    assert slope == 0.0


gaussian = jax.jit(lambda p: heatmap.gaussian(p, jnp.array(1.5), shape=(13,) * len(p)))
peak = jax.jit(heatmap.peak)


@given(place=st.lists(st.floats(3.0, 9.0), min_size=2, max_size=3))
def test_the_peak_of_a_gaussian_is_found_exactly(place):
    point = jnp.array(place)
    field = gaussian(point)
    found, height = peak(field)
    np.testing.assert_allclose(found, point, atol=2e-3)
    assert float(height) == pytest.approx(float(field.max()))


def oblique(shape, point):
    """A quadratic form about `point` whose axes are not those of the grid."""
    form = np.array([[2.0, 0.5, 0.2], [0.5, 1.0, -0.3], [0.2, -0.3, 1.5]])[
        : len(shape), : len(shape)
    ]
    away = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1) - point
    return np.einsum("...a,ab,...b", away, form, away)


@pytest.mark.parametrize("point", [[3.2, 4.7], [3.3, 4.1, 2.8]])
def test_the_top_of_an_oblique_quadratic_is_found_exactly(point):
    form = oblique((7, 8, 6)[: len(point)], np.array(point))
    found, _ = heatmap.peak(jnp.asarray(0.05 - form, jnp.float32))  # of the values: all but one < 0
    np.testing.assert_allclose(found, point, atol=1e-4)
    found, height = heatmap.peak(jnp.asarray(np.exp(-form / 4), jnp.float32))  # of the logarithms
    np.testing.assert_allclose(found, point, atol=1e-4)
    assert float(height) == pytest.approx(np.exp(-form / 4).max())


def test_one_axis_by_hand():
    """Values 1, 3, 2 in a row: the top is 0.5 (1 - 2) / (1 - 6 + 2) = 1 / 6 off."""
    row = jnp.array([-9.0, 1.0, 3.0, 2.0, -9.0])
    field = jnp.stack([row - 5.0, row, row - 5.0])
    found, height = heatmap.peak(field)
    np.testing.assert_allclose(found, [1.0, 2.0 + 1 / 6], rtol=1e-6)
    assert height == 3.0


def test_a_peak_at_the_border_stays_on_its_voxel():
    found, _ = heatmap.peak(jnp.zeros((5, 5)).at[0, 4].set(1.0))
    assert found.tolist() == [0.0, 4.0]
    flat, _ = heatmap.peak(jnp.zeros((5, 5)))
    assert np.isfinite(flat).all()


def test_soft_argmax_and_its_confidence():
    logits = jnp.full((9, 9), -50.0).at[2, 3].set(0.0).at[2, 4].set(0.0)
    point, confidence = heatmap.soft_argmax(logits)
    np.testing.assert_allclose(point, [2.0, 3.5], atol=1e-4)
    assert float(confidence) == pytest.approx(1.0)
    _, torn = heatmap.soft_argmax(jnp.full((19, 19), -50.0).at[0, 0].set(0.0).at[18, 18].set(0.0))
    assert float(torn) == pytest.approx(0.0, abs=1e-6)  # two places, and the mean is at neither
    assert np.isfinite(jax.grad(lambda x: heatmap.soft_argmax(x)[0].sum())(logits)).all()


def test_the_centre_of_mass_looks_at_its_window_only():
    field = jnp.zeros((12, 12)).at[3, 3].set(2.0).at[3, 4].set(1.0).at[10, 10].set(1.9)
    point, height = heatmap.centre_of_mass(field, radius=2)
    np.testing.assert_allclose(point, [3.0, 3 + 1 / 3], rtol=1e-6)
    assert height == 2.0
    empty, _ = heatmap.centre_of_mass(-jnp.ones((4, 4)), radius=1)
    assert empty.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(("sigma", "radius"), [(1.5, 3), (3.0, 9), (2.0, 4)])
def test_the_centre_of_a_gaussian_has_no_bias_at_the_border(sigma, radius):
    """A box that ends with the image holds more of one side than of the other."""

    @jax.jit
    @jax.vmap
    def there_and_back(point):
        field = heatmap.gaussian(point, jnp.array(sigma), shape=(24, 40, 20))
        return heatmap.centre_of_mass(field, radius=radius, sigma=sigma)[0]

    places = np.linspace(0.0, 9.0, 37, dtype=np.float32)
    points = np.stack([places, 20 + 0 * places, 19 - places / 2], 1)
    np.testing.assert_allclose(there_and_back(points), points, atol=0.02)


def test_the_corrected_centre_stays_in_the_image():
    field = jnp.zeros((9, 9)).at[0, 4].set(1.0)
    found, _ = heatmap.centre_of_mass(field, radius=3, sigma=2.0)
    np.testing.assert_allclose(found, [-0.5, 4.0], atol=1e-3)  # the edge of the first voxel
