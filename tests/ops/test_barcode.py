"""Projections against scikit-image, bits by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from medjax.ops.barcode import barcode, project


@pytest.mark.parametrize("angle", [0.0, 22.5, 90.0, 135.0])
@pytest.mark.parametrize("side", [32, 17])
def test_projections_are_those_of_scikit_image(rng, angle, side):
    transform = pytest.importorskip("skimage.transform")
    image = rng.random((side, side)).astype(np.float32)
    expected = transform.radon(image, theta=[angle], circle=False)[:, 0]
    found = project(jnp.asarray(image), angle_degrees=jnp.float32(angle))
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_bits_are_set_at_the_median_of_what_is_not_zero_and_above():
    """Columns of 1, 2 and 3, each 32 high: at 0 degrees the bins are 32, 64 and 96, the median 64;
    what lies beside the image is 0 and no part of it."""
    image = np.zeros((32, 32))
    image[:, [4, 9, 20]] = [1.0, 2.0, 3.0]
    first = np.asarray(barcode(jnp.asarray(image)))[:46]
    assert np.flatnonzero(first).tolist() == [9 + 7, 20 + 7]


def test_an_empty_image_has_no_bit():
    assert not np.asarray(barcode(jnp.zeros((40, 50)))).any()


def test_between_extrema_bits_are_set_where_a_projection_rises():
    """A ramp rises all along, but for the last bins, where the image ends."""
    ramp = jnp.tile(jnp.arange(32.0), (32, 1))
    first = np.asarray(barcode(ramp, between_extrema=True))[:46]
    assert first[8:37].all() and not first[39:45].any()
