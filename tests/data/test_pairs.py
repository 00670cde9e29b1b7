"""Images in pairs: how they are paired, where they lie at first, and what is refused."""

import nibabel
import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from medjax.data import brain, geometry, pairing, source
from medjax.data.catalogue import find_kind
from medjax.data.pair_options import PairOptions
from medjax.data.pairs.folder import find_case, image_pairs
from medjax.data.pairs.generated import brain_pairs
from medjax.errors import UserError
from tests.conftest import real_data


def blob(shape, centre, *, long=2.0):
    """A bright ellipsoid, longest along the first axis."""
    away = np.indices(shape) - np.array(centre).reshape(-1, *(1,) * len(shape))
    radius = np.array([2 * long, *([long] * (len(shape) - 1))]).reshape(
        away.shape[:1] + (1,) * len(shape)
    )
    return (200 * ((away / radius) ** 2).sum(0).__le__(1)).astype(np.uint8)


def write_volume(path, pixels, affine):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(pixels, affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    nibabel.save(image, path)


@pytest.fixture
def volumes(tmp_path):
    """Four volumes, three with a mask; their centres of mass are apart."""
    for i, name in enumerate("abcd"):
        pixels = blob((12, 10, 8), (4 + i, 5, 4))
        write_volume(tmp_path / "images" / f"{name}.nii.gz", pixels, np.eye(4))
        if name != "d":
            mask = (pixels > 0).astype(np.uint8)
            write_volume(tmp_path / "labels" / f"{name}.nii.gz", mask, np.eye(4))
    return tmp_path


def opened(root, cache, **options):
    given = {"data_dir": str(root), "unsplit": True, **options}
    return source.load("image_pairs", options=PairOptions(**given), cache_dir=cache)


def names(split):
    return [(m["moving"][7], m["fixed"][7]) for m in split.metadata]


def test_all_with_all_unless_something_else_is_said(volumes, tmp_path):
    made = opened(volumes, tmp_path / "cache")
    assert len(made.splits["test"]) == 12 and made.report_split == "test"
    assert any("1 image without a mask" in note for note in made.notes)
    pair = made.splits["test"].read(0)
    assert pair.shape == (12, 10, 8, 2) and pair.dtype == np.uint8
    chain = opened(volumes, tmp_path / "cache", pairs="consecutive").splits["test"]
    assert names(chain) == [("b", "a"), ("c", "b"), ("d", "c")]
    atlas = opened(volumes, tmp_path / "cache", pairs="atlas", atlas="b").splits["test"]
    assert names(atlas) == [("b", "a"), ("b", "c"), ("b", "d")]


def test_pairs_of_a_table(volumes, tmp_path):
    (volumes / "pairs.csv").write_text("fixed,moving\na,c.nii.gz\nimages/c.nii.gz,b\n")
    assert find_kind(volumes / "pairs.csv") is PairOptions
    made = opened(volumes, tmp_path / "cache")
    assert names(made.splits["test"]) == [("c", "a"), ("b", "c")]
    assert made.info.pairing == "by pairs.csv"


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ("a,a", "paired with itself"),
        ("a,x", "no image of the set is called so"),
        ("a,", "no image of the set is called so"),
    ],
)
def test_bad_tables_are_told(volumes, rows, told):
    (volumes / "pairs.csv").write_text(f"fixed,moving\n{rows}\n")
    with pytest.raises(UserError, match=told):
        image_pairs(PairOptions(data_dir=str(volumes)))


def test_settings_that_do_not_go_together(volumes, tmp_path):
    with pytest.raises(UserError, match="`atlas` names the image"):
        PairOptions(atlas="a")
    with pytest.raises(UserError, match=r"`pairs=x.csv`: no such table"):
        PairOptions(pairs="x.csv")
    with pytest.raises(UserError, match=r"y/a\.png fit; give its path"):
        find_case("a", ["x/a.png", "y/a.png"], origin="here")
    (tmp_path / "one").mkdir()
    Image.fromarray(blob((9, 9), (4, 4))).save(tmp_path / "one" / "a.png")
    with pytest.raises(UserError, match="1 image; a pair needs two"):
        image_pairs(PairOptions(data_dir=str(tmp_path / "one")))


def test_pictures_and_volumes_are_no_pair(volumes, tmp_path):
    Image.fromarray(blob((9, 9), (4, 4))).save(volumes / "images" / "e.png")
    with pytest.raises(UserError, match="2 axes where the first image has 3"):
        opened(volumes, tmp_path / "cache")


