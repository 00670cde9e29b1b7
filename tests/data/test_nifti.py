"""What a NIfTI file may say, and what is refused before it becomes numbers."""

import gzip

import nibabel
import numpy as np
import pytest

from medjax.data import images, nifti
from medjax.errors import UserError

SIX = np.random.default_rng(0).integers(-500, 1000, (12, 10, 8)).astype(np.int16)


def saved(path, voxels=SIX, affine=None, *, sform=None, qform=None, **header):
    """A file whose sform and qform are (affine, code), or both `affine`."""
    image = nibabel.Nifti1Image(voxels, np.eye(4) if affine is None else affine)
    if sform or qform:
        image.set_sform(*(sform or (None, 0)))
        image.set_qform(*(qform or (None, 0)))
    for name, value in header.items():
        image.header[name] = value
    nibabel.save(image, path)
    return path


def moved(shift):
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    affine[:3, 3] = shift
    return affine


@pytest.mark.parametrize("first", [10, 400])
def test_one_flipped_bit_of_a_compressed_volume_is_found(tmp_path, first):
    """nibabel alone reads most of them, for it stops before the check sum. What stands in the first
    ten bytes (a time, an operating system) is no part of the contents."""
    path = saved(tmp_path / "a.nii.gz")
    good, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(40):
        bad = bytearray(good)
        bad[int(rng.integers(first, len(bad)))] ^= 1 << int(rng.integers(0, 8))
        path.write_bytes(bytes(bad))
        with pytest.raises(UserError, match=r"a\.nii\.gz: "):
            images.read(path)
    path.write_bytes(good)
    np.testing.assert_array_equal(images.read(path).pixels[..., 0], SIX)


@pytest.mark.parametrize("cut", [300, 1000, -1, -9])
def test_a_truncated_volume_is_told(tmp_path, cut):
    path = saved(tmp_path / "a.nii.gz")
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(UserError, match=r"truncated|missing"):
        images.read(path)


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1.0), ("micron", 1e-3), ("meter", 1e3)])
def test_units_become_millimetres(tmp_path, unit, factor):
    image = nibabel.Nifti1Image(SIX, np.diag([20.0, 30.0, 40.0, 1.0]))
    image.header.set_xyzt_units(unit)
    nibabel.save(image, tmp_path / "a.nii")
    found = images.read(tmp_path / "a.nii")
    np.testing.assert_allclose(found.spacing_mm, factor * np.array([20, 30, 40]))
    np.testing.assert_allclose(np.diag(found.affine)[:3], factor * np.array([20, 30, 40]))
    layout = images.layout(tmp_path / "a.nii")
    assert layout.shape == SIX.shape
    assert layout.spacing_mm == found.spacing_mm


@pytest.mark.parametrize(
    ("forms", "words"),
    [
        (
            {"sform": (moved([0, 0, 0]), 2), "qform": (moved([50, 60, 70]), 1)},
            "sform .code 2. and qform .code 1. place it up to 105 mm apart",
        ),
        ({"sform": (moved([0, 0, 0]), 1), "qform": (moved([0, 0, 0.05]), 1)}, "0.05 mm apart"),
    ],
)
def test_statements_that_disagree_are_refused(tmp_path, forms, words):
    path = saved(tmp_path / "a.nii", **forms)
    for read in (images.read, images.layout):
        with pytest.raises(UserError, match=words):
            read(path)


def test_a_size_that_the_affine_does_not_have_is_refused(tmp_path):
    image = nibabel.Nifti1Image(SIX, np.eye(4))
    image.header.set_zooms((1.5, 2.0, 8.0))
    nibabel.save(image, tmp_path / "a.nii")
    with pytest.raises(UserError, match=r"voxels of 1 x 1 x 1 mm, its pixdim 1\.5 x 2 x 8"):
        images.read(tmp_path / "a.nii")


@pytest.mark.parametrize("seed", range(20))
def test_what_float32_rounds_is_no_disagreement(tmp_path, seed):
    """Any rotation, near 180 degrees too, where a quaternion of float32 has few digits."""
    from scipy.spatial.transform import Rotation

    rng = np.random.default_rng(seed)
    angle = np.pi - 10.0 ** rng.uniform(-5, 0)
    axis = rng.normal(size=3)
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_rotvec(angle * axis / np.linalg.norm(axis)).as_matrix() * (
        rng.uniform(0.3, 3, 3)
    )
    affine[:3, 3] = rng.normal(0, 200, 3)
    path = saved(
        tmp_path / "a.nii",
        np.zeros((300, 200, 100), np.uint8),
        affine,
        sform=(affine, 1),
        qform=(affine, 1),
    )
    np.testing.assert_allclose(images.layout(path).affine, affine, atol=1e-3)


def test_without_a_code_there_is_no_orientation(tmp_path):
    path = saved(
        tmp_path / "a.nii",
        affine=np.diag([2.0, 3, 4, 1]),
        sform=(None, 0),
        qform=(None, 0),
        pixdim=[1, 2, 3, 4, 1, 1, 1, 1],
    )
    found = images.read(path)
    assert found.affine is None
    assert found.spacing_mm == (2.0, 3.0, 4.0)


RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])


