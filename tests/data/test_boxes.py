"""Sets of images with boxes: the same boxes in each layout, and where they lie when prepared."""

import json

import nibabel
import numpy as np
import pytest
from PIL import Image

from medjax.data import source
from medjax.data.boxes import SETS
from medjax.data.boxes.case import BoxCase, note_absent
from medjax.data.boxes.folder import box_folder
from medjax.data.boxes.formats import NamedBox
from medjax.data.builders.boxes import prepare
from medjax.data.catalogue import find_kind
from medjax.data.images import RawImage
from medjax.data.info import DatasetInfo
from medjax.data.options import BoxOptions, MaskOptions
from medjax.data.suggest import suggest_form
from medjax.errors import UserError
from tests.conftest import real_data

VOC = (
    "<annotation><filename>{0}.png</filename><size><width>40</width><height>20</height></size><object><name>{1}</name><bndbox><xmin>11</xmin>"
    "<ymin>6</ymin><xmax>20</xmax><ymax>10</ymax></bndbox></object></annotation>"
)
BOX = ((10.0, 5.0), (20.0, 10.0))


def draw(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.zeros((20, 40), np.uint8)
        pixels[5:10, 10:20] = 255
        Image.fromarray(pixels).save(root / name)


def voc(root):
    draw(root, "JPEGImages/a.png", "JPEGImages/b.png")
    (root / "Annotations").mkdir()
    for name, label in (("a", "red"), ("b", "white")):
        (root / "Annotations" / f"{name}.xml").write_text(VOC.format(name, label))
    (root / "ImageSets" / "Main").mkdir(parents=True)
    (root / "ImageSets" / "Main" / "train.txt").write_text("a\n")
    (root / "ImageSets" / "Main" / "val.txt").write_text("b\n")


def coco(root):
    draw(root, "images/a.png", "images/b.png")
    for split, name, label in (("train", "a", 1), ("val", "b", 2)):
        content = {
            "images": [{"id": 1, "file_name": f"{name}.png", "width": 40, "height": 20}],
            "categories": [{"id": 1, "name": "red"}, {"id": 2, "name": "white"}],
            "annotations": [{"image_id": 1, "category_id": label, "bbox": [10, 5, 10, 5]}],
        }
        (root / f"instances_{split}.json").write_text(json.dumps(content))


def yolo(root):
    draw(root, "images/train/a.png", "images/val/b.png")
    for split, name, label in (("train", "a", 0), ("val", "b", 1)):
        (root / "labels" / split).mkdir(parents=True)
        (root / "labels" / split / f"{name}.txt").write_text(f"{label} 0.375 0.375 0.25 0.25\n")
    (root / "data.yaml").write_text("names: [red, white]\n")


def table(root):
    draw(root, "a.png", "b.png")
    (root / "boxes.csv").write_text(
        "image,label,xmin,ymin,xmax,ymax,split\na.png,red,10,5,20,10,train\n"
        "b.png,white,10,5,20,10,val\n"
    )


def masks(root):
    draw(root, "images/train/a.png", "images/val/b.png")
    for split, name, value in (("train", "a", 1), ("val", "b", 2)):
        mask = np.zeros((20, 40), np.uint8)
        mask[5:10, 10:20] = value
        (root / "labels" / split).mkdir(parents=True)
        Image.fromarray(mask).save(root / "labels" / split / f"{name}.png")
    (root / "dataset.json").write_text(json.dumps({"labels": {"red": 1, "white": 2}}))
    (root / "metadata.csv").write_text(
        "image,split\nimages/train/a.png,train\nimages/val/b.png,val\n"
    )


@pytest.mark.parametrize("write", [voc, coco, yolo, table, masks])
def test_each_layout_says_the_same(tmp_path, write):
    write(tmp_path)
    made = box_folder(BoxOptions(data_dir=str(tmp_path)))
    assert made.info.box_classes == ("red", "white")
    assert [c.split for c in made.cases] == ["train", "validation"]
    for case, label in zip(made.cases, ("red", "white"), strict=True):
        assert list(case.boxes((40, 20))) == [NamedBox(label, *BOX)]
        assert case.path.stem == ("a" if label == "red" else "b")
    assert find_kind(tmp_path) is (MaskOptions if write is masks else BoxOptions)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda root: (root / "JPEGImages" / "a.png").unlink(), "a.xml: no image of the name"),
        (lambda root: draw(root, "other/a.png"), "a.xml: 2 images of the name"),
    ],
)
def test_lists_without_their_image_are_refused(tmp_path, spoil, words):
    voc(tmp_path)
    spoil(tmp_path)
    with pytest.raises(UserError, match=words):
        box_folder(BoxOptions(data_dir=str(tmp_path)))


