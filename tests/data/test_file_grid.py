"""Arrays written on the grid of a file."""

import nibabel
import numpy as np
import pytest
from PIL import Image

from medjax.data.file_grid import FileGrid


def test_a_volume_that_does_not_tell_how_it_lies_keeps_its_voxel_size(tmp_path):
    grid = FileGrid(np.diag([2.0, 2.0, 5.0, 1.0]), False, np.array([2.0, 2.0, 5.0]))
    values = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    grid.write(tmp_path / "a.nii.gz", values)
    read = nibabel.load(tmp_path / "a.nii.gz")
    assert read.header.get_zooms() == (2.0, 2.0, 5.0)
    assert (read.header["sform_code"], read.header["qform_code"]) == (0, 0)
    np.testing.assert_array_equal(np.asanyarray(read.dataobj), values)
    grid._replace(spacing_mm=np.full(3, np.nan)).write(tmp_path / "b.nii.gz", values)
    assert nibabel.load(tmp_path / "b.nii.gz").header.get_zooms() == (1.0, 1.0, 1.0)
    oriented = grid._replace(oriented=True)
    oriented.write(tmp_path / "c.nii.gz", values)
    np.testing.assert_array_equal(nibabel.load(tmp_path / "c.nii.gz").affine, grid.world)


ROWS = np.array(
    [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
)  # x of the column, y of the row


@pytest.mark.parametrize("world", [ROWS, np.eye(3)])
@pytest.mark.parametrize(
    ("kind", "suffix"),
    [(np.uint8, ".png"), (np.uint16, ".png"), (np.int16, ".tif"), (float, ".tif")],
)
def test_pictures_keep_their_values_and_have_rows(tmp_path, world, kind, suffix):
    """Also where the array has x first, as that of a flat volume."""
    grid = FileGrid(world, False, np.full(2, np.nan))
    values = np.arange(12).reshape(3, 4).astype(kind) * 20
    if suffix == ".tif":
        values = values - kind(190.0)
    path = tmp_path / f"a{grid.suffix_for(values.dtype)}"
    assert path.suffix == suffix
    grid.write(path, values)
    read = np.asarray(Image.open(path))
    np.testing.assert_array_equal(read, values if world is ROWS else values.T)
