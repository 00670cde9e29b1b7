"""Sets with landmarks, from files to prepared arrays and back."""

import nibabel
import numpy as np
import pytest
from PIL import Image

from medjax.data import arrays, geometry, slicer, source
from medjax.data.landmarks.case import from_lists, index_of
from medjax.data.landmarks.folder import landmark_folder
from medjax.data.options import LandmarkOptions
from medjax.errors import UserError
from tests.conftest import real_data
from tests.data.test_geometry import rotated


def load(cache, name="landmark_folder", **options):
    return source.load(name, options=LandmarkOptions(**options), cache_dir=cache)


def everything(dataset):
    """case -> (landmarks, to_file, to_world, image) over all splits."""
    return {
        case: (s["landmarks"][i], s["to_file"][i], s["to_world"][i], s.read(i))
        for s in dataset.splits.values()
        for i, case in enumerate(s.case_id)
    }


def dot(shape, at, spacing, size_mm=3.0):
    """A bright blob of this size about the voxel `at`."""
    where = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    away = (((where - np.array(at)) * spacing) ** 2).sum(-1)
    return np.exp(-away / (2 * size_mm**2))


def brightest(image):
    core = np.maximum(image[..., 0].astype(float) - 0.5 * image.max(), 0)
    grid = np.meshgrid(*map(np.arange, core.shape), indexing="ij")
    return np.array([(g * core).sum() / core.sum() for g in grid])


@pytest.fixture
def pictures(tmp_path):
    """Six pictures, 30 x 40, each with a dot; column x, row y."""
    folder, rng = tmp_path / "pictures", np.random.default_rng(0)
    folder.mkdir()
    lines = ["image,landmark,x,y,split,spacing_mm"]
    for i in range(6):
        y, x = rng.uniform(8, 22), rng.uniform(8, 32)
        blob = np.rint(255 * dot((30, 40), (y, x), np.ones(2))).astype(np.uint8)
        Image.fromarray(blob).save(folder / f"{i}.png")
        lines.append(f"{i}.png,dot,{x},{y},{'train' if i < 4 else 'val'},0.5")
    (folder / "landmarks.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_pictures_keep_their_points_through_the_new_grid(pictures, cache_dir):
    dataset = load(cache_dir, data_dir=str(pictures), image_shape=(48, 48))
    assert dataset.info.landmarks == ("dot",)
    assert {k: len(v) for k, v in dataset.splits.items()} == {"train": 4, "validation": 2}
    rows = [r.split(",") for r in (pictures / "landmarks.csv").read_text().splitlines()[1:]]
    for name, _, x, y, *_ in rows:
        points, to_file, to_world, image = everything(dataset)[name]
        assert image.shape == (48, 48, 1)
        np.testing.assert_allclose(brightest(image), points[0], atol=0.3)
        np.testing.assert_allclose(geometry.apply(to_file, points)[0], [float(x), float(y)])
        np.testing.assert_allclose(
            geometry.apply(to_world, points)[0], [0.5 * float(x), 0.5 * float(y)]
        )


@pytest.mark.parametrize("form", ["LPS", "RAS", "voxel", ".mrk.json", ".fcsv"])
def test_volumes_of_any_orientation_keep_their_points(tmp_path, cache_dir, form):
    folder = tmp_path / "volumes"
    folder.mkdir()
    lines, truth = [], {}
    for i in range(4):
        affine = rotated(i, flips=True)
        at = np.array([11.0, 13.0, 9.0]) + i
        blob = dot((24, 26, 22), at, geometry.spacing_mm(affine)).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(blob, affine), folder / f"v{i}.nii.gz")
        world = geometry.apply(affine, at)
        truth[f"v{i}.nii.gz"] = at, world
        given = {"LPS": geometry.ras(world, "LPS"), "RAS": world, "voxel": at}
        if form == ".mrk.json":
            slicer.write_json(folder / f"v{i}.mrk.json", {"dot": given["LPS"]})
        elif form == ".fcsv":
            slicer.write_fcsv(folder / f"v{i}.fcsv", {"dot": given["RAS"]}, system="RAS")
        else:
            lines.append(
                ",".join([f"v{i}", "dot", *map(str, given[form]), "train" if i < 3 else "val"])
            )
    columns = {"LPS": "x_lps_mm,y_lps_mm,z_lps_mm", "RAS": "x,y,z", "voxel": "i,j,k"}
    if lines:
        (folder / "landmarks.csv").write_text(
            "\n".join([f"volume,landmark,{columns[form]},split", *lines]) + "\n"
        )
    else:
        (folder / "metadata.csv").write_text(
            "path,split\n"
            + "".join(f"v{i}.nii.gz,{'train' if i < 3 else 'val'}\n" for i in range(4))
        )
    dataset = load(
        cache_dir,
        data_dir=str(folder),
        image_shape=(32, 32, 32),
        coordinates="RAS" if form == "RAS" else "",
    )
    for name, (at, world) in truth.items():
        points, to_file, to_world, image = everything(dataset)[name]
        np.testing.assert_allclose(geometry.apply(to_file, points)[0], at, atol=1e-3)
        np.testing.assert_allclose(geometry.apply(to_world, points)[0], world, atol=1e-3)
        np.testing.assert_allclose(brightest(image), points[0], atol=0.5)
        assert image.dtype == np.uint8