@pytest.mark.parametrize("write", [table, voc, coco, yolo])
def test_images_that_no_list_names_are_told(tmp_path, write):
    write(tmp_path)
    draw(tmp_path, "images/left.png")
    made = box_folder(BoxOptions(data_dir=str(tmp_path)))
    assert len(made.cases) == 2
    assert any("1 image" in note and "images/left.png" in note for note in made.notes)


def test_lists_that_are_no_utf_8_are_refused(tmp_path):
    draw(tmp_path, "a.png")
    (tmp_path / "a.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (tmp_path / "classes.txt").write_bytes("tête\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"classes\.txt: is not in UTF-8"):
        box_folder(BoxOptions(data_dir=str(tmp_path)))


def test_masks_that_cannot_be_read_are_left_out(tmp_path, cache_dir):
    for name in "abcde":
        draw(tmp_path, f"images/{name}.png", f"labels/{name}.png")
    broken = tmp_path / "labels" / "c.png"
    broken.write_bytes(broken.read_bytes()[:60])
    options = BoxOptions(data_dir=str(tmp_path), skip_bad=True)
    made = source.load("box_folder", options=options, cache_dir=cache_dir)
    assert sum(len(split) for split in made.splits.values()) == 4
    with pytest.raises(UserError, match=r"c\.png"):
        source.load(
            "box_folder", options=BoxOptions(data_dir=str(tmp_path)), cache_dir=tmp_path / "cache"
        )


def test_a_table_of_boxes_takes_subject_split_and_spacing_from_metadata(tmp_path):
    table(tmp_path)
    text = (tmp_path / "boxes.csv").read_text().replace(",split", "")
    (tmp_path / "boxes.csv").write_text(text.replace(",train", "").replace(",val", ""))
    (tmp_path / "metadata.csv").write_text(
        "path,subject_id,split,spacing_mm\na.png,P1,test,0.5\nb.png,P1,test,0.5\n"
    )
    made = box_folder(BoxOptions(data_dir=str(tmp_path)))
    assert [(c.subject, c.split, c.spacing_mm) for c in made.cases] == [("P1", "test", 0.5)] * 2
    assert "subject_id of metadata.csv" in made.known_by
    (tmp_path / "boxes.csv").write_text(
        "image,label,xmin,ymin,xmax,ymax,split\na.png,red,10,5,20,10,train\n"
    )
    with pytest.raises(UserError, match="the tables must agree"):
        box_folder(BoxOptions(data_dir=str(tmp_path)))


def test_a_table_without_edges_or_with_words_is_refused(tmp_path):
    table(tmp_path)
    for text, words in (
        ("image,label,xmin,ymin\na.png,red,1,2\n", "no column xmax"),
        ("image,label,xmin,ymin,xmax,ymax\na.png,red,1,2,x,4\n", "line 2: could not convert"),
        ("image,label,xmin,ymin,xmax,ymax\na.png,,1,2,3,4\n", "line 2: a box without a class"),
    ):
        (tmp_path / "boxes.csv").write_text(text)
        with pytest.raises(UserError, match=words):
            box_folder(BoxOptions(data_dir=str(tmp_path)))


def test_boxes_lie_where_their_pixels_lie():
    """Twice as large, in the middle of a wider grid: the bright pixels are those in the box."""
    pixels = np.zeros((20, 40, 1), np.uint8)
    pixels[5:10, 10:20] = 255
    raw = RawImage(pixels)
    boxes = [NamedBox("red", *BOX)]
    case = BoxCase(lambda: raw, lambda size: boxes, "x", "x", "x", None)
    made = prepare(case, raw, ("white", "red"), most=2, shape=(80, 80), grid_mm=0.0)
    np.testing.assert_allclose(made.targets["boxes"][0], [29.5, 19.5, 39.5, 39.5])
    assert made.targets["box_label"].tolist() == [1, -1]
    bright = np.argwhere(made.image[..., 0] > 127)
    np.testing.assert_array_equal([bright.min(0), bright.max(0)], [[30, 20], [39, 39]])
    np.testing.assert_allclose(made.targets["file_boxes"][0], [10, 5, 20, 10])
    assert np.isnan(made.targets["voxel_mm"]).all() and np.isnan(made.targets["boxes"][1]).all()


def test_a_set_is_prepared_and_what_is_left_out_is_told(tmp_path, cache_dir):
    table(tmp_path)
    with (tmp_path / "boxes.csv").open("a") as file:
        file.write("b.png,red,3,3,3,9,val\nb.png,red,50,3,60,9,val\n")
    options = BoxOptions(data_dir=str(tmp_path))
    made = source.load("box_folder", options=options, cache_dir=cache_dir)
    assert made.info.summary == "boxes of red, white"
    assert "1 box without a size left out: b.png, box 2 (red)" in made.notes
    assert "1 box outside of its image left out: b.png, box 3 (red)" in made.notes
    split = made.splits["validation"]
    assert split["boxes"].shape == (1, 3, 4)
    assert split["box_label"].tolist() == [[1, -1, -1]]


