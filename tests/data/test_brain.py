import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medjax.data import brain
from medjax.data.builders import brain_planes


@given(seed=st.integers(0, 999), index=st.integers(0, 999))
def test_points_go_to_the_template_and_back(seed, index):
    subject = brain.make_subject(seed, index)
    points = np.random.default_rng(seed).uniform(-60, 60, (3, 20))
    back = subject.to_template(subject.from_template(points))
    np.testing.assert_allclose(back, points, atol=1e-4)


def test_image_and_points_move_together():
    """The brightest voxel near a painted dot lies where the dot's point is carried."""
    voxels, affine = brain.template()
    subject = brain.make_subject(0, 5, variation=brain.Variation(noise_limit=0.02001, bias=0.0))
    dot_mm = np.array([20.0, -30.0, 20.0])
    index = np.rint(np.linalg.inv(affine) @ [*dot_mm, 1])[:3].astype(int)
    painted = np.zeros_like(voxels)
    painted[tuple(slice(i - 1, i + 2) for i in index)] = 1.0
    where = subject.from_template(dot_mm[:, None])[:, 0]
    grid = np.stack(np.meshgrid(*[np.arange(-5, 5.01, 0.5)] * 3, indexing="ij")) + where.reshape(
        3, 1, 1, 1
    )
    from scipy import ndimage

    inverse = np.linalg.inv(affine)
    template_mm = subject.to_template(grid)
    inside = np.tensordot(inverse[:3, :3], template_mm, 1) + inverse[:3, 3].reshape(3, 1, 1, 1)
    seen = ndimage.map_coordinates(painted, inside, order=1)
    centre = (grid * seen).sum((1, 2, 3)) / seen.sum()
    assert np.linalg.norm(centre - where) < 0.3


def test_a_subject_is_a_pure_function_of_seed_and_index():
    first, again = (brain_planes.render_slices(1, 2) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert (np.array(first) != brain_planes.render_slices(1, 3)).mean() > 0.3
    assert len(first) == len(brain_planes.LEVELS_MM)
    assert all(image.dtype == np.uint8 for image in first)


def test_a_folding_deformation_is_refused():
    with pytest.raises(ArithmeticError, match="folds"):
        wild = brain.make_subject(0, 0, variation=brain.Variation(deformation_mm=200.0))
        wild.from_template(np.random.default_rng(0).uniform(-60, 60, (3, 500)))
