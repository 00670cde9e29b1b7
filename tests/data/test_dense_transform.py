"""Transforms of files in mm: worked out by hand, and there and back."""

import numpy as np
import pytest
from scipy import ndimage

from medjax.data import geometry
from medjax.data.dense_transform import DenseTransform, from_voxels
from medjax.errors import UserError

SPACE = (14, 12, 10)


def affine_of(degrees=(5.0, -8.0, 12.0), scale=(1.0, 1.5, 2.0), shift=(3.0, -4.0, 5.0)):
    a, b, c = np.deg2rad(degrees)
    turn = np.eye(3)
    for (i, j), angle in zip([(1, 2), (2, 0), (0, 1)], (a, b, c), strict=True):
        step = np.eye(3)
        step[[i, i, j, j], [i, j, i, j]] = [
            np.cos(angle),
            -np.sin(angle),
            np.sin(angle),
            np.cos(angle),
        ]
        turn = step @ turn
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = turn @ np.diag(scale), shift
    return out


def smooth(seed=0, *, size=1.0, space=SPACE):
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.normal(size=(*space, len(space))), [2.5] * len(space) + [0])
    return (size * noise / np.abs(noise).max()).astype(np.float32)


def made(*, size=1.5, affine=None):
    """On voxels of 1 x 1.5 x 2 mm that are turned."""
    world, affine = affine_of(), np.eye(4) if affine is None else affine
    places = geometry.apply(world, np.moveaxis(np.indices(SPACE), 0, -1).astype(float))
    moved = geometry.apply(affine, places) - places + smooth(size=size)
    return DenseTransform(moved.astype(np.float32), world, affine)


def test_points_move_by_the_displacement_at_their_voxel():
    transform, index = made(), np.array([4, 7, 3])
    place = geometry.apply(transform.world_from_voxel, index.astype(float))
    expected = place + transform.displacement_mm[tuple(index)]
    np.testing.assert_allclose(transform.move_points(place[None])[0], expected, atol=1e-4)
    assert np.isnan(transform.move_points(np.full((1, 3), np.nan))).all()


def test_an_affine_holds_beyond_the_grid():
    affine = affine_of((2.0, 3.0, 1.0), (1.05, 1.0, 0.95), (1.0, 2.0, -1.0))
    transform = made(size=0.0, affine=affine)
    far = np.array([[200.0, -300.0, 150.0]])
    np.testing.assert_allclose(transform.move_points(far), geometry.apply(affine, far), rtol=1e-5)


@pytest.mark.parametrize("stretch", [1.5, 3.0, 6.0])
def test_points_come_back_where_much_is_stretched(stretch):
    """A band of rows that grows by a factor, and pushes what lies about it aside: no fold."""
    rows = np.arange(40.0)
    pushed = (stretch - 1) * (np.clip(rows, 15, 25) - 20)
    displacement = np.zeros((40, 12, 2), np.float32)
    displacement[..., 0] = pushed[:, None]
    transform = DenseTransform(displacement, np.eye(3), np.eye(3))
    points = np.stack([np.linspace(14, 26, 25), np.full(25, 6.0)], -1)
    back = transform.move_points_back(transform.move_points(points))
    np.testing.assert_allclose(back, points, atol=0.01)


@pytest.mark.parametrize("affine", [None, affine_of((4.0, 0.0, -6.0), (1.1, 0.9, 1.0))])
def test_points_come_back_within_a_twentieth_of_a_voxel(affine):
    transform = made(affine=affine)
    other = affine_of((20.0, 0.0, 0.0), (1.2, 1.2, 1.2), (-2.0, 0.0, 1.0))
    inverse = transform.invert((16, 18, 20), other)
    inner = np.random.default_rng(0).uniform(2, np.array(SPACE) - 3, (200, 3))
    places = geometry.apply(transform.world_from_voxel, inner)
    back = inverse.move_points(transform.move_points(places))
    np.testing.assert_allclose(back, places, atol=0.05)
    np.testing.assert_allclose(inverse.affine @ transform.affine, np.eye(4), atol=1e-9)


