"""Exam images of several forms become one: orientation, voxels, shape, classes."""

import nibabel
import numpy as np
import pytest
from PIL import Image

from medjax.data import exams, images, source
from medjax.data.found import Layout, RawImage
from medjax.data.options import DataOptions
from medjax.errors import UserError

BLOB = np.random.default_rng(0).normal(size=(4, 5, 6, 1)).astype(np.float32)


def stored_as(codes, pixels=BLOB, spacing=(1.0, 2.0, 3.0)):
    """The same volume as a scanner that stores its axes in this order would have it."""
    affine = np.diag([*spacing, 1.0])
    wanted = nibabel.orientations.ornt_transform(
        *map(nibabel.orientations.axcodes2ornt, ("RAS", codes))
    )
    turned = nibabel.orientations.apply_orientation(pixels, wanted)
    back = affine @ nibabel.orientations.inv_ornt_aff(wanted, pixels.shape[:3])
    return RawImage(turned, tuple(np.linalg.norm(back[:3, :3], axis=0)), back, "xyz")


@pytest.mark.parametrize("codes", ["RAS", "LAS", "LPS", "PIR", "ASL", "SRP"])
def test_every_orientation_becomes_one(codes):
    pixels, spacing = exams.turned(stored_as(codes))
    np.testing.assert_array_equal(pixels, BLOB)
    np.testing.assert_allclose(spacing, (1, 2, 3))


def test_what_states_no_orientation_stays():
    found = RawImage(BLOB, (1.0, 1.0, 1.0), None, "xyz")
    assert exams.turned(found)[0] is BLOB


def test_padding_keeps_proportions_and_stretching_does_not():
    tall = np.full((20, 10, 1), 9, np.uint8)
    tall[:2] = 1
    found = RawImage(tall, None, None, "yx")
    padded = exams.arrange(found, exams.Arrangement((10, 10)), origin="a")[..., 0]
    assert (padded[:, :2] == 1).all() and (padded[:, 8:] == 1).all()  # the lowest value
    assert (padded[1:, 3:7] == 9).all()
    stretched = exams.arrange(found, exams.Arrangement((10, 10), fit="stretch"), origin="a")
    assert (stretched[1:, :, 0] == 9).all()
    assert (stretched[0] == 1).all()


def test_padding_of_oblong_pixels_is_in_millimetres():
    """10 x 10 pixels of 1 x 2 mm are twice as wide as high."""
    found = RawImage(np.full((10, 10, 1), 7, np.uint8), (1.0, 2.0), None, "yx")
    found.pixels[:3] = 1
    padded = exams.arrange(found, exams.Arrangement((8, 8)), origin="a")[..., 0]
    assert (padded[:3] == 1).all() and (padded[6:] == 1).all()
    assert (padded[4:6] == 7).all()


def layout(shape, spacing, codes="RAS"):
    found = stored_as(codes, np.zeros((*shape, 1)), spacing)
    return Layout(found.pixels.shape[:3], found.spacing_mm, found.affine, "xyz")


def plan(layouts, **options):
    return exams.plan(layouts, layouts[0].shape, DataOptions(**options))


def test_voxels_of_several_sizes_become_the_median():
    layouts = [
        layout((10, 10, 10), (1, 1, 1)),
        layout((10, 10, 5), (1, 1, 2)),
        layout((10, 10, 5), (1, 1, 2)),
    ]
    how, notes = plan(layouts)
    assert how.spacing_mm == (1, 1, 2)
    assert how.shape == (10, 10, 5)
    assert notes == [
        "voxels of 1 to 2 mm resampled to 1 x 1 x 2 mm, 10 x 10 x 5 of them "
        "(`keep_spacing` takes them as they are)"
    ]
    kept, notes = plan(layouts, keep_spacing=True)
    assert kept.spacing_mm is None
    assert notes == ["voxels of 1 to 2 mm are taken as they are (`keep_spacing`)"]
    sized, _ = plan(layouts, image_size=20)
    assert (sized.shape, sized.spacing_mm) == ((20, 20, 20), (0.5, 0.5, 0.5))


@pytest.mark.parametrize(("factor", "resampled"), [(1.019, False), (1.021, True)])
def test_two_hundredths_are_one_size(factor, resampled):
    how, _ = plan([layout((9, 9, 9), (1, 1, 1)), layout((9, 9, 9), (factor, 1, 1))])
    assert (how.spacing_mm is not None) == resampled


def test_sizes_are_compared_in_one_orientation():
    """The long side of the voxels is another axis of the array, yet the same of the body."""
    how, notes = plan([layout((8, 8, 4), (1, 1, 3)), layout((8, 8, 4), (1, 1, 3), "SRP")])
    assert how.spacing_mm is None
    assert how.oriented
    assert notes == ["volumes brought to the orientation RAS (1 SRP)"]


def write_volumes(folder):
    """The same heads, bright on their right side, stored as RAS, LAS or with thicker slices."""
    for label, level in (("dim", 50.0), ("lit", 200.0)):
        (folder / label).mkdir(parents=True)
        for i in range(6):
            head = np.full((8, 8, 8, 1), 10.0, np.float32)
            head[5:, 2:6, 2:6] = level
            found = stored_as("LAS" if i % 2 else "RAS", head, (1, 1, 1))
            nibabel.save(
                nibabel.Nifti1Image(found.pixels[..., 0], found.affine),
                folder / label / f"{i}.nii.gz",
            )
        thick = nibabel.Nifti1Image(head[:, :, ::2, 0], np.diag([1.0, 1, 2, 1]))
        nibabel.save(thick, folder / label / "thick.nii.gz")


