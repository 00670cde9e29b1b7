import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medjax.data import geometry
from medjax.errors import UserError


def rotated(seed: int, *, flips: bool) -> np.ndarray:
    """A random orientation, anisotropic spacing and origin."""
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    if np.linalg.det(turn) < 0 and not flips:
        turn[:, 0] *= -1
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(rng.uniform(0.4, 3.0, 3))
    affine[:3, 3] = rng.normal(0, 50, 3)
    return affine


def test_numbers_worked_out_by_hand():
    # 2 mm along i, which runs to the left; 3 mm along j and k; the first voxel at (90, -10, 5).
    affine = np.array([[-2.0, 0, 0, 90], [0, 3.0, 0, -10], [0, 0, 3.0, 5], [0, 0, 0, 1]])
    np.testing.assert_allclose(geometry.apply(affine, np.array([10.0, 1.0, 2.0])), [70, -7, 11])
    np.testing.assert_allclose(geometry.spacing_mm(affine), [2, 3, 3])


@given(seed=st.integers(0, 10**6))
def test_canonical_axes_point_right_front_and_up(seed):
    affine = rotated(seed, flips=True)
    pixels = np.random.default_rng(seed).normal(size=(4, 5, 6, 1))
    turned, back = geometry.canonical(pixels, affine)
    index = np.array([1, 2, 0])
    there = np.rint(geometry.apply(back, index.astype(float))).astype(int)
    assert turned[tuple(index)] == pixels[tuple(there)]
    main = (affine @ back)[:3, :3]
    assert (np.diag(main) > 0).sum() >= 2  # as nibabel, whose choice is the nearest permutation
    np.testing.assert_allclose(
        geometry.spacing_mm(affine @ back)[0],
        geometry.spacing_mm(affine)[np.argmax(np.abs(back[:3, 0]))],
    )


@pytest.mark.parametrize("grid_mm", [0.0, 1.5])
def test_a_blob_is_found_where_the_new_grid_says(grid_mm):
    spacing = np.array([0.5, 1.0, 2.0])
    at = np.array([22.0, 12.0, 7.0])
    where = np.stack(np.meshgrid(*map(np.arange, (40, 24, 14)), indexing="ij"), -1)
    blob = np.exp(-(((where - at) * spacing) ** 2).sum(-1) / (2 * 3.0**2))[..., None]
    back = geometry.fitted((40, 24, 14), spacing, shape=(20, 20, 20), grid_mm=grid_mm)
    out = geometry.resample(blob.astype(np.float32), back, shape=(20, 20, 20))
    grid = np.stack(np.meshgrid(*[np.arange(20)] * 3, indexing="ij"), -1).reshape(-1, 3)
    core = np.maximum(out.reshape(-1) - 0.3 * out.max(), 0)
    centre = (core[:, None] * grid).sum(0) / core.sum()
    np.testing.assert_allclose(geometry.apply(back, centre), at, atol=0.4)
    size = geometry.spacing_mm(geometry.scaling(spacing, np.zeros(3)) @ back)
    np.testing.assert_allclose(size, grid_mm or 28.0 / 20.0)


def test_a_fitted_grid_has_the_same_centre_and_the_whole_image():
    back = geometry.fitted((10, 30), np.ones(2), shape=(16, 16), grid_mm=0.0)
    np.testing.assert_allclose(geometry.apply(back, np.array([7.5, 7.5])), [4.5, 14.5])
    np.testing.assert_allclose(geometry.apply(back, np.array([-0.5, -0.5]))[1], -0.5)


@pytest.mark.parametrize("spacing", [1.0, 0.1, 0.3, 0.141, 0.46875, 2 / 3])
def test_the_same_grid_keeps_every_pixel(spacing):
    """Also the outermost, whose rounded places may lie a trace outside."""
    for n in range(8, 90):
        image = np.full((n, n + 3, 1), 200, np.uint8)
        image[n // 2, n // 2] = 0
        for grid_mm in (0.0, spacing):
            back = geometry.fitted(
                (n, n + 3), np.array([spacing] * 2), shape=(n, n + 3), grid_mm=grid_mm
            )
            np.testing.assert_array_equal(geometry.resample(image, back, shape=(n, n + 3)), image)


@pytest.mark.parametrize(
    "affine",
    [
        np.diag([1.0, 1.0, 0.0, 1.0]),
        np.full((4, 4), np.nan),
        np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]),
    ],
)
def test_affines_that_cannot_be_inverted_are_refused(affine):
    with pytest.raises(UserError, match=r"a\.nii: its affine cannot be inverted"):
        geometry.check_affine(affine, origin="a.nii")


def turned(points, seed, noise=0.0):
    affine = rotated(seed, flips=False)
    affine[:3, :3] /= np.linalg.norm(affine[:3, :3], axis=0)
    rng = np.random.default_rng(seed)
    return geometry.apply(affine, points) + rng.normal(0, noise, points.shape), affine


@given(seed=st.integers(0, 10**6))
def test_a_pose_is_found_again_though_points_are_missing_or_far_off(seed):
    rng = np.random.default_rng(seed)
    points = rng.normal(0, 10, (12, 3))
    moved, affine = turned(points, seed)
    gaps = points.copy()
    gaps[:3] = np.nan
    np.testing.assert_allclose(geometry.rigid(gaps, moved), affine, atol=1e-8)
    wrong = points.copy()
    wrong[:2] += 40.0
    np.testing.assert_allclose(geometry.robust_rigid(wrong, moved, keep=0.8), affine, atol=1e-6)


def test_a_mirror_image_is_no_pose(rng):
    points = rng.normal(size=(8, 3))
    found = geometry.rigid(points, points * [-1.0, 1.0, 1.0])
    assert np.linalg.det(found[:3, :3]) == pytest.approx(1.0)


def test_too_few_pairs_have_no_pose():
    with pytest.raises(ValueError, match="2 known pairs"):
        geometry.rigid(np.zeros((2, 3)), np.zeros((2, 3)))


def test_the_mean_shape_does_not_depend_on_poses(rng):
    shape = rng.normal(0, 10, (9, 3))
    shapes = np.stack([turned(shape, s, noise=0.01)[0] for s in range(6)])
    shapes[1, 4] = np.nan
    mean = geometry.mean_shape(shapes)
    back = geometry.apply(geometry.rigid(mean, shape), mean)
    np.testing.assert_allclose(back, shape, atol=0.05)


def test_a_pose_of_three_points_needs_all_of_them():
    """The best seven tenths of three would be two."""
    points = np.array([[0.0, 0, 0], [4, 0, 0], [0, 3, 0]])
    onto = points[:, [1, 0, 2]] * [1, 1, -1] + [1.0, 2, 3]
    pose = geometry.robust_rigid(points, onto)
    np.testing.assert_allclose(geometry.apply(pose, points), onto, atol=1e-6)


def test_wider_pixels_are_found_at_the_same_places(rng):
    pixels = rng.random((4, 5, 1))
    back = geometry.scaling(np.array([0.5, 0.5]), np.array([0.25, 0.75]))
    wide, there = geometry.widen(pixels, back)
    place = np.array([[2.0, 3.0]])
    apart = geometry.apply(there, place) - geometry.apply(back, place)
    np.testing.assert_allclose(apart, [[1, 1]])
    assert wide.shape == (6, 7, 1)
