"""Folders and tables of images with masks: how they are paired, and what is refused."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from medjax.data import images
from medjax.data.catalogue import find_kind
from medjax.data.info import DatasetInfo
from medjax.data.masks import SETS
from medjax.data.masks.case import numbered
from medjax.data.masks.folder import mask_folder
from medjax.data.masks.one_grid import check_one_grid
from medjax.data.options import MaskOptions
from medjax.errors import UserError
from medjax.ops.preprocess import Preprocessing
from medjax.outputs.base import ModelSpec
from medjax.outputs.masks import MASKS
from tests.conftest import real_data


def write(path: Path, pixels) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in (".png", ".tif"):
        Image.fromarray(np.asarray(pixels, np.uint8)).save(path)
    else:
        nibabel.save(nibabel.Nifti1Image(np.asarray(pixels, np.uint8), np.eye(4)), path)


def boxes(value=1):
    mask = np.zeros((8, 10), np.uint8)
    mask[2:5, 3:7] = value
    return mask


def make_set(root, *names):
    """Files of these names: masks where the name says so."""
    for name in names:
        masks = ("label", "mask", "seg", "annot")
        is_mask = any(word in name for word in masks)
        write(root / name, boxes() if is_mask else 20 * boxes())


LAYOUTS = {
    "folders": ("images/a.png", "images/b.png", "labels/a.png", "labels/b.png"),
    "deep": ("images/x/a.png", "images/y/a.png", "masks/x/a.png", "masks/y/a.png"),
    "endings": ("images/a.png", "images/b.png", "masks/a_mask.png", "masks/b_mask.png"),
    "beside": ("a.png", "a_mask.png", "b.png", "b_seg.png"),
    "nnunet": ("imagesTr/a_0000.png", "imagesTr/b_0000.png", "labelsTr/a.png", "labelsTr/b.png"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_images_are_paired(tmp_path, layout):
    make_set(tmp_path, *LAYOUTS[layout])
    made = mask_folder(MaskOptions(data_dir=str(tmp_path)))
    assert len(made.cases) == 2
    assert made.info.structures == ("foreground",)
    assert find_kind(tmp_path) is MaskOptions
    for case in made.cases:
        assert (case.read().pixels > 0).sum() == (case.read_mask().pixels > 0).sum() == 12


def test_numbered_frames_are_images_of_their_own(tmp_path):
    names = [f"f_{i:04d}.png" for i in range(20)]
    make_set(tmp_path, *(f"images/{n}" for n in names), *(f"labels/{n}" for n in names))
    made = mask_folder(MaskOptions(data_dir=str(tmp_path)))
    assert [Path(case.case_id).name for case in made.cases] == names
    assert made.cases[0].read().pixels.shape[-1] == 1
    for n in names[9:]:  # so few might be channels
        (tmp_path / "images" / n).unlink()
        (tmp_path / "labels" / n).unlink()
    with pytest.raises(UserError, match=r"f_0001.png: its name is that of a further channel"):
        mask_folder(MaskOptions(data_dir=str(tmp_path)))


@pytest.mark.parametrize(
    ("values", "words"),
    [(range(1, 80), r"79 values\. Do they number single things"), ([1, 70_000], "from 1 to 70000")],
)
def test_values_that_are_no_structures(tmp_path, values, words):
    mask = np.zeros((10, 10, 2), np.int32)
    mask.reshape(-1)[: len(values)] = list(values)
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
        nibabel.save(nibabel.Nifti1Image(mask, np.eye(4)), tmp_path / folder / "a.nii.gz")
    with pytest.raises(UserError, match=words):
        mask_folder(MaskOptions(data_dir=str(tmp_path)))


def test_a_table_pairs_them_and_knows_subjects(tmp_path):
    make_set(tmp_path, "p/1.png", "q/1_label.png", "p/2.png", "q/2_label.png")
    (tmp_path / "masks.csv").write_text(
        "image,mask,split,patient_id\np/1.png,q/1_label.png,train,a\np/2.png,q/2_label.png,val,b\n"
    )
    made = mask_folder(MaskOptions(data_dir=str(tmp_path)))
    assert [(c.case_id, c.split, c.subject) for c in made.cases] == [
        ("p/1.png", "train", "a"),
        ("p/2.png", "validation", "b"),
    ]
    assert made.known_by == "column patient_id of masks.csv"


@pytest.mark.parametrize(
    "labels",
    [
        {"0": "background", "1": "liver", "2": "tumour"},  # Decathlon
        {"background": 0, "liver": 1, "tumour": 2, "organ": [1, 2]},  # nnU-Net, with a region
    ],
)
def test_dataset_json_names_the_structures(tmp_path, labels):
    make_set(tmp_path, *LAYOUTS["nnunet"])
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels}))
    made = mask_folder(MaskOptions(data_dir=str(tmp_path)))
    assert (made.info.structures, made.values) == (("liver", "tumour"), (1, 2))


def test_a_task_of_the_decathlon_describes_itself(tmp_path):
    make_set(tmp_path, "imagesTr/a_01.nii.gz", "labelsTr/a_01.nii.gz")
    (tmp_path / "imagesTs").mkdir()
    with pytest.raises(UserError, match="no such file; `data_dir` is the folder of one task"):
        SETS["decathlon"](MaskOptions(data_dir=str(tmp_path)))
    facts = {"name": "Liver", "labels": {"1": "liver"}, "modality": {"0": "CT"}, "licence": "L"}
    (tmp_path / "dataset.json").write_text(json.dumps(facts))
    info = SETS["decathlon"](MaskOptions(data_dir=str(tmp_path))).info
    assert (info.name, info.structures) == ("decathlon liver", ("liver",))
    assert (info.modality, info.licence) == ("CT", "L")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (("images/a.png", "images/b.png", "labels/a.png"), "1 image without a mask: images/b.png"),
        (("images/a.png", "labels/a.png", "labels/b.png"), "1 mask without an image: labels/b.png"),
        (("images/a.png", "labels/b.png"), "without an image"),
        (("images/a.png", "images/a_0000.png", "labels/a.png"), "that of another image too"),
        (("images/a.png", "images/a.tif", "labels/a.png"), "that of another image too"),
    ],
)
def test_what_has_no_partner_is_named(tmp_path, files, words):
    make_set(tmp_path, *files)
    with pytest.raises(UserError, match=words):
        mask_folder(MaskOptions(data_dir=str(tmp_path)))


def test_a_table_of_masks_takes_the_rest_from_metadata_and_names_what_it_leaves_out(tmp_path):
    make_set(tmp_path, "a.png", "b.png", "a_mask.png", "left.png")
    (tmp_path / "masks.csv").write_text("image,mask\na.png,a_mask.png\n")
    (tmp_path / "metadata.csv").write_text(
        "path,subject_id,split,spacing_mm\n"
        + "".join(f"{name}.png,P1,test,0.5\n" for name in ("a", "b", "left"))
    )
    made = mask_folder(MaskOptions(data_dir=str(tmp_path)))
    (case,) = made.cases
    assert (case.subject, case.split, case.spacing_mm) == ("P1", "test", 0.5)
    assert any("2 images left out that no row of masks.csv names" in n for n in made.notes)


@pytest.mark.parametrize(
    "names",
    [
        ("images/a.png", "labels/a_seg.png", "labels/a_label.png"),
        ("a.png", "a_seg.png", "a_mask.png"),
        ("images/a.nii.gz", "labels/a.nii.gz", "labels/a.nii"),
    ],
)
def test_two_masks_of_one_image_are_refused(tmp_path, names):
    make_set(tmp_path, *names)
    with pytest.raises(UserError, match="is a mask of the same image"):
        mask_folder(MaskOptions(data_dir=str(tmp_path)))


def test_a_fourth_axis_of_volumes_holds_channels(tmp_path):
    """As `imagesTr` of the Decathlon's brain tumours."""
    pixels = np.arange(2 * 8 * 10 * 4).reshape(8, 10, 4, 2) % 250
    write(tmp_path / "imagesTr" / "a.nii.gz", pixels)
    write(tmp_path / "labelsTr" / "a.nii.gz", np.stack([boxes()] * 4, -1))
    (case,) = mask_folder(MaskOptions(data_dir=str(tmp_path))).cases
    image = case.read()
    np.testing.assert_array_equal(image.pixels, pixels)
    check_one_grid(image, case.read_mask(), origin="a")
    found = images.layout(case.path, stacked=True)
    assert found.shape == (8, 10, 4) and found.integer_type == "uint8"
    with pytest.raises(UserError, match="has 4 axes; one image has 2 or 3"):
        images.read(case.path)


