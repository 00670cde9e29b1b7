"""Images with masks, made ready: their form and grid, and that a mask comes back as it was."""

import itertools

import nibabel
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from medjax.data import geometry, images, source, volumes
from medjax.data.builders.masks import Form, place, prepare
from medjax.data.dataset import Dataset, Split
from medjax.data.file_grid import FileGrid
from medjax.data.masks import SETS
from medjax.data.masks.case import MaskCase, numbered
from medjax.data.masks.one_grid import check_one_grid, turned_like
from medjax.data.options import MaskOptions
from medjax.data.patches import UNKNOWN, cut, draw_patches
from medjax.errors import UserError
from medjax.ops.preprocess import Preprocessing
from medjax.outputs.base import ModelSpec
from medjax.outputs.masks import ellipses, infer, report, serve
from tests.conftest import real_data
from tests.data.test_mask_folders import boxes, write

PLAIN = Form((), "image", ())


def test_a_channel_of_fractions_keeps_them(tmp_path, cache_dir):
    """Beside one of whole numbers, whose type is that of the first file."""
    mask, kinds = np.zeros((9, 8, 6), np.uint8), (np.int16, np.float32)
    mask[2:5, 2:5, 2:4] = 1
    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / folder).mkdir()
    for name in "abcdef":
        nibabel.save(nibabel.Nifti1Image(mask, np.eye(4)), tmp_path / f"labelsTr/{name}.nii.gz")
        for number, kind in enumerate(kinds):
            image = nibabel.Nifti1Image(
                (mask * (100 if number == 0 else 0.25)).astype(kind), np.eye(4)
            )
            nibabel.save(image, tmp_path / f"imagesTr/{name}_{number:04d}.nii.gz")
    options = MaskOptions(data_dir=str(tmp_path), scaling="set")
    made = source.load("mask_folder", options=options, cache_dir=cache_dir)
    image = made.splits["train"].read(0)
    assert sorted(np.unique(image[..., 1]).tolist()) == [0, 0.25]
    assert image[..., 0].max() == 100


@pytest.mark.parametrize(
    ("pixels", "options", "form"),
    [
        (np.uint8, {"scaling": "set"}, ("set", "int16")),
        (np.int16, {}, ("set", "int16")),
        (np.int16, {"window": (-100.0, 300.0)}, ("image", "uint8")),
    ],
)
def test_new_images_are_scaled_as_those_of_the_training(tmp_path, cache_dir, pixels, options, form):
    """Hounsfield units are scaled alike, unless a window is given; what is, is never of 8 bits."""
    values = np.full((8, 10, 6), -900 if pixels == np.int16 else 9).astype(pixels)
    values[2:5, 3:7, 1:4] = 100
    for name in ("a", "b", "c"):
        write(tmp_path / "images" / f"{name}.nii.gz", values)  # makes the folder
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / f"images/{name}.nii.gz")
        write(tmp_path / "labels" / f"{name}.nii.gz", values == 100)
    options = MaskOptions(data_dir=str(tmp_path), **options)
    data = source.load("mask_folder", options=options, cache_dir=cache_dir)
    train = data.splits["train"]
    spec = ModelSpec(
        data.info, Preprocessing(0, 1, (0,), (1,)), (8, 8, 8, 1), str(train.image_dtype),
        tuple(options.window),
    )  # fmt: skip
    new = serve.form_of(spec)
    assert (new.scaling, new.integer_type) == form
    raw = images.read(tmp_path / "images" / "a.nii.gz")
    placed = place(raw, new, spacing_mm=None, origin="a")
    np.testing.assert_array_equal(placed.image, train.read(0))
    if form[0] == "set":  # beyond the range of the type are its ends
        beyond = raw._replace(pixels=np.full_like(raw.pixels, 4e4, np.float32))
        assert place(beyond, new, spacing_mm=None, origin="a").image.max() == 32767


def test_values_that_are_not_declared_or_not_whole_are_refused():
    np.testing.assert_array_equal(numbered(np.array([[0, 255]]), (255,), origin="x"), [[0, 1]])
    with pytest.raises(UserError, match=r"x: has the value 3, which is not declared"):
        numbered(np.array([[0, 3]]), (1, 2), origin="x")
    with pytest.raises(UserError, match=r"x: a mask has whole numbers, this one 0.5"):
        numbered(np.array([[0.0, 0.5]]), (1,), origin="x")