def edit(folder, change):
    path = folder / "landmarks.csv"
    path.write_text(change(path.read_text()))


def test_points_outside_are_missing_and_counted(pictures, cache_dir):
    edit(pictures, lambda t: t.replace(t.splitlines()[1], "0.png,dot,60,5,train,0.5"))
    dataset = load(cache_dir, data_dir=str(pictures))
    assert np.isnan(everything(dataset)["0.png"][0]).all()
    assert "1 landmark of train outside the image, taken as missing" in dataset.notes


def test_a_point_that_a_file_lacks_is_nan(pictures, cache_dir):
    edit(pictures, lambda t: t + "1.png,second,5,6,train,0.5\n")
    found = everything(load(cache_dir, data_dir=str(pictures)))
    assert np.isfinite(found["1.png"][0]).all()
    assert np.isnan(found["2.png"][0][1]).all()
    assert np.isfinite(found["2.png"][0][0]).all()


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        (lambda t: t.replace(",spacing_mm", ",other"), {}, "0.png: the size of its pixels is not"),
        (lambda t: t.replace(",0.5", ",-1"), {}, "line 2: '-1' is no positive number of mm"),
        (lambda t: t.replace("0.png", "9.png"), {}, "line 2: no such image file: .*9.png"),
        (lambda t: t.replace("0.png", "../0.png"), {}, "leaves the folder"),
        (lambda t: t.replace("0.png,dot,", "0.png,dot,a"), {}, "line 2: .* are no coordinates"),
        (lambda t: t.replace("train", "tran"), {}, "unknown split 'tran'"),
        (lambda t: t.replace("0.5", "0.5", 1).replace("train,0.5", ",0.5", 1), {}, "has no split"),
        (lambda t: t, {"image_shape": (8, 8, 8)}, "has 2 axes where the grid has 3"),
        (lambda t: t, {"coordinates": "LPS"}, "no 2-D columns of LPS"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(pictures, tmp_path, change, options, words):
    edit(pictures, change)
    with pytest.raises(UserError, match=words) as e:
        load(tmp_path / "cache", data_dir=str(pictures), **options)
    assert "\n" not in str(e.value)


def test_a_flat_volume_has_points_in_pixels_and_none_in_the_world(tmp_path):
    folder = tmp_path / "v"
    folder.mkdir()
    for name in "abc":
        pixels = np.random.default_rng(0).normal(size=(32, 40, 1)).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(pixels, np.diag([-2.0, 2, 2, 1])), folder / f"{name}.nii")
    rows = "".join(f"{name},tip,10,25\n" for name in "abc")
    (folder / "landmarks.csv").write_text("volume,landmark,x,y\n" + rows)
    made = load(tmp_path / "cache", data_dir=str(folder))
    _, to_file, _, _ = next(iter(everything(made).values()))
    split = next(iter(made.splits.values()))
    found = geometry.apply(to_file, split["landmarks"][0])
    np.testing.assert_allclose(found[0], [10, 25], atol=1e-4)
    (folder / "landmarks.csv").write_text("volume,landmark,x_ras_mm,y_ras_mm\n" + rows)
    with pytest.raises(UserError):
        load(tmp_path / "cache", data_dir=str(folder))