def test_composed_they_are_one_after_the_other():
    first, then = made(), made(size=0.7, affine=affine_of((3.0, 1.0, 0.0), (1.0, 1.0, 1.0)))
    both = first.compose(then)
    voxels = np.array([[3.0, 4.0, 5.0], [8.0, 2.0, 6.0]])
    places = geometry.apply(first.world_from_voxel, voxels)
    expected = then.move_points(first.move_points(places))
    np.testing.assert_allclose(both.move_points(places), expected, atol=1e-3)


def test_images_and_masks_are_seen_where_points_go():
    """A linear image tells the place that each voxel is taken to."""
    transform, moving_world = (
        made(),
        affine_of((0.0, 0.0, 90.0), (0.5, 0.5, 0.5), (30.0, -20.0, 0.0)),
    )
    size = (90, 90, 90)
    places = geometry.apply(moving_world, np.moveaxis(np.indices(size), 0, -1).astype(float))
    image = (places @ np.array([1.0, 2.0, -1.0])).astype(np.float32)
    seen = transform.warp_image(image, moving_world, fill=np.nan)
    expected = transform.places_mm() @ np.array([1.0, 2.0, -1.0])
    known = ~np.isnan(seen)
    assert known.mean() > 0.3
    np.testing.assert_allclose(seen[known], expected[known], atol=2e-3)
    mask = (image > 0).astype(np.uint8)
    warped = transform.warp_mask(mask, moving_world)
    clear = known & (np.abs(expected) > 2)
    assert (warped[clear] == (expected[clear] > 0)).all() and (warped[~known] == 0).all()


def test_whole_numbers_stay_whole_and_files_that_lie_alike_are_equal():
    world = affine_of()
    still = DenseTransform(np.zeros((*SPACE, 3), np.float32), world, np.eye(4))
    image = np.random.default_rng(0).integers(-900, 900, SPACE).astype(np.int16)
    np.testing.assert_array_equal(still.warp_image(image, world), image)
    np.testing.assert_allclose(still.jacobian_determinant(), 1.0)


def test_the_jacobian_is_that_of_the_world():
    affine = affine_of((3.0, 0.0, 0.0), (1.2, 0.9, 1.1), (0.0, 0.0, 0.0))
    transform = made(size=0.0, affine=affine)
    expected = np.linalg.det(affine[:3, :3])
    np.testing.assert_allclose(transform.jacobian_determinant(), expected, rtol=1e-3)


def test_from_voxels_of_prepared_images():
    """The prepared fixed image is reversed and half as fine; M and u are in its voxels."""
    to_index = geometry.scaling(np.array([-2.0, 2.0, 2.0]), np.array([13.0, 0.0, 0.0]))
    world, moving_world = affine_of(), affine_of((0.0, 10.0, 0.0))
    matrix = np.c_[np.diag([1.0, 1.1, 0.9]), [0.5, -1.0, 2.0]]
    u = np.broadcast_to(np.array([0.5, -0.25, 1.0], np.float32), (7, 6, 5, 3))
    transform = from_voxels(
        u,
        matrix,
        fixed_world=world,
        fixed_to_index=to_index,
        moving_world=moving_world,
        moving_to_index=np.eye(4),
        space=SPACE,
        oriented=True,
    )
    index = np.array([5.0, 4.0, 6.0])
    prepared = np.array([(13 - 5) / 2 + 0.5, 2.0 - 0.25, 3.0 + 1.0])
    expected = geometry.apply(moving_world, matrix[:, :3] @ prepared + matrix[:, 3])
    found = transform.move_points(geometry.apply(world, index)[None])[0]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_what_is_no_transform_is_told():
    with pytest.raises(UserError, match="not finite"):
        DenseTransform(np.full((4, 4, 4, 3), np.nan, np.float32), np.eye(4), np.eye(4))
    with pytest.raises(UserError, match="an axis for each"):
        DenseTransform(np.zeros((4, 4, 3), np.float32), np.eye(4), np.eye(4))
    still = DenseTransform(np.zeros((*SPACE, 3), np.float32), np.eye(4), np.eye(4))
    with pytest.raises(UserError, match="an image of 2 axes"):
        still.warp_image(np.zeros((4, 4)), np.eye(3))
