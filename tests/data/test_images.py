import nibabel
import numpy as np
import pytest
from PIL import Image

from medjax.data import images
from medjax.errors import UserError


@pytest.fixture
def gray(rng):
    return rng.integers(0, 255, (6, 5), dtype=np.uint8)


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
def test_gray_pictures(tmp_path, gray, suffix):
    Image.fromarray(gray).save(tmp_path / f"a.{suffix}")
    found = images.read(tmp_path / f"a.{suffix}")
    pixels, spacing = found.pixels, found.spacing_mm
    np.testing.assert_array_equal(pixels[..., 0], gray)
    assert spacing is None


def test_jpeg_is_close_and_rgb_keeps_channels(tmp_path, gray):
    smooth = np.linspace(0, 250, 64, dtype=np.uint8).reshape(8, 8)
    Image.fromarray(smooth).save(tmp_path / "a.JPG", quality=95)
    assert np.abs(images.read(tmp_path / "a.JPG")[0][..., 0].astype(int) - smooth).max() < 12
    Image.fromarray(np.stack([gray] * 3, -1)).save(tmp_path / "b.png")
    assert images.read(tmp_path / "b.png")[0].shape == (6, 5, 3)


def test_sixteen_bits_and_palette(tmp_path, gray):
    deep = gray.astype(np.uint16) * 200
    Image.fromarray(deep).save(tmp_path / "deep.png")
    pixels = images.read(tmp_path / "deep.png").pixels
    assert pixels.dtype == np.uint16
    np.testing.assert_array_equal(pixels[..., 0], deep)
    Image.fromarray(gray).convert("P").save(tmp_path / "palette.png")
    assert images.read(tmp_path / "palette.png")[0].shape == (6, 5, 3)


def test_a_tiff_of_pages_is_a_volume(tmp_path, gray):
    pages = [Image.fromarray(gray + i) for i in range(3)]
    pages[0].save(tmp_path / "v.tiff", save_all=True, append_images=pages[1:])
    assert images.read(tmp_path / "v.tiff")[0].shape == (3, 6, 5, 1)


@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
def test_nifti_with_spacing(tmp_path, rng, suffix):
    volume = rng.standard_normal((4, 5, 6)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(volume, np.diag([1, 2, 3, 1.0])), tmp_path / f"v.{suffix}")
    found = images.read(tmp_path / f"v.{suffix}")
    pixels, spacing = found.pixels, found.spacing_mm
    np.testing.assert_array_equal(pixels[..., 0], volume)
    assert spacing == (1.0, 2.0, 3.0)


def test_a_flat_nifti_is_an_image(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 1), np.int16), np.eye(4)), tmp_path / "a.nii")
    assert images.read(tmp_path / "a.nii")[0].shape == (4, 5, 1)


def test_dicom(tmp_path, gray):
    pytest.importorskip("pydicom", reason="needs the extra `dicom`")
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = meta.MediaStorageSOPInstanceUID = generate_uid()
    record = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    record.Rows, record.Columns, record.BitsAllocated, record.BitsStored = 6, 5, 16, 16
    record.HighBit, record.PixelRepresentation, record.SamplesPerPixel = 15, 0, 1
    record.PhotometricInterpretation, record.PixelSpacing = "MONOCHROME2", [0.5, 0.25]
    record.RescaleSlope, record.RescaleIntercept = 2, -1000
    record.PixelData = gray.astype(np.uint16).tobytes()
    record.save_as(tmp_path / "a.dcm")
    found = images.read(tmp_path / "a.dcm")
    pixels, spacing = found.pixels, found.spacing_mm
    np.testing.assert_array_equal(pixels[..., 0], gray * 2.0 - 1000)
    assert spacing == (0.5, 0.25)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.png", b"not a picture", "unreadable or truncated"),
        ("a.nii.gz", b"\x1f\x8b nothing", "unreadable or truncated"),
        ("a.dcm", b"", "unreadable or truncated"),
        ("a.xyz", b"", "cannot read '.xyz'"),
    ],
)
def test_bad_files_are_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        images.read(tmp_path / name)
    assert str(tmp_path / name) in str(error.value)


def test_truncated_missing_and_not_finite(tmp_path):
    noisy = np.random.default_rng(0).integers(0, 255, (40, 40), dtype=np.uint8)
    Image.fromarray(noisy).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:200])
    with pytest.raises(UserError, match=r"a\.png: unreadable or truncated"):
        images.read(tmp_path / "a.png")
    with pytest.raises(UserError, match="no such image file"):
        images.read(tmp_path / "b.png")
    bad = np.zeros((2, 2, 2), np.float32)
    bad[0, 0, 0] = np.nan
    nibabel.save(nibabel.Nifti1Image(bad, np.eye(4)), tmp_path / "n.nii")
    with pytest.raises(UserError, match="1 NaN or infinite pixels"):
        images.read(tmp_path / "n.nii")


@pytest.mark.parametrize("shape", [(8, 6, 3), (8, 6, 4, 1)])
def test_resize(rng, shape):
    flat = np.full(shape, 77, np.uint8)
    small = images.resize(flat, [5] * (len(shape) - 1))
    assert (small == 77).all()
    assert small.shape == (5,) * (len(shape) - 1) + (shape[-1],)
    ramp = np.broadcast_to(np.arange(64.0)[:, None, None], (64, 64, 1)).astype(np.float32)
    small = images.resize(ramp, (16, 16))[:, 0, 0]
    np.testing.assert_allclose(small[2:-2], np.arange(16)[2:-2] * 4 + 1.5, atol=0.05)