def test_a_volume_with_flat_landmarks_and_a_broken_affine_are_refused(tmp_path):
    folder = tmp_path / "v"
    folder.mkdir()
    volume = np.random.default_rng(0).normal(size=(8, 9, 7)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), folder / "a.nii")
    (folder / "landmarks.csv").write_text("volume,landmark,x,y\na,tip,1,2\n")
    with pytest.raises(UserError, match="no columns of 3-D coordinates"):
        load(tmp_path / "cache", data_dir=str(folder))
    (folder / "landmarks.csv").write_text("volume,landmark,i,j,k\na,tip,1,2,3\n")
    image = nibabel.Nifti1Image(volume, np.eye(4))
    image.header.set_sform(np.diag([1.0, 1.0, 0.0, 1.0]), code=1)
    image.header["qform_code"] = 0
    nibabel.save(image, folder / "a.nii")
    raw = bytearray((folder / "a.nii").read_bytes())
    raw[280:328] = np.zeros(12, "<f4").tobytes()  # srow_x, srow_y, srow_z
    raw[254:256] = (1).to_bytes(2, "little")  # sform_code
    (folder / "a.nii").write_bytes(bytes(raw))
    with pytest.raises(UserError, match="affine cannot be inverted"):
        load(tmp_path / "cache", data_dir=str(folder))


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_embedded_set_has_its_points_where_the_template_has_them(ndim, cache_dir):
    from medjax.data import brain
    from medjax.data.afids import AFIDS_RAS_MM
    from medjax.data.landmarks.generated import SEED

    dataset = load(cache_dir, "brain_landmarks", ndim=ndim, subjects=12)
    assert len(dataset.info.landmarks) == (10 if ndim == 2 else 32)
    assert dataset.info.synthetic
    for split in dataset.splits.values():
        for i, case in enumerate(split.case_id):
            subject = brain.make_subject(SEED, int(case[-4:]))
            world = geometry.apply(split["to_world"][i], split["landmarks"][i])
            truth = np.array([AFIDS_RAS_MM[n] for n in dataset.info.landmarks])
            if ndim == 2:  # a picture: to the front, and downwards
                subject = brain.within_midplane(subject)
                world = np.stack([0 * world[:, 0], world[:, 0], -world[:, 1]], 1)
                truth[:, 0] = 0
            np.testing.assert_allclose(subject.to_template(world.T).T, truth, atol=1e-3)


def test_hc18_is_halved_as_its_images_are(cache_dir):
    dataset = load(cache_dir, "hc18", data_dir=str(real_data("hc18")))
    split = dataset.splits["train"]
    assert {k: len(v) for k, v in dataset.splits.items()} == {"train": 609, "validation": 128}
    i = split.case_id.index("images/000_HC.png")
    centre = geometry.apply(split["to_file"][i], split["landmarks"][i])[0]
    np.testing.assert_allclose(centre, [(409.47 + 0.5) / 2 - 0.5, (377.76 + 0.5) / 2 - 0.5])
    world = geometry.apply(split["to_world"][i], split["landmarks"][i])
    # The long axis: 0.0691358 mm a full pixel times the distance of its ends, 223.57 pixels.
    assert np.linalg.norm(world[1] - world[2]) == pytest.approx(
        0.0691358041432 * np.hypot(454.57 - 364.38, 275.59 - 479.94), rel=1e-6
    )