def test_files_far_apart_do_not_overlap(volumes, tmp_path):
    away = np.eye(4)
    away[:3, 3] = [500.0, 0.0, 0.0]
    write_volume(volumes / "images" / "d.nii.gz", blob((12, 10, 8), (4, 5, 4)), away)
    with pytest.raises(UserError, match=r"do not overlap.*489 mm apart.*`initial=centre`"):
        opened(volumes, tmp_path / "cache")
    near = opened(volumes, tmp_path / "cache", initial="centre")
    np.testing.assert_allclose(near.splits["test"]["initial"][0], np.eye(3, 4), atol=1e-9)


def test_the_initial_affine_of_other_spacing_size_and_orientation(tmp_path):
    """A voxel of the fixed image leads to the voxel of the moving one that has the same place."""
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("xyz", [10, -20, 30], degrees=True).as_matrix()
    fixed = turn @ np.diag([1.0, 2.0, 1.5, 1.0])
    moving = np.diag([-0.8, 1.0, 1.2, 1.0])
    moving[:3, 3] = [9.0, -3.0, -4.0]
    write_volume(tmp_path / "a.nii.gz", blob((12, 10, 8), (6, 5, 4)), fixed)
    write_volume(tmp_path / "b.nii.gz", blob((20, 14, 11), (9, 7, 5)), moving)
    options = {"pairs": "consecutive", "longest_side": 20}  # as they are, not resampled
    split = opened(tmp_path, tmp_path / "cache", **options).splits["test"]
    space, row = split.image_shape[:-1], {k: v[0] for k, v in split.targets.items()}
    padded = np.array([9.0, 6.0, 5.0])
    sides = []
    for side, place in (
        ("fixed", padded),
        ("moving", geometry.apply(np.vstack([row["initial"], [0, 0, 0, 1]]), padded)),
    ):
        prepared = place - pairing.offset_of(row[f"{side}_size"], space)
        sides.append(geometry.apply(row[f"{side}_file_world"] @ row[f"{side}_to_index"], prepared))
    np.testing.assert_allclose(sides[0], sides[1], atol=1e-6)


