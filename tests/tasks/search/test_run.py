"""Volumes as agents search them: the box that an image fills, stored in a corner at all scales."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from medjax.data import geometry
from medjax.data.dataset import Dataset, Split
from medjax.data.info import DatasetInfo
from medjax.errors import UserError
from medjax.ops import comb
from medjax.ops.intensity import fingerprint
from medjax.outputs.base import PreparedImage
from medjax.tasks.search import run as search_run
from medjax.tasks.search.output import check_voxels
from medjax.tasks.search.suggest import suggest


def test_the_box_that_an_image_fills():
    back = geometry.fitted((4, 10), np.array([1.0, 1.0]), shape=(8, 8), grid_mm=1.0)
    # Four rows about the middle of eight: 2 to 5; of ten columns the middle eight.
    np.testing.assert_array_equal(geometry.covered((4, 10), back, shape=(8, 8)), [[2, 0], [6, 8]])
    coarse = geometry.fitted((4, 10), np.array([1.0, 1.0]), shape=(8, 8), grid_mm=2.0)
    # Voxels of 2: rows 3 and 4 (at 0.5 and 2.5); columns 2 to 5 (at 1.5 to 7.5; 1 is at -0.5).
    np.testing.assert_array_equal(geometry.covered((4, 10), coarse, shape=(8, 8)), [[3, 2], [5, 6]])


def two(sizes=(1.0, 1.0)):
    """Two pictures of 6 x 6; the second fills 4 x 3 of it, from (1, 2)."""
    images = np.arange(1, 73, dtype=np.uint8).reshape(2, 6, 6, 1)
    world = np.stack([np.diag([s, s, 1.0]) for s in sizes])
    box = np.array([[[0, 0], [6, 6]], [[1, 2], [5, 5]]])
    targets = {"box": box, "to_world": world, "landmarks": np.ones((2, 1, 2))}
    return Split(
        targets,
        ["a", "b"],
        ["a", "b"],
        [{}, {}],
        lambda i: images[i],
        (6, 6, 1),
        np.dtype(np.uint8),
    )


def test_images_stand_in_the_corner_and_the_rest_is_padding():
    packed = search_run.stored(two(), spacing=[4, 1], room=2)
    # Teeth of ceil(6 / 4) and of 6 voxels, each with 2 before it, and 2 behind the last.
    np.testing.assert_array_equal(packed.tooth, [[4, 4], [8, 8]])
    assert packed.pixels.shape == (2, 2, 4 * 4 + 2, 4 * 4 + 2)
    np.testing.assert_array_equal(packed.shape, [[6, 6], [4, 3]])
    np.testing.assert_array_equal(packed.target[:, 0], [[1, 1], [0, -1]])
    pixels = np.asarray(packed.pixels)
    fine = pixels[1, :, 2:, 2:]
    assert (pixels[1, :, :2] == 0).all()
    np.testing.assert_array_equal(
        fine[1, :4, :3], 37 + 6 * np.arange(1, 5)[:, None] + np.arange(2, 5)
    )
    assert (fine[1, 4:] == 0).all()
    assert (fine[1, :, 3:] == 0).all()
    seen = pixels[0, 0]
    assert (seen > 0).sum() == 36
    assert np.std(seen[seen > 0]) < np.std(fine[0][fine[0] > 0])  # smoothed


def test_a_comb_brings_together_what_lies_apart():
    into = comb.comb(jnp.arange(1, 8), spacing=3, room=1, size=(14,))
    np.testing.assert_array_equal(into, [0, 1, 4, 7, 0, 2, 5, 0, 0, 3, 6, 0, 0, 0])


@pytest.mark.parametrize("sd", [0.0, 1.0, 2.0])
def test_smoothing_is_that_of_scipy_in_any_box(sd):
    image = np.random.default_rng(0).uniform(0, 255, (9, 12)).astype(np.float32)
    for shape in ((9, 12), (5, 3), (1, 7)):
        cut = image[: shape[0], : shape[1]]
        found = np.asarray(
            comb.gaussian(jnp.asarray(image), jnp.array(shape), sd=sd, largest=(9, 12))
        )
        np.testing.assert_allclose(
            found[: shape[0], : shape[1]], ndimage.gaussian_filter(cut, sd), atol=1e-3
        )
        assert found.sum() == pytest.approx(found[: shape[0], : shape[1]].sum(), rel=1e-6)


def test_searches_begin_by_what_an_image_shows_alone():
    """By hand, modulo 2^32; another place in the split or in the grid changes nothing."""
    split = two()
    number = search_run.stored(split, spacing=[1], room=1).number
    shown = [int(v) for v in split.read(1)[1:5, 2:5, 0].ravel()]
    assert number[1] == sum(v * (v + 1) for v in shown) * 2654435761 % 2**32
    assert search_run.stored(split.only([1]), spacing=[1], room=1).number[0] == number[1]
    moved = fingerprint(jnp.roll(split.read(1)[..., 0], 1, axis=1), jnp.array([[1, 3], [5, 6]]))
    assert moved == number[1] != number[0]


def test_voxels_must_have_one_size():
    assert geometry.voxel_mm(two((2.0, 2.0))["to_world"]) == pytest.approx(2.0)
    with pytest.raises(UserError, match="1 to 2 mm; steps of one length need one size"):
        geometry.voxel_mm(two((1.0, 2.0))["to_world"])


def test_a_part_of_a_split_reads_its_own_images():
    part = two().only([1])
    assert part.case_id == ["b"]
    assert part.read(0)[0, 0, 0] == 37
    assert part["box"].shape == (1, 2, 2)


def test_a_new_image_has_voxels_of_the_size_that_agents_step_in():
    prepared = PreparedImage(
        np.zeros((4, 4, 4, 1)), "a", {"to_world": np.diag([2.0, 2.0, 2.0, 1.0]), "known": True}
    )
    assert check_voxels(prepared, SimpleNamespace(voxel_mm=2.0)) is prepared
    with pytest.raises(UserError, match=r"a: voxels of 2 mm .* where they had 1 mm"):
        check_voxels(prepared, SimpleNamespace(voxel_mm=1.0))
    unknown = prepared._replace(targets={**prepared.targets, "known": False})
    assert check_voxels(unknown, SimpleNamespace(voxel_mm=1.0)) is unknown


def test_where_no_landmark_is_complete_that_is_said():
    points = np.zeros((2, 2, 3))
    points[0, 0], points[1, 1] = np.nan, np.nan
    train = Split(
        {"landmarks": points}, ["a", "b"], ["a", "b"], [{}, {}], None, (8, 8, 8, 1), np.uint8
    )
    data = Dataset(DatasetInfo("x", landmarks=("A", "B")), {"train": train}, "")
    (landmarks, _) = suggest(data, False)
    assert landmarks.value == ("A",)
    assert landmarks.reason.startswith("every training case has none; A is missing in 1 of 2")
