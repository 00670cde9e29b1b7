"""Transforms as ITK reads them: SimpleITK resamples with our files as we do."""

import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from medjax.data import geometry, nifti
from medjax.data.dense_transform import DenseTransform
from tests.data.test_dense_transform import SPACE, affine_of, made

sitk = pytest.importorskip("SimpleITK", reason="needs the extra `parity`")
_LPS = np.array([-1.0, -1.0, 1.0])


def test_its_resampling_with_our_field_equals_our_warp(tmp_path):
    """Two files of other spacing, size and orientation."""
    transform = made(affine=affine_of((4.0, 2.0, -3.0), (1.05, 0.95, 1.0), (1.0, -2.0, 0.5)))
    moving_world = affine_of((0.0, 15.0, 80.0), (0.8, 1.1, 0.9), (20.0, -15.0, 4.0))
    rng = np.random.default_rng(0)
    image = ndimage.gaussian_filter(rng.random((40, 36, 44)), 2.0).astype(np.float32)
    nifti.write(tmp_path / "m.nii.gz", image, moving_world, kind=np.float32)
    fixed = np.zeros(SPACE, np.float32)
    nifti.write(tmp_path / "f.nii.gz", fixed, transform.world_from_voxel, kind=np.float32)
    transform.write(tmp_path / "field.nii.gz")
    vectors = sitk.ReadImage(str(tmp_path / "field.nii.gz"), sitk.sitkVectorFloat64)
    seen = sitk.Resample(
        sitk.ReadImage(str(tmp_path / "m.nii.gz")),
        sitk.ReadImage(str(tmp_path / "f.nii.gz")),
        sitk.DisplacementFieldTransform(vectors),
        sitk.sitkLinear,
        -1.0,
    )
    theirs = sitk.GetArrayFromImage(seen).transpose(2, 1, 0)
    ours = transform.warp_image(image, moving_world, fill=-1.0)
    assert (ours > 0).mean() > 0.2
    both = (ours >= 0) & (theirs >= 0)
    assert ((ours >= 0) != (theirs >= 0)).mean() < 2e-3  # rounding at the outermost faces
    np.testing.assert_allclose(ours[both], theirs[both], atol=1e-3)


def test_a_volume_that_does_not_tell_how_it_lies(tmp_path):
    """ITK takes its axes as they are; so do our field and affine."""
    world = geometry.scaling(np.array([1.5, 2.0, 3.0]), np.zeros(3))
    affine = affine_of((4.0, 2.0, -3.0), (1.05, 0.95, 1.0), (3.0, -2.0, 5.0))
    transform = dataclasses.replace(made(affine=affine), world_from_voxel=world, oriented=False)
    rng = np.random.default_rng(0)
    image = ndimage.gaussian_filter(rng.random((40, 36, 44)), 2.0).astype(np.float32)
    spacing = (1.5, 2.0, 3.0)
    nifti.write(tmp_path / "m.nii.gz", image, None, kind=np.float32, spacing_mm=spacing)
    fixed = np.zeros(SPACE, np.float32)
    nifti.write(tmp_path / "f.nii.gz", fixed, None, kind=np.float32, spacing_mm=spacing)
    transform.write(tmp_path / "field.nii.gz")
    vectors = sitk.ReadImage(str(tmp_path / "field.nii.gz"), sitk.sitkVectorFloat64)
    moving, grid = (sitk.ReadImage(str(tmp_path / f"{n}.nii.gz")) for n in "mf")
    assert grid.GetSpacing() == pytest.approx(spacing)
    seen = sitk.Resample(
        moving, grid, sitk.DisplacementFieldTransform(vectors), sitk.sitkLinear, -1.0
    )
    theirs = sitk.GetArrayFromImage(seen).transpose(2, 1, 0)
    ours = transform.warp_image(image, world, fill=-1.0)
    both = (ours >= 0) & (theirs >= 0)
    assert both.mean() > 0.2
    np.testing.assert_allclose(ours[both], theirs[both], atol=1e-3)
    transform.write_affine(tmp_path / "a.tfm")
    place = np.array([3.0, -8.0, 12.0])
    found = sitk.ReadTransform(str(tmp_path / "a.tfm")).TransformPoint(place)
    np.testing.assert_allclose(found, geometry.apply(affine, place))


def test_it_reads_the_affine(tmp_path):
    affine = affine_of((10.0, 20.0, -30.0), (1.1, 0.9, 1.2), (5.0, 6.0, -7.0))
    made(size=0.0, affine=affine).write_affine(tmp_path / "a.tfm")
    read = sitk.ReadTransform(str(tmp_path / "a.tfm"))
    place = np.array([3.0, -8.0, 12.0])
    expected = geometry.apply(affine, place)
    np.testing.assert_allclose(np.array(read.TransformPoint(place * _LPS)) * _LPS, expected)


def test_a_picture_is_a_slice_with_rows_downwards(tmp_path):
    """The world of a picture is x to the right and y down, as of ITK."""
    world = np.array([[0.0, 0.5, 0.0], [0.5, 0.0, 0.0], [0.0, 0.0, 1.0]])
    displacement = np.zeros((6, 9, 2), np.float32)
    displacement[2, 7] = [3.0, -1.0]  # row 2, column 7: right 3 mm, up 1 mm
    transform = DenseTransform(displacement, world, np.eye(3))
    transform.write(tmp_path / "field.nii.gz")
    read = sitk.ReadImage(str(tmp_path / "field.nii.gz"), sitk.sitkVectorFloat64)
    assert read.GetSize() == (9, 6)
    np.testing.assert_allclose(read.GetPixel(7, 2), [3.0, -1.0])
    np.testing.assert_allclose(read.TransformIndexToPhysicalPoint((7, 2)), [3.5, 1.0])
    moved = sitk.DisplacementFieldTransform(read).TransformPoint((3.5, 1.0))
    np.testing.assert_allclose(moved, transform.move_points(np.array([[3.5, 1.0]]))[0])
    transform.write_affine(tmp_path / "a.tfm")
    assert sitk.ReadTransform(str(tmp_path / "a.tfm")).GetDimension() == 2