def test_channels_in_files_of_their_own_are_one_image(tmp_path):
    make_set(tmp_path, "imagesTr/a_0000.png", "labelsTr/a.png")
    write(tmp_path / "imagesTr" / "a_0001.png", 7 * boxes())
    (case,) = mask_folder(MaskOptions(data_dir=str(tmp_path))).cases
    np.testing.assert_array_equal(
        np.unique(case.read().pixels.reshape(-1, 2), axis=0), [[0, 0], [20, 7]]
    )
    spec = ModelSpec(
        DatasetInfo("set"), Preprocessing(0.0, 1.0, (0.0,), (1.0,)), (6, 7, 2), "uint8"
    )
    assert MASKS.prepare.list_files(tmp_path, spec).files == [tmp_path / "imagesTr" / "a_0000.png"]
    write(tmp_path / "imagesTr" / "a_0002.png", np.ones((3, 3)))
    with pytest.raises(UserError, match=r"a_0000.png: its channels differ in shape"):
        case.read()


def test_images_without_masks_may_be_left_out(tmp_path):
    make_set(tmp_path, "images/a.png", "images/b.png", "labels/a.png")
    made = mask_folder(MaskOptions(data_dir=str(tmp_path), unlabelled=True))
    assert len(made.cases) == 1
    assert made.notes == ("1 image without a mask left out: images/b.png",)