@pytest.mark.parametrize(
    ("voxels", "header", "words"),
    [
        (np.zeros((4, 4, 4), np.complex64), {}, "holds complex values"),
        (np.zeros((4, 4, 4), RGB), {}, "holds colour values"),
        (np.zeros((4, 4, 3), np.int16), {"intent_code": 1007}, "holds vector values"),
        (np.full((4, 4, 4), 2**24 + 1, np.int32), {}, "values up to 16777217, more than float32"),
        (np.full((4, 4, 4), 2**40, np.int64), {}, "more than float32 holds exactly"),
        (np.zeros((4, 4, 2, 3), np.int16), {}, "has 4 axes; one image has 2 or 3"),
    ],
)
def test_types_that_no_gray_image_has_are_refused(tmp_path, voxels, header, words):
    image = nibabel.Nifti1Image(voxels, np.eye(4), dtype=voxels.dtype)
    for name, value in header.items():
        image.header[name] = value
    nibabel.save(image, tmp_path / "a.nii.gz")
    with pytest.raises(UserError, match=words):
        images.read(tmp_path / "a.nii.gz")


@pytest.mark.parametrize("code", [1536, 2048, 0, 1, 77])
def test_types_that_numpy_does_not_have_are_refused(tmp_path, code, capfd):
    """1536 is a long double of 128 bits."""
    content = bytearray(saved(tmp_path / "a.nii").read_bytes())
    content[70:72] = np.int16(code).tobytes()
    (tmp_path / "a.nii").write_bytes(bytes(content))
    with pytest.raises(UserError, match=r"a\.nii: .*data code"):
        images.read(tmp_path / "a.nii")
    assert capfd.readouterr() == ("", "")


def test_whole_numbers_that_float32_holds_are_read(tmp_path):
    nibabel.save(
        nibabel.Nifti1Image(SIX.astype(np.int64), np.eye(4), dtype=np.int64), tmp_path / "a.nii"
    )
    np.testing.assert_array_equal(images.read(tmp_path / "a.nii").pixels[..., 0], SIX)


def test_scaling_and_the_other_byte_order(tmp_path):
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    nibabel.save(nibabel.Nifti1Image(SIX * 0.5 + 3, np.eye(4), header), tmp_path / "a.nii.gz")
    np.testing.assert_allclose(
        images.read(tmp_path / "a.nii.gz").pixels[..., 0], SIX * 0.5 + 3, atol=0.05
    )


@pytest.mark.parametrize("offset", [0, 100])
def test_pixels_inside_the_header_are_refused(tmp_path, offset):
    content = bytearray(saved(tmp_path / "a.nii").read_bytes())
    content[108:112] = np.float32(offset).tobytes()
    (tmp_path / "a.nii").write_bytes(bytes(content))
    with pytest.raises(UserError, match=f"begin at byte {offset}, inside the header"):
        images.read(tmp_path / "a.nii")


@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
def test_a_size_beyond_the_bound_is_refused_before_it_takes_memory(tmp_path, suffix):
    """A header of a few bytes promises 800 GB."""
    image = nibabel.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4))
    content = bytearray(image.to_bytes())
    content[42:48] = np.array([30000, 30000, 222], np.int16).tobytes()
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(gzip.compress(bytes(content)) if suffix.endswith("gz") else bytes(content))
    with pytest.raises(UserError, match=r"needs 799\.2 GB once it is decoded, more than `max_im"):
        images.read(path)


def test_of_pictures_over_time_the_third_axis_is_no_place(tmp_path):
    image = nibabel.Nifti1Image(SIX, np.diag([1.5, 2.0, 1.0, 1.0]))
    image.header.set_zooms((1.5, 2.0, 40.0))
    image.header.set_xyzt_units("mm", "msec")
    nibabel.save(image, tmp_path / "a.nii")
    header = nifti.header_of(tmp_path / "a.nii", timed=True)
    assert header.spacing_mm == (1.5, 2.0)
    assert header.frame_ms == 40.0


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
def test_extensions_of_the_header_are_passed_over(tmp_path, kind, suffix):
    image = kind(SIX, np.eye(4))
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"hello" * 40))
    nibabel.save(image, tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(images.read(tmp_path / f"a.{suffix}").pixels[..., 0], SIX)
    assert images.layout(tmp_path / f"a.{suffix}").shape == SIX.shape


def test_a_header_of_nothing_or_of_an_unknown_unit_is_refused(tmp_path):
    content = bytearray(saved(tmp_path / "a.nii").read_bytes())
    for place, value, words in ((42, 0, "sides of 0 x 10 x 8 voxels"), (123, 5, "the code 5")):
        bad = bytearray(content)
        bad[place] = value
        (tmp_path / "a.nii").write_bytes(bytes(bad))
        with pytest.raises(UserError, match=words):
            images.read(tmp_path / "a.nii")


def test_scaled_whole_numbers_may_be_large(tmp_path):
    image = nibabel.Nifti1Image(SIX * 1e-3, np.eye(4))
    image.header.set_data_dtype(np.int32)
    nibabel.save(image, tmp_path / "a.nii")
    np.testing.assert_allclose(
        images.read(tmp_path / "a.nii").pixels[..., 0], SIX * 1e-3, atol=1e-4
    )


def test_a_slice_is_held_to_its_header_too(tmp_path):
    path = saved(
        tmp_path / "a.nii", SIX[:, :, :1], sform=(moved([0, 0, 0]), 1), qform=(moved([9, 0, 0]), 1)
    )
    with pytest.raises(UserError, match="9 mm apart"):
        images.read(path)
    found = images.read(saved(tmp_path / "b.nii", SIX[:, :, :1], moved([0, 0, 0])))
    assert found.pixels.shape == (12, 10, 1)
    assert found.spacing_mm == (2.0, 3.0)
