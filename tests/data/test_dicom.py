"""DICOM as pydicom understands it: units, colours, and where a pixel lies."""

import numpy as np
import pytest

pytest.importorskip("pydicom", reason="needs the extra `dicom`")
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

from medjax.data import dicom, images
from medjax.errors import UserError


def saved(path, pixels, *, colour=False, bits=0, **tags):
    """A file of these pixels `[(frame), row, column, (3)]`."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    record = Dataset()
    record.file_meta = meta
    record.SOPClassUID, record.SOPInstanceUID = (
        meta.MediaStorageSOPClassUID,
        meta.MediaStorageSOPInstanceUID,
    )
    record.SamplesPerPixel, record.PhotometricInterpretation = (
        (3, "RGB") if colour else (1, "MONOCHROME2")
    )
    if colour:
        record.PlanarConfiguration = 0
    shape = pixels.shape[:-1] if colour else pixels.shape
    if len(shape) == 3:
        record.NumberOfFrames = shape[0]
    record.Rows, record.Columns = shape[-2:]
    record.BitsAllocated = pixels.dtype.itemsize * 8
    record.BitsStored = bits or record.BitsAllocated
    record.HighBit = record.BitsStored - 1
    record.PixelRepresentation = int(pixels.dtype.kind == "i")
    record.PixelData = pixels.tobytes()
    for name, value in tags.items():
        setattr(record, name, value)
    record.save_as(path, enforce_file_format=True)
    return path


def group(**values):
    found = Dataset()
    for name, value in values.items():
        setattr(found, name, value)
    return found


SEVEN = np.full((2, 3), 7, np.uint16)


@pytest.mark.parametrize(
    ("tags", "value"),
    [
        ({}, 7.0),
        ({"RescaleSlope": 2, "RescaleIntercept": -1000}, -986.0),
        ({"RescaleSlope": 2}, 14.0),
        ({"RescaleSlope": None, "RescaleIntercept": None}, 7.0),
    ],
)
def test_values_have_the_units_of_the_modality(tmp_path, tags, value):
    found = images.read(saved(tmp_path / "a.dcm", SEVEN, **tags)).pixels
    assert found.dtype == np.float32
    assert (found == value).all()


def test_frames_have_their_own_scaling_and_size(tmp_path):
    frames = [
        group(
            PixelValueTransformationSequence=[group(RescaleSlope=s, RescaleIntercept=i)],
            PixelMeasuresSequence=[group(PixelSpacing=[0.5, 0.25])],
        )
        for s, i in ((2, -5), (3, 7))
    ]
    found = images.read(
        saved(
            tmp_path / "a.dcm",
            np.full((2, 2, 2), 10, np.uint16),
            PerFrameFunctionalGroupsSequence=frames,
        )
    )
    assert found.pixels[:, 0, 0, 0].tolist() == [15.0, 37.0]
    assert found.axes == "zyx"
    assert np.isnan(found.spacing_mm[0]) and found.spacing_mm[1:] == (0.5, 0.25)


def test_a_table_of_the_modality(tmp_path):
    table = Dataset()
    table.add_new(0x00283002, "US", [4, 0, 16])
    table.add_new(0x00283006, "US", [10, 20, 30, 40])
    found = images.read(
        saved(tmp_path / "a.dcm", np.array([[0, 1], [2, 3]], np.uint8), ModalityLUTSequence=[table])
    ).pixels
    assert found[..., 0].tolist() == [[10, 20], [30, 40]]


@pytest.mark.parametrize(
    ("stored", "bits", "wanted"),
    [(np.uint16, 12, 4095 - 1000), (np.uint16, 16, 65535 - 1000), (np.int16, 16, -1 - 1000)],
)
def test_small_values_that_are_bright_are_inverted_within_their_type(
    tmp_path, stored, bits, wanted
):
    """Not within the image: one more bright pixel would move all others."""
    for other in (0, 3000):
        pixels = np.full((4, 4), 1000, stored)
        pixels[0, 0] = other
        found = images.read(
            saved(tmp_path / "a.dcm", pixels, bits=bits, PhotometricInterpretation="MONOCHROME1")
        ).pixels
        assert found[2, 2, 0] == wanted


def test_palettes_and_colours_of_sixteen_bits(tmp_path):

    path = saved(tmp_path / "a.dcm", np.array([[0, 1], [2, 3]], np.uint8))
    record, bare = Dataset(), tmp_path / "bare.dcm"
    record.update(dcmread(path))
    record.save_as(bare, implicit_vr=True, little_endian=True, enforce_file_format=False)
    assert b"DICM" not in bare.read_bytes()
    np.testing.assert_array_equal(images.read(bare).pixels, images.read(path).pixels)


def test_frames_of_several_sizes_are_refused(tmp_path):
    frames = [group(PixelMeasuresSequence=[group(PixelSpacing=[s, s])]) for s in (0.5, 0.8)]
    with pytest.raises(UserError, match="its frames have pixels of several sizes"):
        images.read(
            saved(
                tmp_path / "a.dcm",
                np.zeros((2, 2, 2), np.uint8),
                PerFrameFunctionalGroupsSequence=frames,
            )
        )


def test_frames_side_by_side_lie_in_the_world(tmp_path):
    """Sagittal slices, from right to left of the patient (LPS x falls), by hand."""
    frames = [
        group(PlanePositionSequence=[group(ImagePositionPatient=[10 - 3 * k, -20, 30])])
        for k in range(4)
    ]
    shared = group(
        PlaneOrientationSequence=[group(ImageOrientationPatient=[0, 1, 0, 0, 0, -1])],
        PixelMeasuresSequence=[group(PixelSpacing=[0.5, 0.25])],
    )
    found = images.read(
        saved(
            tmp_path / "a.dcm",
            np.zeros((4, 6, 5), np.uint8),
            PerFrameFunctionalGroupsSequence=frames,
            SharedFunctionalGroupsSequence=[shared],
        )
    )
    assert found.spacing_mm == pytest.approx((3.0, 0.5, 0.25))
    np.testing.assert_allclose(found.affine @ [1, 2, 3, 1], [-7, 20 - 0.75, 30 - 1.0, 1])


def test_several_frames_of_colour_have_three_axes(tmp_path):
    found = images.read(saved(tmp_path / "a.dcm", np.zeros((5, 6, 7, 3), np.uint8), colour=True))
    assert (found.pixels.shape, found.axes) == ((5, 6, 7, 3), "zyx")


def test_content_tells_what_a_name_does_not(tmp_path):
    path = saved(tmp_path / "IM0001", SEVEN, PatientID=" P1 ")
    assert images.is_image(path)
    assert dicom.patient_and_study(path)[0] == "P1"
    assert (images.read(path).pixels == 7).all()
    (tmp_path / "notes").write_text("x")
    assert not images.is_image(tmp_path / "notes")


def test_what_is_no_image_and_what_is_too_large(tmp_path):
    import pydicom

    path = saved(tmp_path / "a.dcm", SEVEN)
    with pytest.raises(UserError, match="more than `max_image_gb="):
        images.read(path, limit_bytes=10)
    record = pydicom.dcmread(path)
    del record.PixelData
    record.save_as(path)
    with pytest.raises(UserError, match="holds no pixels"):
        images.read(path)


def test_whole_numbers_of_32_bits(tmp_path):
    small = np.full((2, 3), 2**24, np.uint32)
    assert (images.read(saved(tmp_path / "a.dcm", small)).pixels == 2**24).all()
    with pytest.raises(UserError, match="values up to 16777217, more than float32"):
        images.read(saved(tmp_path / "a.dcm", small + 1))
    scaled = images.read(saved(tmp_path / "a.dcm", small + 1, DoseGridScaling=1e-6)).pixels
    np.testing.assert_allclose(scaled, 16.777217, rtol=1e-6)


@pytest.mark.parametrize("spacing", [[0.5], "", [0, 1], [-1, 1]])
def test_odd_sizes_of_pixels_are_not_known(tmp_path, spacing):
    assert images.read(saved(tmp_path / "a.dcm", SEVEN, PixelSpacing=spacing)).spacing_mm is None


def test_what_only_some_frames_say_is_no_scaling_of_all(tmp_path):
    frames = [
        group(PixelValueTransformationSequence=[group(RescaleSlope=2, RescaleIntercept=0)]),
        group(),
    ]
    with pytest.raises(UserError, match="1 of its 2 frames have a PixelValueTransformation"):
        images.read(
            saved(
                tmp_path / "a.dcm",
                np.zeros((2, 2, 2), np.uint16),
                PerFrameFunctionalGroupsSequence=frames,
            )
        )


@pytest.mark.parametrize(
    ("heights", "step"),
    [([0, 2, 4, 6], 2.0), ([6, 4, 2, 0], 2.0), ([0, 2, 4, 9], np.nan), ([0, 0, 0, 0], np.nan)],
)
def test_frames_lie_where_they_say(tmp_path, heights, step):
    frames = [group(PlanePositionSequence=[group(ImagePositionPatient=[0, 0, z])]) for z in heights]
    shared = [
        group(
            PlaneOrientationSequence=[group(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
            PixelMeasuresSequence=[group(PixelSpacing=[1, 1], SpacingBetweenSlices=7)],
        )
    ]
    found = images.read(
        saved(
            tmp_path / "a.dcm",
            np.zeros((4, 2, 3), np.uint16),
            SharedFunctionalGroupsSequence=shared,
            PerFrameFunctionalGroupsSequence=frames,
        )
    )
    np.testing.assert_allclose(found.spacing_mm, (step, 1, 1))
    assert (found.affine is None) == np.isnan(step)


def test_frames_that_are_stored_in_another_order_are_refused(tmp_path):
    frames = [
        group(PlanePositionSequence=[group(ImagePositionPatient=[0, 0, z])]) for z in (0, 4, 2)
    ]
    with pytest.raises(UserError, match="not stored in the order in which they lie"):
        images.read(
            saved(
                tmp_path / "a.dcm",
                np.zeros((3, 2, 3), np.uint16),
                PixelSpacing=[1, 1],
                ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
                PerFrameFunctionalGroupsSequence=frames,
            )
        )


def test_a_directory_of_dicom_files_is_no_image(tmp_path):
    saved(tmp_path / "DICOMDIR", SEVEN)
    assert not images.is_image(tmp_path / "DICOMDIR")
    saved(tmp_path / "1.2.840", SEVEN)
    assert images.is_image(tmp_path / "1.2.840")
    assert images.stem(tmp_path / "1.2.840") == "1.2.840"


def test_a_slope_of_nothing_is_refused(tmp_path):
    path = saved(tmp_path / "a.dcm", SEVEN, RescaleSlope=0, RescaleIntercept=-1024)
    with pytest.raises(UserError, match=r"a\.dcm: .*RescaleSlope is 0"):
        images.read(path)


def test_pixels_at_the_detector_are_those_of_the_patient_by_the_magnification(tmp_path):
    more = {"ImagerPixelSpacing": [0.3, 0.6]}
    assert images.layout(saved(tmp_path / "a.dcm", SEVEN, **more)).spacing_mm == (0.3, 0.6)
    more["EstimatedRadiographicMagnificationFactor"] = 1.5
    found = images.layout(saved(tmp_path / "b.dcm", SEVEN, **more)).spacing_mm
    assert found == pytest.approx((0.2, 0.4))
    more["PixelSpacing"] = [0.25, 0.25]  # calibrated already
    assert images.layout(saved(tmp_path / "c.dcm", SEVEN, **more)).spacing_mm == (0.25, 0.25)
