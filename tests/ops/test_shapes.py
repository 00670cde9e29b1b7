"""Random shapes: deformed and painted twice, by the key alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.ops import field, shapes


@pytest.mark.parametrize("space", [(24, 32), (16, 16, 24)])
def test_a_pair_shows_the_same_shapes_elsewhere_and_otherwise(space):
    draw = jax.jit(lambda key: shapes.draw_pair(key, space=space, count=6))
    images, labels = draw(jax.random.key(0))
    assert images.shape == labels.shape == (*space, 2)
    assert float(images.min()) >= 0 and float(images.max()) <= 1
    assert set(np.unique(labels)) <= set(range(7)) and len(np.unique(labels)) > 3
    equal = (labels[..., 0] == labels[..., 1]).mean()
    assert 0.2 < float(equal) < 0.98
    again, _ = draw(jax.random.key(0))
    other, _ = draw(jax.random.key(1))
    assert (again == images).all() and float(jnp.abs(other - images).max()) > 0.1


def test_a_shape_is_painted_in_one_gray():
    """Up to noise and gain: what varies within shapes is less than what varies between them."""
    drawn = shapes.draw_shapes(jax.random.key(3), space=(40, 40), count=3)
    image = np.asarray(shapes.paint(jax.random.key(4), drawn, count=3))
    values = [image[np.asarray(drawn) == k] for k in np.unique(drawn)]
    within = np.mean([v.std() for v in values if len(v) > 20])
    assert within < 0.7 * image.std()


def test_deformations_do_not_fold():
    u = shapes.draw_deformation(jax.random.key(5), space=(32, 32), amplitude=3.0)
    assert float(field.jacobian_determinant(u).min()) > 0
    assert 1.0 < float(jnp.abs(u).max()) < 16.0


def test_shapes_move_with_the_displacement():
    drawn = jnp.arange(12).reshape(3, 4)
    moved = shapes.deform_shapes(drawn, jnp.zeros((3, 4, 2)).at[..., 1].set(1.0))
    np.testing.assert_array_equal(moved, [[1, 2, 3, 3], [5, 6, 7, 7], [9, 10, 11, 11]])