def test_volumes_of_a_set_are_no_mirror_images(tmp_path, cache_dir):
    write_volumes(tmp_path / "set")
    found = source.load(
        "image_folder", options=DataOptions(data_dir=str(tmp_path / "set")), cache_dir=cache_dir
    )
    for split in found.splits.values():
        images = split.images(range(len(split)))[..., 0]
        assert images.shape[1:] == (8, 8, 8)
        assert (images[:, 6:, 3:5, 3:5] > 40).all()
        assert (images[:, :4] < 20).all()
    assert any("orientation RAS (6 LAS)" in note for note in found.notes)
    assert any("resampled to 1 x 1 x 1 mm" in note for note in found.notes)
    assert found.info.orientation == "RAS"
    assert found.info.spacing_mm == (1, 1, 1)


def test_a_volume_without_a_size_where_all_are_resampled():
    how = exams.Arrangement((4, 4, 4), (1.0, 1.0, 1.0), oriented=True)
    with pytest.raises(UserError, match="b: the size of its voxels is not known"):
        exams.arrange(RawImage(BLOB, None, None, "xyz"), how, origin="b")


@pytest.mark.parametrize(
    ("labels", "wish", "classes", "ordered"),
    [
        ("none mild severe", (), ("mild", "none", "severe"), False),
        ("none mild severe", ("none", "mild", "severe"), ("none", "mild", "severe"), True),
        ("10 2 0 1", (), ("0", "1", "2", "10"), True),
        ("0 1", (), ("0", "1"), False),
    ],
)
def test_the_order_of_classes(labels, wish, classes, ordered):
    assert exams.order_classes(labels.split(), wish) == (classes, ordered)


@pytest.mark.parametrize(
    ("labels", "wish", "words"),
    [
        ("a b", ("a", "b", "c"), "`class_order=a,b,c`: the classes are a, b; name each once"),
        ("a b", ("a", "a", "b"), "name each once"),
        ("a b", ("a",), "name each once"),
        ("Benign benign x", (), "the classes Benign and benign differ by case only"),
    ],
)
def test_an_order_of_other_classes_is_refused(labels, wish, words):
    with pytest.raises(UserError, match=words):
        exams.order_classes(labels.split(), wish)


def test_the_positive_class():
    assert exams.positive_of(["benign", "malignant"], "") == "malignant"
    assert exams.positive_of(["benign", "malignant"], "benign") == "benign"
    assert exams.positive_of(["a", "b", "c"], "") == ""
    with pytest.raises(UserError, match="there are 3 classes; it is for two"):
        exams.positive_of(["a", "b", "c"], "a")
    with pytest.raises(UserError, match="did you mean benign"):
        exams.positive_of(["benign", "malignant"], "begnin")


def test_mixed_channels_are_converted_on_request_and_unreadable_files_left_out(
    folder_of_images, tmp_path
):
    Image.fromarray(np.full((10, 12, 3), 90, np.uint8)).save(folder_of_images / "dark" / "rgb.png")
    (folder_of_images / "dark" / "broken.png").write_bytes(b"\x89PNG broken")

    def load(**options):
        return source.load(
            "image_folder",
            cache_dir=tmp_path / "cache",
            options=DataOptions(data_dir=str(folder_of_images), **options),
        )

    with pytest.raises(UserError, match=r"channels.*`channels=gray`"):
        load(skip_bad=True)
    with pytest.raises(UserError, match=r"broken\.png: unreadable"):
        load(channels="gray")
    for channels, count in (("gray", 1), ("rgb", 3)):
        found = load(channels=channels, skip_bad=True)
        assert sum(map(len, found.splits.values())) == 25
        assert found.splits["train"].image_shape == (10, 12, count)
        assert any("1 " in note and "broken.png" in note for note in found.notes)


@pytest.mark.parametrize(
    "types, stored",
    [
        ((np.int16, np.int16), "int16"),
        ((np.uint8, np.uint8), "uint8"),
        ((np.int16, np.uint8), "float32"),
        ((np.int32, np.int32), "float32"),
        ((np.float32, np.float32), "float32"),
    ],
)
@pytest.mark.parametrize("image_size", [0, 5])
def test_volumes_of_one_type_of_whole_numbers_keep_it(tmp_path, rng, types, stored, image_size):
    values = rng.integers(0, 200, (16, 6, 6, 6))
    for number, volume in enumerate(values):
        folder = tmp_path / "set" / f"class_{number % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        image = nibabel.Nifti1Image(volume.astype(types[number % 2]), np.eye(4))
        nibabel.save(image, folder / f"{number:02}.nii.gz")
    options = DataOptions(data_dir=str(tmp_path / "set"), image_size=image_size)
    split = source.load("image_folder", options=options, cache_dir=tmp_path / "cache").splits[
        "train"
    ]
    assert split.image_dtype == stored
    for number, case_id in enumerate(split.case_id):
        volume = values[int(case_id.split("/")[1][:2])].astype(np.float32)[..., None]
        right = images.resize(volume, (image_size,) * 3) if image_size else volume
        np.testing.assert_array_equal(
            split.images([number])[0], np.rint(right) if stored != "float32" else right
        )


def test_the_order_of_bytes_is_no_type(tmp_path):
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(np.int16)
    image = nibabel.Nifti1Image(np.ones((4, 4, 4), ">i2"), np.eye(4), header)
    nibabel.save(image, tmp_path / "big.nii")
    assert images.layout(tmp_path / "big.nii").integer_type == "int16"


def test_scaled_values_are_no_whole_numbers(tmp_path):
    image = nibabel.Nifti1Image(np.ones((4, 4, 4), np.int16), np.eye(4))
    image.header.set_slope_inter(0.5, 1.0)
    nibabel.save(image, tmp_path / "scaled.nii")
    assert images.layout(tmp_path / "scaled.nii").integer_type == ""