def test_mouse_skulls_agree_in_millimetres_and_in_voxels(cache_dir):
    from medjax.data.table import read_rows

    folder = real_data("mouse_skull")
    dataset = load(cache_dir, "mouse_skull", data_dir=str(folder))
    rows = {(r["volume"], r["landmark"]): r for r in read_rows(folder / "landmarks.csv")}
    assert len(dataset.info.landmarks) == 45
    for split in dataset.splits.values():
        voxels = geometry.apply(split["to_file"][0], split["landmarks"][0])
        for name, found in zip(dataset.info.landmarks, voxels, strict=True):
            row = rows[split.subject_id[0], name]
            if not np.isnan(found).any():
                np.testing.assert_allclose(found, [float(row[a]) for a in "ijk"], atol=0.02)


def test_hippocampi_and_afids_open(cache_dir):
    hippocampus = load(cache_dir, "hippocampus", data_dir=str(real_data("hippocampus")))
    assert {k: len(v) for k, v in hippocampus.splits.items()} == {"train": 170, "validation": 30}
    assert not np.isnan(hippocampus.splits["train"]["landmarks"]).any()
    afids = load(cache_dir, "afids", data_dir=str(real_data("afids_mni")))
    assert sum(map(len, afids.splits.values())) == 2


def test_cephalograms_in_the_challenges_layout(tmp_path, cache_dir):
    rng = np.random.default_rng(0)
    for folder, numbers in (
        ("TrainingData", range(1, 8)),
        ("Test1Data", (151,)),
        ("Test2Data", (301,)),
    ):
        (tmp_path / "RawImage" / folder).mkdir(parents=True)
        for n in numbers:
            Image.fromarray(rng.integers(0, 255, (240, 193, 3)).astype(np.uint8)).save(
                tmp_path / "RawImage" / folder / f"{n:03d}.bmp"
            )
            points = rng.integers(20, 180, (19, 2))
            for who, offset in (("senior", 0), ("junior", 4)):
                path = tmp_path / "AnnotationsByMD" / f"400_{who}"
                path.mkdir(parents=True, exist_ok=True)
                (path / f"{n:03d}.txt").write_text(
                    "\n".join(f"{x + offset},{y}" for x, y in points) + "\n1\n1\n2\n"
                )
    dataset = load(cache_dir, "isbi2015", data_dir=str(tmp_path), image_shape=(64, 64))
    assert len(dataset.splits["test"]) == 2
    assert sum(len(dataset.splits[k]) for k in ("train", "validation")) == 7
    test = dataset.splits["test"]
    last = geometry.apply(test["to_file"][1], test["landmarks"][1])
    mean = points + np.array([2.0, 0.0])  # of the two raters
    np.testing.assert_allclose(last, mean, atol=1e-6)
    assert test.metadata[1]["rater_error_mm"].split() == ["0.4000"] * 19


def test_hands_in_payers_layout_under_both_scalings(tmp_path, cache_dir):
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    (tmp_path / "setup" / "cv1").mkdir(parents=True)
    names, rows = [f"{3000 + i}" for i in range(6)], []
    for name in names:
        Image.fromarray(rng.integers(0, 255, (60, 50)).astype(np.uint8)).save(
            tmp_path / "images" / f"{name}.jpg"
        )
        rows.append(rng.uniform(5, 45, (37, 2)))
    (tmp_path / "setup" / "all.csv").write_text(
        "".join(
            f"{n},{','.join(f'{v:.4f}' for v in r.reshape(-1))}\n"
            for n, r in zip(names, rows, strict=True)
        )
    )
    (tmp_path / "setup" / "cv1" / "train.txt").write_text("\n".join(names[:5]))
    (tmp_path / "setup" / "cv1" / "test.txt").write_text(names[5])
    for wrist, (a, b) in (("payer", (1, 5)), ("uald", (0, 4))):
        split = load(
            cache_dir, "hand_xray", data_dir=str(tmp_path), wrist=wrist, image_shape=(64, 64)
        ).splits["test"]
        world = geometry.apply(split["to_world"][0], split["landmarks"][0])
        assert np.linalg.norm(world[a] - world[b]) == pytest.approx(50.0, rel=1e-4)
        np.testing.assert_allclose(
            geometry.apply(split["to_file"][0], split["landmarks"][0]), rows[5], atol=1e-3
        )