@pytest.mark.parametrize("ndim", [2, 3])
def test_drawn_cells_fill_their_boxes(ndim):
    made = SETS["drawn_cells"](BoxOptions(subjects=12, ndim=ndim))
    assert {c.split for c in made.cases} == {"train", "validation", "test"}
    size = made.shape
    case = made.cases[0]
    assert case.read().pixels.shape == (*size, 1)
    for box in case.boxes(size):
        assert all(0 <= a < b <= n for a, b, n in zip(box.low, box.high, size, strict=True))


def test_the_blood_smears():
    made = SETS["bccd"](BoxOptions(data_dir=str(real_data("bccd"))))
    assert len(made.cases) == 292
    counts = [len(c.boxes((640, 480))) for c in made.cases]
    assert sum(counts) > 3000 and made.cases[0].read().pixels.shape == (480, 640, 3)


def test_volumes_get_voxels_of_their_usual_size(tmp_path):
    """Slices 4 mm apart: the grid is as large as the volume, not as its count of voxels."""
    image = nibabel.Nifti1Image(np.zeros((64, 48, 16), np.int16), np.diag([1.0, 1, 4, 1]))
    nibabel.save(image, tmp_path / "a.nii.gz")
    text = "image,label,xmin,ymin,zmin,xmax,ymax,zmax\na.nii.gz,b,3,3,3,9,9,9\n"
    (tmp_path / "boxes.csv").write_text(text)
    # Without a choice as many voxels as there are, in cubes: of 1.59 mm, 41 x 31 x 41.
    assert box_folder(BoxOptions(data_dir=str(tmp_path))).shape == (64, 32, 64)
    made = suggest_form(BoxOptions(data_dir=str(tmp_path)), accelerated=False)
    chosen = {s.name: s.value for s in made}
    assert chosen == {"grid_mm": 1.0, "image_shape": (64, 48, 64)}


def test_a_mask_lies_as_its_image_does(tmp_path):
    """Stored from left to right beside an image from right to left; and one that is elsewhere."""
    mask = np.zeros((9, 8, 7), np.uint8)
    mask[1:3, 2:4, 3:6] = 1
    world, mirrored = np.diag([-1.0, 1, 1, 1]), np.diag([1.0, 1, 1, 1])
    mirrored[0, 3] = -8
    for folder, values, affine in (("images", mask, world), ("labels", mask[::-1], mirrored)):
        (tmp_path / folder).mkdir()
        nibabel.save(nibabel.Nifti1Image(values, affine), tmp_path / folder / "a.nii.gz")
    (case,) = box_folder(BoxOptions(data_dir=str(tmp_path))).cases
    assert case.boxes(()) == [NamedBox("foreground", (1.0, 2.0, 3.0), (3.0, 4.0, 6.0))]
    mirrored[1, 3] = 5
    nibabel.save(nibabel.Nifti1Image(mask[::-1], mirrored), tmp_path / "labels" / "a.nii.gz")
    (case,) = box_folder(BoxOptions(data_dir=str(tmp_path))).cases
    with pytest.raises(UserError, match="mm"):
        case.boxes(())


def test_boxes_about_pieces_of_a_volume_and_about_touching_things(tmp_path):
    """Array order i, j, k of NIfTI is x, y, z; what touches is one, unless each is numbered."""
    things = np.zeros((9, 8, 7), np.uint8)
    things[1:3, 2:4, 3:6], things[3:5, 2:4, 3:6], things[7:9, 7, 0] = 1, 2, 5
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
        nibabel.save(nibabel.Nifti1Image(things, np.eye(4)), tmp_path / folder / "a.nii.gz")
    last = NamedBox("thing", (7.0, 7.0, 0.0), (9.0, 8.0, 1.0))
    (case,) = box_folder(BoxOptions(data_dir=str(tmp_path), instances=True)).cases
    assert case.boxes(()) == [
        NamedBox("thing", (1.0, 2.0, 3.0), (3.0, 4.0, 6.0)),
        NamedBox("thing", (3.0, 2.0, 3.0), (5.0, 4.0, 6.0)),
        last,
    ]
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"cell": 1, "b": 2, "c": 5}}))
    (case,) = box_folder(BoxOptions(data_dir=str(tmp_path))).cases
    assert [b.label for b in case.boxes(())] == ["cell", "b", "c"]
    assert case.boxes(())[2] == last._replace(label="c")


