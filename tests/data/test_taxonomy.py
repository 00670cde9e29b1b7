"""Trees above classes, against one worked out by hand."""

import csv

import numpy as np
import pytest
from PIL import Image

import medjax
from medjax.data.taxonomy import Taxonomy, add_leaves, partition, read_taxonomy
from medjax.errors import UserError
from medjax.outputs.labels.predictions import LabelPredictions

TREE = Taxonomy({"nevus": "benign", "wart": "benign", "melanoma": "malignant"})
COUNTS = {
    "nevus / arm": 6,
    "nevus / leg": 3,
    "wart / arm": 1,
    "melanoma / arm": 2,
    "melanoma / leg": 2,
}
LEAVES = add_leaves(TREE, [tuple(name.split(" / ")) for name in COUNTS])


def write(path, *rows):
    path.write_text("\n".join(["child,parent", *rows]) + "\n")
    return path


def test_names_go_up_to_the_top():
    assert LEAVES.ancestors("nevus / arm") == ["nevus / arm", "nevus", "benign"]
    assert LEAVES.top("melanoma / leg") == "malignant"


@pytest.mark.parametrize(
    ("most", "classes", "large"),
    [
        (100, ["benign", "benign", "benign", "malignant", "malignant"], []),
        (9, ["nevus", "nevus", "wart", "malignant", "malignant"], []),
        (4, ["nevus / arm", "nevus / leg", "wart", "malignant", "malignant"], ["nevus / arm"]),
        (1, ["wart" if "wart" in n else n for n in COUNTS], [n for n in COUNTS if "wart" not in n]),
    ],
)
def test_leaves_are_put_together_from_the_top_down(most, classes, large):
    class_of, found = partition(LEAVES, COUNTS, most=most)
    assert list(class_of.values()) == classes
    assert found == large


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["a,b", "b,c", "c,a"], "a cycle: a under b under c under a"),
        (["a,a"], "a cycle: a under a"),
        (["a,b", "a,c"], "line 3: 'a' has two parents, 'b' too"),
        ([",b"], "line 2: the child has no name"),
    ],
)
def test_what_is_no_tree_is_told(rows, message, tmp_path):
    with pytest.raises(UserError, match=message) as error:
        read_taxonomy(write(tmp_path / "tree.csv", *rows))
    assert "\n" not in str(error.value)


def test_a_class_has_to_be_a_leaf_of_the_tree():
    with pytest.raises(UserError, match=r"unknown class of taxonomy 'nevi'.*nevus"):
        add_leaves(TREE, [("nevi",)])
    with pytest.raises(UserError, match="'benign' is the class of an image, but no leaf"):
        add_leaves(TREE, [("benign", "arm")])


@pytest.fixture
def folder(tmp_path, rng):
    """Two images of each leaf in train, one in validation."""
    rows = []
    for name in COUNTS:
        kind, site = name.split(" / ")
        for number, split in enumerate(("train", "train", "val")):
            file = f"{kind}_{site}_{number}.png"
            Image.fromarray(rng.integers(0, 255, (8, 8), np.uint8)).save(tmp_path / file)
            rows.append([file, kind, site, split])
    with (tmp_path / "metadata.csv").open("w", newline="") as f:
        csv.writer(f).writerows([["path", "label", "site", "split"], *rows])
    write(tmp_path / "tree.csv", *(f"{child},{parent}" for child, parent in TREE.parent.items()))
    return tmp_path


@pytest.mark.parametrize(
    ("options", "classes", "groups"),
    [
        (
            {},
            ("melanoma", "nevus", "wart"),
            ("malignant", "benign", "benign"),
        ),
        (
            {"leaf_columns": ("site",), "max_class_size": 4},
            ("malignant", "nevus", "wart"),
            ("malignant", "benign", "benign"),
        ),
        ({"class_level": "coarse"}, ("benign", "malignant"), ()),
    ],
)
def test_a_set_has_the_classes_of_its_tree(folder, cache_dir, options, classes, groups):
    found = medjax.open_dataset(
        folder, taxonomy=str(folder / "tree.csv"), cache_dir=cache_dir, **options
    )
    assert found.info.classes == classes
    assert found.info.groups == groups


def test_a_tree_with_one_root_has_nothing_to_tell_apart(folder, cache_dir):
    write(folder / "tree.csv", "nevus,skin", "wart,skin", "melanoma,skin")
    with pytest.raises(UserError, match="all classes are below 'skin'"):
        medjax.open_dataset(folder, taxonomy=str(folder / "tree.csv"), cache_dir=cache_dir)


def test_settings_of_a_tree_need_one(folder, cache_dir):
    with pytest.raises(UserError, match="give `taxonomy`"):
        medjax.open_dataset(folder, max_class_size=5, cache_dir=cache_dir)


def test_a_coarse_class_has_the_sum_of_its_classes(tmp_path):
    p = np.array([[0.2, 0.3, 0.5], [0.6, 0.1, 0.3]])
    fine = LabelPredictions(
        ["x", "y"], ["x", "y"], np.array([2, 1]), p, ["a", "b", "c"], (), ["bad", "good", "good"]
    )
    coarse = fine.coarse()
    assert coarse.classes == ["bad", "good"]
    np.testing.assert_allclose(coarse.probability, [[0.2, 0.8], [0.6, 0.4]])
    assert coarse.label.tolist() == [1, 1]
    assert fine.write_files(tmp_path) == ("predictions_coarse.csv",)
    again = LabelPredictions.read(tmp_path / "predictions_coarse.csv")
    np.testing.assert_allclose(again.probability, coarse.probability)


def test_a_coarse_class_may_stand_alone(tmp_path):
    tree = read_taxonomy(write(tmp_path / "tree.csv", "a,top", "other,", "top,"))
    assert tree.alone == ("other",)
    made = add_leaves(tree, [("other", "arm"), ("a", "arm")])
    assert made.top("other / arm") == "other"
    assert partition(add_leaves(tree, [("other",), ("a",)]), {"other": 3, "a": 2}, most=9)[0] == {
        "other": "other",
        "a": "top",
    }