def test_a_first_run_brings_volumes_into_one_pose(tmp_path, cache_dir):
    """Five dots in fixed arrangement, the volumes in any pose: afterwards they stand alike."""
    folder, run = tmp_path / "volumes", tmp_path / "run"
    folder.mkdir()
    run.mkdir()
    shape = np.array([[0.0, 0, 0], [14, 2, 0], [3, 11, 1], [1, 4, 16], [9, 9, 9]])
    lines, predicted = ["volume,landmark,x_ras_mm,y_ras_mm,z_ras_mm,split"], []
    for i in range(6):
        rng = np.random.default_rng(i)
        turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        turn[:, 0] *= np.sign(np.linalg.det(turn))
        world = (shape - shape.mean(0)) @ turn.T + rng.normal(0, 2, 3)
        voxels = world + 24.0
        volume = sum(dot((48,) * 3, v, np.ones(3), 1.5) for v in voxels)
        affine = geometry.scaling(np.ones(3), np.full(3, -24.0))
        nibabel.save(
            nibabel.Nifti1Image(volume.astype(np.float32), affine), folder / f"v{i}.nii.gz"
        )
        split = "train" if i < 4 else "val"
        for j, point in enumerate(world):
            lines.append(f"v{i},p{j},{','.join(map(str, point))},{split}")
            rough = point + rng.normal(0, 0.02, 3) if j else point + 30.0  # one is far off
            if i >= 4:
                predicted.append(f"v{i}.nii.gz,p{j},{','.join(map(str, rough))}")
    (folder / "landmarks.csv").write_text("\n".join(lines) + "\n")
    head = "case_id,landmark,pred_x_mm,pred_y_mm,pred_z_mm\n"
    (run / "predictions.csv").write_text(head + "\n".join(predicted) + "\n")
    found = everything(
        load(cache_dir, data_dir=str(folder), pose_from=str(run), image_shape=(32, 32, 32))
    )
    first = found["v0.nii.gz"]
    for name, (points, to_file, to_world, image) in found.items():
        np.testing.assert_allclose(points, first[0], atol=0.2)
        np.testing.assert_allclose(
            geometry.apply(to_file, points), geometry.apply(to_world, points) + 24.0, atol=1e-6
        )
        for point in points:  # every dot is where its point says
            box = tuple(slice(max(0, round(c) - 1), round(c) + 2) for c in point)
            assert image[box].max() > 150, name
    (run / "predictions.csv").write_text(head + "\n".join(predicted[:5]) + "\n")
    with pytest.raises(UserError, match=r"no prediction for v5\.nii\.gz"):
        load(cache_dir, data_dir=str(folder), pose_from=str(run), image_shape=(32, 32, 32))
    with pytest.raises(UserError, match=r"is no predictions\.csv of these landmarks"):
        load(cache_dir, data_dir=str(folder), pose_from=str(tmp_path / "no"))


def test_missing_points_are_counted_and_named():
    """From arrays as from files: who lacks what."""
    images_ = np.random.default_rng(0).integers(0, 255, (12, 16, 16), dtype=np.uint8)
    points = np.full((12, 2, 2), 5.0)
    points[3, 1] = np.nan
    split = ["train"] * 8 + ["validation"] * 2 + ["test"] * 2
    options = {"spacing_mm": 1.0, "names": ["apex", "base"], "split": split}
    notes = arrays.from_landmarks(images_, points, **options).notes
    assert "1 landmark of train not given, masked and left out of the numbers" in notes
    assert "missing landmarks of train: 03: base" in notes
    points[4] += 40
    notes = arrays.from_landmarks(images_, points, **options).notes
    assert "all landmarks outside: 04; are their coordinates RAS?" in notes
    with pytest.raises(UserError, match="no training case has the landmark apex"):
        arrays.from_landmarks(images_, points + np.array([[40.0, 0], [0, 0]]), **options)