def test_masks_on_another_grid_are_refused():
    image = images.RawImage(np.zeros((4, 5, 6, 1)), (1.0,) * 3, np.eye(4), "xyz")
    with pytest.raises(UserError, match=r"the mask has 4 x 5 x 7 voxels, its image 4 x 5 x 6"):
        check_one_grid(image, image._replace(pixels=np.zeros((4, 5, 7, 1))), origin="x")
    shifted = geometry.scaling(np.ones(3), np.array([0.0, 3.0, 4.0]))
    with pytest.raises(UserError, match=r"lies up to 5 mm from its image"):
        check_one_grid(image, image._replace(affine=shifted), origin="x")


def odd_affines():
    """Thirty: every order and some directions of axes, anisotropic, half of them oblique."""
    rng = np.random.default_rng(0)
    for number, order in enumerate(
        itertools.islice(itertools.cycle(itertools.permutations(range(3))), 30)
    ):
        axes = np.eye(3)[list(order)] * rng.choice([-1, 1], 3)
        turn = Rotation.from_euler("xyz", rng.uniform(-20, 20, 3), degrees=True).as_matrix()
        matrix = (turn if number % 2 else np.eye(3)) @ axes @ np.diag(rng.uniform(0.5, 4, 3))
        affine = np.eye(4)
        affine[:3, :3], affine[:3, 3] = matrix, rng.uniform(-50, 50, 3)
        yield affine


@pytest.mark.parametrize("affine", list(odd_affines()))
def test_an_identity_network_gives_the_mask_back(affine, rng, tmp_path):
    """Through the orientation of the set, windows, the file's grid, and the file."""
    mask = rng.integers(0, 3, (7, 9, 6)).astype(np.uint8)
    raw = images.RawImage(mask[..., None], tuple(geometry.spacing_mm(affine)), affine, "xyz")
    placed = place(raw, PLAIN, spacing_mm=None, origin="x")

    def identity(params, stats, batch):
        return {"probability": np.eye(3, dtype=np.float32)[batch["image"][..., 0]][None]}

    probability = infer.predict_windows(identity, ({}, {}), placed.image, patch=(8, 4, 4), batch=3)
    back = infer.on_file_grid(probability[0], row=placed.targets)
    np.testing.assert_array_equal(back, mask)
    report.write_mask(tmp_path / "m.nii.gz", back, (1, 2), FileGrid.of_row(placed.targets))
    file = images.read(tmp_path / "m.nii.gz")
    np.testing.assert_array_equal(file.pixels[..., 0], mask)
    np.testing.assert_allclose(file.affine, affine, atol=1e-4)


def test_masks_move_with_their_image_onto_other_voxels():
    """A box of 8 mm in voxels of 1 mm is as large, and at the same place, in voxels of 2 mm."""
    mask = np.zeros((20, 20, 20), np.uint8)
    mask[4:12, 6:14, 2:10] = 1
    raw = images.RawImage((100 * mask).astype(np.uint8)[..., None], (1.0,) * 3, np.eye(4), "xyz")
    case = MaskCase(lambda: raw, lambda: raw, "x", "x", "x", None)
    made = prepare(
        case, raw, raw._replace(pixels=mask[..., None]), (1,), form=Form((2.0,) * 3, "image", ())
    )
    assert made.image.shape == (10, 10, 10, 1)
    inside = np.argwhere(made.kept["mask"] == 1)
    np.testing.assert_array_equal([inside.min(0), inside.max(0)], [[2, 3, 1], [5, 6, 4]])
    np.testing.assert_array_equal(volumes.unpack(made.kept["reference"], mask.shape), mask)
    probability = np.eye(2, dtype=np.float32)[made.kept["mask"]]
    back = infer.on_file_grid(probability, row=made.targets)
    assert (back != mask).mean() < 0.02  # at edges alone