@pytest.mark.parametrize(
    ("name", "count"), [("hippocampus", 200), ("acdc", 160), ("chasedb1", 20), ("hc18", 737)]
)
def test_published_layouts(name, count):
    made = SETS[name](MaskOptions(data_dir=str(real_data(name))))
    assert isinstance(made.info, DatasetInfo) and len(made.cases) == count
    case = made.cases[0]
    image, mask = case.read(), case.read_mask()
    check_one_grid(image, mask, origin=case.origin)
    values = set(np.unique(numbered(mask.pixels[..., 0], made.values, origin=case.origin)))
    assert values == set(range(len(made.info.structures) + 1))


def test_masks_of_a_lossy_form_are_refused(tmp_path):
    rows, columns = np.mgrid[:40, :40]
    disc = 255 * ((rows - 20) ** 2 + (columns - 20) ** 2 < 90).astype(np.uint8)
    for folder, suffix in (("images", "png"), ("labels", "jpg")):
        (tmp_path / folder).mkdir()
        Image.fromarray(disc).save(tmp_path / folder / f"a.{suffix}", quality=95)
    with pytest.raises(UserError, match="masks in JPEG"):
        mask_folder(MaskOptions(data_dir=str(tmp_path)))


def test_masks_that_are_not_whole_are_named(tmp_path):
    for folder, values in (("images", 9 * boxes()), ("labels", 0.5 * boxes())):
        (tmp_path / folder).mkdir()
        volume = np.stack([values] * 3, -1).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / folder / "a.nii.gz")
    with pytest.raises(UserError, match=r"a\.nii\.gz: its mask has values .* such as 0\.5"):
        mask_folder(MaskOptions(data_dir=str(tmp_path)))


@pytest.mark.parametrize(
    "rows",
    ["a.png,a_mask.png\na.png,b_mask.png", "a.png,a_mask.png\nb.png,a_mask.png", "a.png,a.png"],
)
def test_a_file_stands_in_a_table_of_masks_once(tmp_path, rows):
    make_set(tmp_path, "a.png", "b.png", "a_mask.png", "b_mask.png")
    (tmp_path / "masks.csv").write_text(f"image,mask\n{rows}\n")
    with pytest.raises(UserError, match=r"stands in .*masks\.csv, line \d too"):
        mask_folder(MaskOptions(data_dir=str(tmp_path)))


def test_what_is_of_another_kind_is_counted(tmp_path):
    make_set(tmp_path, "images/a.png", "labels/a.png")
    for name in ("images/b.mha", "labels/b.mha"):
        (tmp_path / name).touch()
    notes = mask_folder(MaskOptions(data_dir=str(tmp_path))).notes
    assert "2 files of other kinds left out (2 .mha)" in notes