def test_a_misspelt_landmark_is_refused_by_the_name_of_its_file(tmp_path):
    """Another number or side is another landmark; a note is all that a rare one gets."""

    rows = "".join(f"{i}.png,1.0\n" for i in range(6))
    (tmp_path / "metadata.csv").write_text(f"path,spacing_mm\n{rows}")

    def write(spoilt):
        for i in range(6):
            Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / f"{i}.png")
            name = spoilt if i == 4 else "anterior_part"
            slicer.write_json(tmp_path / f"{i}.mrk.json", {name: np.array([1.0, 2.0, 0.0])})
        return landmark_folder(LandmarkOptions(data_dir=str(tmp_path)))

    with pytest.raises(UserError, match=r"4\.png.*'anteror_part', and no 'anterior_part'"):
        write("anteror_part")
    with pytest.raises(UserError, match=r"4\.png.*'anterior_patr', and no 'anterior_part'"):
        write("anterior_patr")
    assert "is it spelled otherwise" in " ".join(write("anterior_part_2").notes)


def test_a_misspelt_landmark_of_a_table_is_refused(tmp_path):
    rows = "".join(f"{i}.png,{'apxe' if i == 4 else 'apex'},1,2,1.0\n" for i in range(6))
    (tmp_path / "landmarks.csv").write_text(f"image,landmark,x,y,spacing_mm\n{rows}")
    for i in range(6):
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / f"{i}.png")
    with pytest.raises(UserError, match=r"4\.png.*'apxe', and no 'apex'"):
        landmark_folder(LandmarkOptions(data_dir=str(tmp_path)))


@pytest.mark.parametrize(
    ("names", "rows", "words"),
    [
        (2, 2, "v0.nii.gz has 2 of its landmarks in mm, and a pose needs 3"),
        (4, 2, "v0.nii.gz has 2 of its landmarks in mm, and a pose needs 3"),
    ],
)
def test_too_few_points_for_a_pose_are_told(tmp_path, cache_dir, names, rows, words, rng):
    folder, run = tmp_path / "volumes", tmp_path / "run"
    folder.mkdir()
    run.mkdir()
    lines, predicted = [], []
    for i in range(4):
        volume = rng.random((12, 12, 12)).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), folder / f"v{i}.nii.gz")
        for j in range(rows if i == 0 else names):
            place = f"{2 + j},{3 + 2 * j},{9 - j * j}"
            lines.append(f"v{i},p{j},{place},{'val' if i == 3 else 'train'}")
            if i == 3:
                predicted.append(f"v{i}.nii.gz,p{j},{place}")
    head = "volume,landmark,x_ras_mm,y_ras_mm,z_ras_mm,split\n"
    (folder / "landmarks.csv").write_text(head + "\n".join(lines) + "\n")
    head = "case_id,landmark,pred_x_mm,pred_y_mm,pred_z_mm\n"
    (run / "predictions.csv").write_text(head + "\n".join(predicted) + "\n")
    with pytest.raises(UserError, match=words):
        load(cache_dir, data_dir=str(folder), pose_from=str(run), image_shape=(16, 16, 16))


def test_voxels_of_a_stack_of_pages_are_column_row_and_page(tmp_path):
    """As 3D Slicer counts them, though its array has the page first."""
    pages = [Image.fromarray(np.zeros((6, 7), np.uint8)) for _ in range(5)]
    pages[0].save(tmp_path / "v.tiff", save_all=True, append_images=pages[1:])
    (tmp_path / "v.fcsv").write_text(
        "# CoordinateSystem = 2\n# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label\n"
        "1,6,3,2,0,0,0,1,1,1,0,tip\n"
    )
    (found,), *_ = from_lists(tmp_path, LandmarkOptions(data_dir=str(tmp_path)))
    raw_image = found.read()
    at = index_of(found.points["tip"], found, raw_image, np.eye(4))
    np.testing.assert_array_equal(at, [2, 3, 6])
