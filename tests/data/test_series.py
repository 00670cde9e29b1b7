"""DICOM series: slices of a folder as one volume, and what does not make one."""

import nibabel
import numpy as np
import pytest

pytest.importorskip("pydicom", reason="needs the extra `dicom`")

from medjax.data import images, series, subjects
from medjax.data.builders import masks as builder
from medjax.data.masks.folder import mask_folder
from medjax.data.options import MaskOptions
from medjax.errors import UserError
from tests.data.test_dicom import saved

FLAT = [1, 0, 0, 0, 1, 0]  # rows along x, columns along y
VOLUME = np.arange(4 * 3 * 2, dtype=np.uint16).reshape(4, 3, 2)  # [slice, row, column]


def save_series(folder, volume=VOLUME, *, heights=None, uid="1.2.3", turn=FLAT, **tags):
    """Slices of 2 mm, pixels of 0.5 mm along a column of the image and 0.25 mm along a row, whose
    names run against their places."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, pixels in enumerate(volume):
        height = 10.0 + 2.0 * i if heights is None else heights[i]
        saved(
            folder / f"{uid}_{len(volume) - i}.dcm",
            pixels,
            SeriesInstanceUID=uid,
            ImagePositionPatient=[5.0, 6.0, height],
            ImageOrientationPatient=turn,
            PixelSpacing=[0.5, 0.25],
            **tags,
        )
    return folder


def test_slices_lie_in_order_of_their_places(tmp_path):
    """The first pixel lies at 5, 6, 10 mm to the left, behind and above: -5, -6, 10 in RAS."""
    found = images.read(save_series(tmp_path / "scan", RescaleSlope=2, RescaleIntercept=-7))
    np.testing.assert_array_equal(found.pixels[..., 0], 2.0 * VOLUME - 7.0)
    assert found.spacing_mm == (2.0, 0.5, 0.25)
    np.testing.assert_allclose(found.affine @ [0, 0, 0, 1], [-5, -6, 10, 1])
    np.testing.assert_allclose(found.affine @ [1, 2, 4, 1], [-6, -7, 12, 1])
    where = images.layout(tmp_path / "scan")
    assert where.shape == (4, 3, 2) and np.array_equal(where.affine, found.affine)


@pytest.mark.parametrize(
    ("tags", "kind"),
    [
        ({"bits": 12, "RescaleSlope": 1, "RescaleIntercept": -1024}, "int16"),  # as of CT
        ({"bits": 16}, "uint16"),
        ({"bits": 16, "PixelRepresentation": 1}, "int16"),
        ({"bits": 16, "RescaleSlope": 1, "RescaleIntercept": -1024}, ""),  # up to 64,511
        ({"bits": 12, "RescaleSlope": 0.5, "RescaleIntercept": 0}, ""),
        ({"bits": 12, "RescaleSlope": 2, "RescaleIntercept": 0.5}, ""),
    ],
)
def test_whole_numbers_of_a_series_keep_a_type_of_16_bits(tmp_path, tags, kind):
    """All that its bits may hold has to fit, in the units of the modality."""
    folder = save_series(tmp_path / "scan", **tags)
    assert images.layout(folder).integer_type == kind
    if kind:
        pixels = images.read(folder).pixels
        np.testing.assert_array_equal(pixels.astype(kind), pixels)


def test_positions_are_rounded_in_headers(tmp_path):
    found = images.read(save_series(tmp_path, heights=[0.0, 0.63, 1.25, 1.88]))
    assert found.spacing_mm[0] == pytest.approx(1.88 / 3)


@pytest.mark.parametrize(
    ("heights", "words"),
    [
        ([0, 2, 6, 8], "4 mm apart, others 2 mm: is a slice missing"),
        ([0, 2, 2, 4], "lie at one place"),
    ],
)
def test_gaps_and_doubles_are_named(tmp_path, heights, words):
    with pytest.raises(UserError, match=words):
        images.read(save_series(tmp_path, heights=heights))


def test_a_localiser_among_the_slices_is_named(tmp_path):
    save_series(tmp_path)
    save_series(tmp_path / "b", VOLUME[:1], turn=[0, 1, 0, 0, 0, -1])
    with pytest.raises(UserError, match=r"differs from .* in direction or size"):
        images.read(tmp_path)


def test_one_slice_or_none_of_known_place_is_no_volume(tmp_path):
    with pytest.raises(UserError, match="a series of 1 slices"):
        images.read(save_series(tmp_path / "one", VOLUME[:1]))
    for i in range(2):
        (tmp_path / "two").mkdir(exist_ok=True)
        saved(tmp_path / "two" / f"{i}.dcm", VOLUME[i])
    with pytest.raises(UserError, match="does not say where it lies"):
        images.read(tmp_path / "two")


def test_of_several_series_one_is_chosen(tmp_path):
    save_series(tmp_path / "a", SeriesDescription="T1 axial", SeriesNumber=3)
    save_series(tmp_path / "b", VOLUME + 100, uid="1.2.4", SeriesDescription="T2 axial")
    with pytest.raises(UserError, match=r"has 2 series; .* 'T1 axial' \(number 3\) of 4 slices"):
        images.read(tmp_path)
    with pytest.raises(UserError, match="has no series 'T3'"):
        images.read(tmp_path, series="T3")
    for wish in ("T2 axial", "1.2.4"):
        assert images.read(tmp_path, series=wish).pixels.min() == 100
    assert images.read(tmp_path, series="3").pixels.min() == 0


def test_a_directory_of_files_is_no_slice_and_a_preamble_is_not_needed(tmp_path):
    """As on a disc from a scanner; and as many programs write DICOM."""
    save_series(tmp_path)
    slices = sorted(tmp_path.iterdir())
    (tmp_path / "DICOMDIR").write_bytes(slices[0].read_bytes()[:200])
    for path in slices:
        path.write_bytes(path.read_bytes()[132:])
    np.testing.assert_array_equal(images.read(tmp_path).pixels[..., 0], VOLUME)


def test_a_folder_without_slices_is_no_image(tmp_path):
    with pytest.raises(UserError, match="without DICOM slices"):
        images.read(tmp_path)


def test_the_patient_is_that_of_the_first_slice(tmp_path):
    assert subjects.patient_of(save_series(tmp_path, PatientID="P7")) == "P7"


def test_a_volume_too_large_is_refused_before_it_is_read(tmp_path):
    with pytest.raises(UserError, match="max_image_gb"):
        images.read(save_series(tmp_path), limit_bytes=50)


def test_files_of_a_folder_are_one_image_where_they_are_slices(tmp_path):
    slices = sorted(save_series(tmp_path / "scan").iterdir())
    single = [saved(tmp_path / f"{name}.dcm", VOLUME[0]) for name in "ab"]
    assert series.fold([*single, *slices], images.is_dicom) == [*single, tmp_path / "scan"]


def test_reports_beside_the_slices_are_none_of_them(tmp_path):
    import pydicom

    slices = sorted(save_series(tmp_path / "scan").iterdir())
    report = pydicom.dcmread(slices[0])
    for name in ("Rows", "Columns", "PixelData", "BitsAllocated"):
        del report[name]
    report.SeriesInstanceUID = "9.9"
    report.save_as(tmp_path / "scan" / "report.dcm")
    files = [*slices, tmp_path / "scan" / "report.dcm"]
    assert series.fold(files, images.is_dicom) == [tmp_path / "scan"]
    np.testing.assert_array_equal(images.read(tmp_path / "scan").pixels[..., 0], VOLUME)


def save_mask(path, mask):
    """A mask `[slice, row, column]` on the grid of `save_series` as other programs write it: x, y,
    z, with y backwards."""
    array = mask.transpose(2, 1, 0)[:, ::-1]
    affine = np.diag([-0.25, 0.5, 2.0, 1.0])
    affine[:3, 3] = [-5, -6 - 0.5 * (mask.shape[1] - 1), 10]
    path.parent.mkdir(exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(array), affine), path)


@pytest.mark.parametrize("by_table", [False, True])
def test_a_series_has_a_mask_in_nifti(tmp_path, by_table):
    """Which is stored in another order of axes, and turned."""
    mask = (VOLUME % 5 == 1).astype(np.uint8)
    save_series(tmp_path / "images" / "p1" / "deep", SeriesDescription="T1")
    save_series(tmp_path / "images" / "p1" / "other", uid="1.2.4", SeriesDescription="T2")
    save_mask(tmp_path / "labels" / "p1.nii.gz", mask)
    if by_table:
        (tmp_path / "masks.csv").write_text("image,mask\nimages/p1,labels/p1.nii.gz\n")
    found = mask_folder(MaskOptions(data_dir=str(tmp_path), series="T1"))
    (case,) = found.cases
    assert case.path == tmp_path / "images" / "p1" and case.case_id == "images/p1"
    image, raw_mask = case.read(), case.read_mask()
    form = builder.Form((), "image", ())
    made = builder.prepare(case, image, raw_mask, found.values, form=form)
    assert made.targets["voxels"].tolist() == [mask.sum()]
    turned = builder.turned_like(image, raw_mask)
    np.testing.assert_array_equal(turned.pixels[..., 0], mask)
    builder.check_one_grid(image, turned, origin="")
