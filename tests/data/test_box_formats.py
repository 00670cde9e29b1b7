"""Files of boxes: the same box in each form, and what is refused."""

import json

import pytest

from medjax.data.boxes import formats
from medjax.data.boxes.formats import NamedBox
from medjax.errors import UserError

# Of an image of 40 x 20: its pixels 10 to 19 in x, 5 to 9 in y, counted from 0.
BOX = NamedBox("cell", (10.0, 5.0), (20.0, 10.0))
VOC = """<annotation><filename>a.png</filename><object><name>cell</name><bndbox><xmin>11</xmin>
<ymin>6</ymin><xmax>20</xmax><ymax>10</ymax></bndbox></object></annotation>"""


def test_pascal_voc(tmp_path):
    (tmp_path / "a.xml").write_text(VOC)
    assert formats.read_voc(tmp_path / "a.xml") == ("a.png", [BOX], None)
    for text, words in (
        (VOC[:-9], "no annotation of Pascal VOC"),
        (VOC.replace("11", "x"), "no annotation of Pascal VOC"),
        (VOC.replace("cell", " "), "a box without a class"),
        (VOC.replace("11", "nan"), "not finite"),
        ("<!DOCTYPE a [<!ENTITY b 'c'>]>" + VOC, "declares entities"),
    ):
        (tmp_path / "a.xml").write_text(text)
        with pytest.raises(UserError, match=words):
            formats.read_voc(tmp_path / "a.xml")


def coco(**changes):
    content = {
        "images": [{"id": 7, "file_name": "a.png"}, {"id": 8, "file_name": "b.png"}],
        "categories": [{"id": 3, "name": "cell"}],
        "annotations": [{"image_id": 7, "category_id": 3, "bbox": [10, 5, 10, 5]}],
    }
    return json.dumps({**content, **changes})


def test_coco(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(coco())
    assert [x[:2] for x in formats.read_coco(path)] == [("a.png", [BOX]), ("b.png", [])]
    for text in (coco(categories=[]), coco(images=[]), "{}", "[1]", coco(annotations=[{}])):
        path.write_text(text)
        with pytest.raises(UserError, match="no annotations of COCO"):
            formats.read_coco(path)


def test_coco_crowds_and_polygons(tmp_path):
    shape = [10, 5, 20, 6, 12, 10]
    some = [{"image_id": 7, "category_id": 3, "segmentation": [shape]}]
    some.append({"image_id": 7, "category_id": 3, "bbox": [0, 0, 40, 20], "iscrowd": 1})
    (tmp_path / "a.json").write_text(coco(annotations=some))
    found = formats.read_coco(tmp_path / "a.json")
    assert [x[:2] for x in found] == [("a.png", [BOX]), ("b.png", [])]


def test_yolo(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("1 0.375 0.375 0.25 0.25\n\n")
    assert formats.read_yolo(path, ("other", "cell"), size=(40, 20)) == [BOX]
    path.write_text("1 0.25 0.25 0.5 0.3 0.3 0.5\n1 0.375 0.375 0.25 0.25 0.9")
    assert formats.read_yolo(path, ("other", "cell"), size=(40, 20)) == [BOX, BOX]
    for text in (
        "1 15 7.5 10 5",
        "1 0.1 0.1 0.2 0.2 0.3 0.3 0.1",
        "2 0.3 0.3 0.2 0.2",
        "-1 0.3 0.3 0.2 0.2",
        "1 0.3 0.3",
        "cell 0.3 0.3 0.2 0.2",
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=r"line 1: give the number of a class \(0 to 1\)"):
            formats.read_yolo(path, ("other", "cell"), size=(40, 20))


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("classes.txt", "red cell\nwhite\n"),
        ("data.yaml", "nc: 2\nnames: ['red cell', white]\n"),
        ("data.yaml", "names:\n- red cell\n- white\nnc: 2\n"),
        ("data.yml", "names:\n  0: red cell\n  1: white\nval: x\n"),
        ("notes.yaml", "train: x\n"),
    ],
)
def test_names_of_yolo(tmp_path, file, text):
    (tmp_path / file).write_text(text)
    expected = () if "train" in text else ("red cell", "white")
    assert formats.read_yolo_names(tmp_path) == expected


def test_boxes_without_a_size_and_outside_are_named():
    boxes = [
        BOX,
        NamedBox("cell", (5.0, 5.0), (5.0, 9.0)),
        NamedBox("cell", (41.0, 0.0), (50.0, 9.0)),
        NamedBox("cell", (-3.0, 15.0), (9.0, 25.0)),
    ]
    made = formats.sort_out(boxes, (40, 20), image="a.png")
    assert made.usable == [BOX, NamedBox("cell", (0.0, 15.0), (9.0, 20.0))]
    assert made.empty == ["a.png, box 2 (cell)"]
    assert made.outside == ["a.png, box 3 (cell)"]
    with pytest.raises(UserError, match=r"box 1 \(cell\): has 2 axes, its image 3; .* zmin"):
        formats.sort_out([BOX], (40, 20, 9), image="a.nii.gz")


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("data.yaml", "names: {1: a, 2: b, 3: c}", "numbered 1, 2, 3; number them from 0 on"),
        ("data.yaml", "names: {0: a, 2: b}", "number them from 0 on"),
        ("classes.txt", "a\n\nb\n", "line 2 is empty"),
    ],
)
def test_numbers_of_classes_are_kept(tmp_path, file, text, words):
    (tmp_path / file).write_text(text)
    with pytest.raises(UserError, match=words):
        formats.read_yolo_names(tmp_path)


def test_numbers_in_quotes_are_in_their_order(tmp_path):
    names = "\n".join(f"  '{n}': c{n}" for n in range(12))
    (tmp_path / "data.yaml").write_text(f"names:\n{names}\n")
    assert formats.read_yolo_names(tmp_path) == tuple(f"c{n}" for n in range(12))


@pytest.mark.parametrize("part", ["images", "categories"])
def test_an_id_of_coco_that_stands_twice_is_refused(tmp_path, part):
    entry = {"id": 5, "file_name": "a.png", "name": "cell"}
    (tmp_path / "a.json").write_text(coco(**{part: [entry, entry], "annotations": []}))
    with pytest.raises(UserError, match=f"the id 5 stands twice in {part}"):
        formats.read_coco(tmp_path / "a.json")


def test_the_encoding_of_a_voc_file_is_the_one_it_declares(tmp_path):
    head = '<?xml version="1.0" encoding="ISO-8859-1"?>'
    (tmp_path / "a.xml").write_bytes((head + VOC.replace("cell", "tumör")).encode("latin-1"))
    assert formats.read_voc(tmp_path / "a.xml").boxes[0].label == "tumör"