def test_a_large_picture_is_shrunk_and_its_mask_comes_back_in_full_size():
    """Of 20 x 40 pixels to 10 x 20: each covers two by two, so that pixel 0 lies at 0.5."""
    mask = np.zeros((20, 40), np.uint8)
    mask[4:12, 6:30] = 255
    raw = images.RawImage((mask // 3)[..., None])
    case = MaskCase(lambda: raw, lambda: raw, "x", "x", "x", None)
    form = Form((), "image", (), longest_side=20)
    made = prepare(case, raw, raw._replace(pixels=mask[..., None]), (255,), form=form)
    assert made.image.shape == (10, 20, 1) and made.targets["file_shape"].tolist() == [20, 40]
    np.testing.assert_array_equal(made.targets["to_index"], [[2, 0, 0.5], [0, 2, 0.5], [0, 0, 1]])
    np.testing.assert_array_equal(made.kept["mask"], mask[::2, ::2] // 255)
    back = infer.on_file_grid(np.eye(2, dtype=np.float32)[made.kept["mask"]], row=made.targets)
    np.testing.assert_array_equal(back, mask // 255)
    small = place(raw, form._replace(longest_side=40), spacing_mm=None, origin="x")
    np.testing.assert_array_equal(small.image, raw.pixels)
    # Single decisions count what the shrunk mask has lost: a line that no answer finds.
    thin = mask // 255
    thin[17, :] = 1
    probability = np.eye(2, dtype=np.float32)[made.kept["mask"]]
    answer = infer.decide(probability, row=made.targets, reference=thin)
    found, missed = answer["histogram"][1, 500:].sum(), answer["histogram"][1, :500].sum()
    assert (found, missed) == (8 * 24, 40)


def test_a_volume_without_a_voxel_size_is_not_resampled_silently():
    raw = images.RawImage(np.zeros((4, 4, 4, 1)), None, None, "zyx")
    with pytest.raises(UserError, match="the size of its voxels is not known"):
        place(raw, Form((2.0,) * 3, "image", ()), spacing_mm=None, origin="x")


def a_split(sizes, rng):
    arrays = [rng.integers(0, 99, (*size, 1)).astype(np.uint8) for size in sizes]
    masks = []
    for size in sizes:
        mask = np.zeros(size, np.uint8)
        mask[3:5, 9:12] = 1
        masks.append(mask)
    names = [str(i) for i in range(len(sizes))]
    return Split(
        {"size": np.array(sizes)},
        names,
        names,
        [{}] * len(sizes),
        lambda i: arrays[i],
        (*np.max(sizes, 0), 1),
        np.dtype(np.uint8),
        {"mask": lambda i: masks[i]},
    )


def test_patches_follow_from_seed_and_number(rng):
    split = a_split([(20, 30), (6, 40)], rng)
    draw = {"patch": (8, 8), "a_case": 50, "structures": 1}
    first = draw_patches(split, structure_share=1.0, seed=3, **draw)
    again = draw_patches(split, structure_share=1.0, seed=3, **draw)
    other = draw_patches(split, structure_share=1.0, seed=4, **draw)
    rows = [97, 0, 11]
    a, b, c = (x.batch(rows, ["mask"]) for x in (first, again, other))
    np.testing.assert_array_equal(a["image"], b["image"])
    assert (a["image"] != c["image"]).any()
    assert len(first) == 100 and a["image"].shape == (3, 8, 8, 1)
    every = first.batch(range(100), ["mask"])["mask"]
    assert (every == 1).any((1, 2)).all()  # each is upon the structure
    small = every[1::2]  # of the image that is 6 high
    assert (small[:, [0, -1]] == UNKNOWN).all() and (small[:, 1:-1] != UNKNOWN).all()
    plain = draw_patches(split, structure_share=0.0, seed=3, **draw)
    assert (plain.batch(range(0, 100, 2), ["mask"])["mask"] == 1).any((1, 2)).mean() < 0.5


def test_parts_beyond_the_border(rng):
    image = np.arange(12).reshape(3, 4)
    np.testing.assert_array_equal(cut(image, (-1, 2), (3, 3)), [[2, 3, 3], [2, 3, 3], [6, 7, 7]])
    np.testing.assert_array_equal(cut(image, (2, 3), (2, 2), fill=-1), [[11, -1], [-1, -1]])


def test_a_set_from_arrays_of_several_sizes(rng):
    masks = [np.pad(boxes(), ((0, i), (0, 0))) for i in range(12)]
    pictures = [rng.normal(size=m.shape).astype(np.float32) + 9 * m for m in masks]
    made = Dataset.from_masks(pictures, masks, structures=["lesion"], spacing_mm=0.5)
    assert made.info.summary == "masks of lesion" and made.info.spacing_mm == (0.5, 0.5)
    split = made.splits["train"]
    for i, case in enumerate(split.case_id):
        np.testing.assert_array_equal(split.on_demand["mask"](i), masks[int(case)])
        np.testing.assert_array_equal(split.on_demand["reference"](i), masks[int(case)])
        assert split.read(i).shape == (*masks[int(case)].shape, 1)
    changed = [m.copy() for m in masks]
    changed[3][0, 0] = 1
    assert Dataset.from_masks(pictures, changed, spacing_mm=0.5).digest != made.digest
    with pytest.raises(UserError, match="12 images, but 11 masks"):
        Dataset.from_masks(pictures, masks[:-1])
    with pytest.raises(UserError, match="no mask of the training has the structure 'vessel'"):
        Dataset.from_masks(pictures, masks, structures=["lesion", "vessel"])


def test_heads_have_their_official_circumference():
    """By the moments of the mask, to 0.1 %."""
    made = SETS["hc18"](MaskOptions(data_dir=str(real_data("hc18"))))
    for case in made.cases[::150]:
        mask = case.read_mask().pixels[..., 0]
        long, short = ellipses.axes(mask > 0, spacing=np.full(2, case.spacing_mm))
        official = float(case.metadata["hc_mm_official"])
        assert geometry.circumference(long, short) == pytest.approx(official, rel=1e-3)


def test_an_image_without_a_thing_is_one_of_its_set():
    masks = [np.zeros((8, 9), np.uint16) for _ in range(6)]
    for mask in masks[1:]:
        mask[2:4, 2:4], mask[5:7, 5:8] = 1, 2
    made = Dataset.from_masks([np.ones((8, 9), np.uint8)] * 6, masks, instances=True)
    voxels = np.concatenate([split["voxels"] for split in made.splits.values()])
    assert sorted(voxels[:, 0]) == [0, *[10] * 5]


def test_the_outer_half_of_the_outermost_voxels_is_of_the_image():
    """Eight slices of 5 mm, all with the organ, brought to voxels of 1 mm."""
    affine = np.diag([1.0, 1.0, 5.0, 1.0])
    image, mask = np.full((6, 6, 8, 1), 100, np.int16), np.ones((6, 6, 8, 1), np.uint8)
    mask[0] = 0
    case = MaskCase(lambda: None, lambda: None, "a", "a", "", None)
    made = prepare(
        case,
        images.RawImage(image, None, affine),
        images.RawImage(mask, None, affine),
        (1,),
        form=Form((1.0, 1.0, 1.0), "set", ()),
    )
    assert made.image.shape == (6, 6, 40, 1)
    assert (made.image == 100).all()
    assert (made.kept["mask"][2] == 1).all()


def test_slices_are_turned_as_volumes_are():
    image, mask = np.zeros((5, 4, 1)), np.zeros((5, 4, 1), np.uint8)
    image[1, 3], mask[3, 0] = 1, 1  # the same place, both axes the other way round
    there = np.eye(4)
    turned = np.diag([-1.0, -1.0, 1.0, 1.0])
    turned[:2, 3] = 4, 3
    raw_image, raw_mask = (images.RawImage(x, None, a) for x, a in ((image, there), (mask, turned)))
    found = turned_like(raw_image, raw_mask)
    np.testing.assert_array_equal(found.pixels, image)
    check_one_grid(raw_image, found, origin="a")
    away = turned.copy()
    away[2, 3] = 50
    with pytest.raises(UserError, match=r"lies up to 50\.2 mm from its image"):
        check_one_grid(raw_image, raw_mask._replace(affine=away), origin="a")


def test_one_ct_of_several_makes_a_set_of_them(tmp_path, cache_dir):
    """The first volume shows no air."""
    for i, low in enumerate((-150, -1000, -1000, -1000)):
        volume = np.linspace(low, 500, 6 * 7 * 8).reshape(6, 7, 8).astype(np.int16)
        for folder, values in (("images", volume), ("labels", (volume > 100).astype(np.uint8))):
            (tmp_path / folder).mkdir(exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / folder / f"{i}.nii.gz")
    found = source.load(
        "mask_folder", options=MaskOptions(data_dir=str(tmp_path)), cache_dir=cache_dir
    )
    assert next(iter(found.splits.values())).image_dtype == "int16"
    assert any("intensities are scaled alike" in note for note in found.notes)