def listed(names, **image):
    """A file of COCO with one box in each image."""
    return json.dumps(
        {
            "images": [{"id": i, "file_name": n, **image} for i, n in enumerate(names)],
            "categories": [{"id": 1, "name": "red"}],
            "annotations": [
                {"image_id": i, "category_id": 1, "bbox": [10, 5, 10, 5]} for i in range(len(names))
            ],
        }
    )


def test_an_image_in_two_lists_is_refused(tmp_path):
    draw(tmp_path, "a.png", "b.png")
    for name in ("cells", "debris"):
        (tmp_path / f"{name}.json").write_text(listed(["a.png", "b.png"]))
    with pytest.raises(UserError, match=r"a\.png: two files list its boxes"):
        box_folder(BoxOptions(data_dir=str(tmp_path)))


def test_a_list_of_images_of_another_size_is_refused(tmp_path):
    draw(tmp_path, "a.png", "b.png")
    (tmp_path / "all.json").write_text(listed(["a.png", "b.png"], width=300, height=200))
    case = box_folder(BoxOptions(data_dir=str(tmp_path))).cases[0]
    with pytest.raises(
        UserError, match=r"says that a\.png has 300 x 200 pixels, and it has 40 x 20"
    ):
        case.check_size((40, 20))


@pytest.mark.parametrize("skip_bad", [False, True])
def test_a_set_with_an_image_of_another_size_is_prepared_as_skip_bad_says(
    tmp_path, cache_dir, skip_bad
):
    draw(tmp_path, *(f"{name}.png" for name in "abcdefgh"))
    Image.new("L", (50, 20)).save(tmp_path / "b.png")
    content = json.loads(listed([f"{name}.png" for name in "abcdefgh"], width=40, height=20))
    content["annotations"].append({"image_id": 0, "category_id": 1, "bbox": [1, 1, 5, 5]})
    (tmp_path / "all.json").write_text(json.dumps(content))
    options = BoxOptions(data_dir=str(tmp_path), image_shape=(20, 40), skip_bad=skip_bad)
    if not skip_bad:
        with pytest.raises(UserError, match=r"b\.png has 40 x 20 pixels, and it has 50 x 20"):
            source.load("box_folder", options=options, cache_dir=cache_dir)
        return
    made = source.load("box_folder", options=options, cache_dir=cache_dir)
    splits = made.splits.values()
    assert sum(len(split) for split in splits) == 7
    assert sum(int((split["box_label"] >= 0).sum()) for split in splits) == 8


def test_a_list_that_was_cut_off_is_named(tmp_path):
    draw(tmp_path, "a.png", "b.png")
    (tmp_path / "train.json").write_text(listed(["a.png"]))
    (tmp_path / "val.json").write_text(listed(["b.png"])[:-20])
    with pytest.raises(UserError, match=r"val\.json: no annotations of COCO: cut off"):
        box_folder(BoxOptions(data_dir=str(tmp_path)))


def test_a_list_that_excel_has_saved_is_read(tmp_path):
    draw(tmp_path, "a.png", "b.png")
    (tmp_path / "all.json").write_text(listed(["a.png", "b.png"]), encoding="utf-8-sig")
    assert len(box_folder(BoxOptions(data_dir=str(tmp_path))).cases) == 2


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("a.png,nan,1,1,5,5", "without a class"),
        ("a.png,red,1,1,inf,5", "not finite"),
        ("a.png,red,1,1,5,5\na.png,red,1,1,5,5", "twice"),
    ],
)
def test_rows_of_boxes_are_checked(tmp_path, rows, words):
    draw(tmp_path, "a.png")
    (tmp_path / "boxes.csv").write_text(f"image,label,xmin,ymin,xmax,ymax\n{rows}\n")
    with pytest.raises(UserError, match=words):
        box_folder(BoxOptions(data_dir=str(tmp_path)))


def test_the_grid_is_of_the_usual_size_not_of_the_first(tmp_path):
    for i in range(9):
        Image.new("L", (64, 64) if i == 0 else (320, 160)).save(tmp_path / f"{i}.png")
    (tmp_path / "all.json").write_text(listed([f"{i}.png" for i in range(9)]))
    options = BoxOptions(data_dir=str(tmp_path))
    assert box_folder(options).shape == (160, 320)
    assert suggest_form(options, accelerated=True)[0][:2] == ("image_shape", (160, 320))


def test_a_class_that_no_training_image_has_is_noted():
    info = DatasetInfo("x", box_classes=("red", "white", "blue"))
    (note,) = note_absent(np.array([[0, 0, -1], [2, -1, -1]]), info)
    assert note.startswith("1 class without a box in the training images") and "white" in note