def test_centres_meet_in_mm_of_voxels_of_any_size(tmp_path):
    """21 slices of 6 mm and 126 of 1 mm are as long as one another."""
    for name, count, size in (("a", 21, 6.0), ("b", 126, 1.0)):
        image = nibabel.Nifti1Image(blob((10, 10, count), (5, 5, count // 2)), None)
        image.header.set_zooms((1.0, 1.0, size))
        nibabel.save(image, tmp_path / f"{name}.nii.gz")
    split = opened(tmp_path, tmp_path / "c", pairs="consecutive", longest_side=126).splits["test"]
    shift = pairing.offset_of(split["fixed_size"][0], split.image_shape[:-1])
    matrix = split["initial"][0]
    middle = matrix[:, :3] @ (shift + (split["fixed_size"][0] - 1) / 2) + matrix[:, 3]
    other = pairing.offset_of(split["moving_size"][0], split.image_shape[:-1])
    np.testing.assert_allclose(middle - other, (split["moving_size"][0] - 1) / 2, atol=1e-6)


@pytest.mark.parametrize(
    ("how", "count"), [({"pairs": "consecutive"}, 1), ({"pairs": "atlas", "atlas": "d"}, 0)]
)
def test_pairs_of_images_that_cannot_be_read_are_left_out(volumes, tmp_path, how, count):
    """Of d, c, b, a the third is broken, or the atlas."""
    broken = volumes / "images" / ("c.nii.gz" if count else "d.nii.gz")
    broken.write_bytes(broken.read_bytes()[: broken.stat().st_size // 2])
    (volumes / "landmarks.csv").write_text(
        "image,landmark,i,j,k\n" + "".join(f"images/{name}.nii.gz,tip,1,2,3\n" for name in "abcd")
    )
    given = {**how, "skip_bad": True}
    if not count:
        with pytest.raises(UserError, match="no pair in the split"):
            opened(volumes, tmp_path / "cache", **given)
        return
    made = opened(volumes, tmp_path / "cache", **given)
    assert len(made.splits["test"]) == count
    assert any("1 pair left out" in note for note in made.notes)


def test_centres_of_mass_and_principal_axes_meet(tmp_path):
    write_volume(tmp_path / "a.nii.gz", blob((24, 24, 24), (9, 12, 14)), np.eye(4))
    turned = np.rot90(blob((24, 24, 24), (12, 10, 11)), axes=(0, 1))
    write_volume(tmp_path / "b.nii.gz", np.ascontiguousarray(turned), np.eye(4))
    centres = [np.argwhere(x).mean(0) for x in (blob((24, 24, 24), (9, 12, 14)), turned)]
    by_mass = opened(tmp_path, tmp_path / "c", pairs="consecutive", initial="mass").splits["test"]
    matrix = by_mass["initial"][0]
    np.testing.assert_allclose(matrix[:, :3] @ centres[0] + matrix[:, 3], centres[1], atol=1e-6)
    np.testing.assert_allclose(matrix[:, :3], np.eye(3), atol=1e-9)
    made = opened(tmp_path, tmp_path / "c", pairs="consecutive", initial="moments").splits["test"]
    matrix = made["initial"][0]
    long = matrix[:, :3] @ [1.0, 0.0, 0.0]
    np.testing.assert_allclose(np.abs(long), [0.0, 1.0, 0.0], atol=1e-6)


def test_the_smallest_turn_is_taken():
    axes = np.eye(3)
    np.testing.assert_allclose(geometry.turn_between(axes, axes @ np.diag([1, -1, -1])), np.eye(3))


def test_intensities_stay_and_are_scaled_for_the_network(tmp_path):
    values = np.linspace(-1000, 3000, 12 * 10 * 8).reshape(12, 10, 8).astype(np.int16)
    for name in "ab":
        write_volume(tmp_path / f"{name}.nii.gz", values, np.eye(4))
    split = opened(tmp_path, tmp_path / "cache").splits["test"]
    np.testing.assert_array_equal(split.on_demand["moving_values"](0), values)
    assert split.read(0).min() == 0 and split.read(0).max() == 255


def test_landmarks_beside_the_images_are_those_of_both(tmp_path):
    """In pixels x, y of a table; an image without any has none."""
    for name in "abc":
        Image.fromarray(blob((12, 16), (6, 8))).save(tmp_path / f"{name}.png")
    rows = ["image,landmark,x,y", "a.png,p,3,2", "a.png,q,10.5,7", "b.png,p,4,2"]
    (tmp_path / "landmarks.csv").write_text("\n".join(rows) + "\n")
    split = opened(tmp_path, tmp_path / "cache", pairs="consecutive").splits["test"]
    np.testing.assert_allclose(split["fixed_points_vox"][0], [[2.0, 3.0], [7.0, 10.5]])
    np.testing.assert_allclose(split["moving_points_vox"][0], [[2.0, 4.0], [np.nan, np.nan]])
    assert np.isnan(split["moving_points_vox"][1]).all()


def test_splits_hold_pairs_of_their_own_images(volumes, tmp_path):
    """A pair is of the later split of its images; what all pairs share has no part in it."""
    rows = [
        f"images/{n}.nii.gz,{s}"
        for n, s in zip("abcd", ("train", "train", "val", "test"), strict=True)
    ]
    (volumes / "metadata.csv").write_text("\n".join(["path,split", *rows]) + "\n")
    (volumes / "pairs.csv").write_text("fixed,moving\na,b\nb,c\nc,a\nd,b\n")
    made = opened(volumes, tmp_path / "cache", unsplit=False)
    assert names(made.splits["train"]) == [("b", "a")]
    assert names(made.splits["validation"]) == [("c", "b"), ("a", "c")]
    assert names(made.splits["test"]) == [("b", "d")]
    (volumes / "pairs.csv").write_text("fixed,moving\nc,a\nc,b\nc,d\n")
    with pytest.raises(UserError, match="no pair in the split validation"):  # nothing is made up
        opened(volumes, tmp_path / "cache", unsplit=False)
    (volumes / "pairs.csv").write_text("fixed,moving\na,b\na,c\na,d\n")
    made = opened(volumes, tmp_path / "cache", unsplit=False)
    shown = [names(made.splits[name]) for name in ("train", "validation", "test")]
    assert shown == [[("b", "a")], [("c", "a")], [("d", "a")]]
    (volumes / "pairs.csv").unlink()
    with pytest.raises(UserError, match="no pair in the split validation"):
        opened(volumes, tmp_path / "other", unsplit=False)


@pytest.mark.parametrize("ndim", [2, 3])
def test_known_fields_take_points_to_the_template(ndim):
    """Tissue at a point of a subject is that of the template where it is taken."""
    made = brain_pairs(PairOptions(subjects=4, ndim=ndim))
    template, subject = made.masks.cases[:2]
    labels = [case.read_mask().pixels[..., 0] for case in (template, subject)]
    where = [np.rint(made.places[c.case_id]).astype(int) for c in (template, subject)]
    tissue = [mask[tuple(p.T)] for mask, p in zip(labels, where, strict=True)]
    assert (tissue[0] == tissue[1]).mean() > 0.75
    for known in (made.places, made.points):
        assert np.abs(known["template"] - known[subject.case_id]).max() > 1
    assert made.masks.info.landmarks[0] == "AC" and len(made.places["template"]) == 100
    ac = {2: [79 - (74 - 4.8172) / 2, 95 - (112 + 2.5521) / 2],
          3: [(78 - 0.1198) / 4, (114 + 2.5521) / 4, (74 - 4.8172) / 4]}  # fmt: skip
    np.testing.assert_allclose(made.points["template"][0], ac[ndim], atol=1e-6)
    still = brain.undeformed()
    points = np.array([[10.0, -20.0, 5.0]]).T
    np.testing.assert_allclose(still.to_template(points), points)


def test_the_hippocampus_before_registration(tmp_path):
    """Dice of the pairs as they lie at first, as the lists say it."""
    import csv
    import shutil

    for part in real_data("hippocampus").iterdir():
        (tmp_path / part.name).symlink_to(part)
    for table in real_data("hippocampus_pairs").glob("*.csv"):
        shutil.copy(table, tmp_path)
    options = PairOptions(data_dir=str(tmp_path))
    made = source.load("hippocampus_pairs", options=options, cache_dir=tmp_path / "cache")
    split = made.splits["validation"]
    with (tmp_path / "pairs_val.csv").open() as f:
        rows = list(csv.DictReader(f))
    assert [r["fixed"] for r in rows] == [m["fixed"] for m in split.metadata]
    for i in (0, 1, 13, 28):
        fixed, moving = np.moveaxis(split.on_demand["mask"](i), -1, 0)
        shift = np.rint(split["initial"][i][:, 3]).astype(int)
        seen = np.roll(moving, -shift, (0, 1, 2))  # with black about it
        dice = [
            2 * ((fixed == k) & (seen == k)).sum() / ((fixed == k).sum() + (seen == k).sum())
            for k in (1, 2)
        ]
        assert np.mean(dice) == pytest.approx(float(rows[i]["dice_identity"]), abs=2e-4)


def test_each_mouse_is_registered_to_each_other_one(tmp_path):
    """Leave one out: of six mice thirty pairs; with a training only the validation's are shown."""
    root = str(real_data("mouse_brain"))
    options = PairOptions(data_dir=root, longest_side=32, unsplit=True)
    made = source.load("mouse_brain", options=options, cache_dir=tmp_path / "cache")
    pairs = [(m["fixed"], m["moving"]) for m in made.splits["test"].metadata]
    assert len(pairs) == len(set(pairs)) == 30 and len({fixed for fixed, _ in pairs}) == 6
    assert made.info.pairing == "all with all"
    options = PairOptions(data_dir=root, longest_side=32)
    kept = source.load("mouse_brain", options=options, cache_dir=tmp_path / "cache")
    assert len(kept.splits["validation"]) == 5 and len(kept.splits["train"]) == 20


def test_points_outside_their_image_are_missing_and_counted(tmp_path):
    for name in ("a", "b", "c"):
        Image.fromarray(blob((16, 16), (8, 8))).save(tmp_path / f"{name}.png")
    rows = [f"{name}.png,p,{x},4" for name, x in (("a", 3), ("b", 300), ("c", 5))]
    (tmp_path / "landmarks.csv").write_text("image,landmark,x,y\n" + "\n".join(rows) + "\n")
    made = image_pairs(PairOptions(data_dir=str(tmp_path)))
    assert np.isnan(made.points["b.png"]).all()
    assert np.isfinite(made.points["a.png"]).all()
    assert "1 image with landmarks outside it, taken as missing: b.png" in made.masks.notes
