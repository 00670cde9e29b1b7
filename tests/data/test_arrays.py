"""Sets from arrays in memory, and from other libraries."""

import sys
import types

import numpy as np
import pytest
from PIL import Image

import medjax
from medjax.data.dataset import Dataset
from medjax.errors import UserError


def images(count=40, shape=(10, 12)):
    return np.random.default_rng(0).integers(0, 255, (count, *shape)).astype(np.uint8)


def test_a_subject_is_in_one_split_only():
    subjects = [i // 4 for i in range(40)]
    found = Dataset.from_arrays(images(), [i % 2 for i in range(40)], subjects=subjects)
    where = {}
    for name, split in found.splits.items():
        for subject in split.subject_id:
            assert where.setdefault(subject, name) == name
    assert sum(map(len, found.splits.values())) == 40
    assert found.info.subjects == "given, 10"
    assert found.splits_drawn


def test_images_and_labels_stay_together():
    pixels, labels = images(), np.arange(40) % 3
    found = Dataset.from_arrays(pixels, labels, classes=["a", "b", "c"])
    for split in found.splits.values():
        for i, case in enumerate(split.case_id):
            np.testing.assert_array_equal(split.read(i)[..., 0], pixels[int(case)])
            assert split["label"][i] == labels[int(case)]


def test_names_of_classes_are_sorted_and_the_second_is_looked_for():
    found = Dataset.from_arrays(images(), ["ill", "healthy"] * 20)
    assert found.info.classes == ("healthy", "ill")
    assert found.info.positive == "ill"


def test_whole_numbers_are_names_where_no_others_are_given():
    assert Dataset.from_arrays(images(), [1, 2] * 20).info.classes == ("1", "2")
    assert Dataset.from_arrays(images(), [0.0, 1.0] * 20).info.classes == ("0", "1")
    assert Dataset.from_arrays(images(), [0, 1] * 20, subjects=None).info.subjects == ""


def test_given_splits_are_official():
    split = ["train"] * 30 + ["val"] * 5 + ["test"] * 5
    found = Dataset.from_arrays(images(), [0, 1] * 20, split=split)
    assert {k: len(v) for k, v in found.splits.items()} == {
        "train": 30,
        "validation": 5,
        "test": 5,
    }
    assert not found.splits_drawn


@pytest.mark.parametrize(
    ("shape", "options", "expected"),
    [
        ((10, 12), {}, (10, 12, 1)),
        ((10, 12, 3), {}, (10, 12, 3)),
        ((10, 12, 8), {}, (10, 12, 8, 1)),
        ((10, 12, 3), {"channel_axis": False}, (10, 12, 3, 1)),
        ((6, 10, 12, 2), {}, (6, 10, 12, 2)),
    ],
)
def test_which_axis_is_that_of_channels(shape, options, expected):
    found = Dataset.from_arrays(images(20, shape), [0, 1] * 10, **options)
    assert found.splits["train"].image_shape == expected


def test_the_digest_follows_every_pixel_and_label():
    pixels, labels = images(), [0, 1] * 20
    first = Dataset.from_arrays(pixels, labels).digest
    assert Dataset.from_arrays(pixels.copy(), labels).digest == first
    other = pixels.copy()
    other[3, 2, 1] ^= 1
    assert Dataset.from_arrays(other, labels).digest != first
    assert Dataset.from_arrays(pixels, [1, 0] * 20).digest != first


def test_landmarks_are_in_pixels_of_the_array_and_mm():
    """Row 2, column 7 is x = 7, y = 2; pixels of 0.5 mm."""
    points = np.tile(np.array([[2.0, 7.0], [4.0, 1.0]]), (40, 1, 1))
    points[0, 1] = np.nan
    found = Dataset.from_landmarks(images(), points, spacing_mm=0.5, names=["tip", "base"])
    split = found.splits["train"]
    i = next(i for i, c in enumerate(split.case_id) if c != "00")
    np.testing.assert_allclose(split["landmarks"][i], [[2, 7], [4, 1]])
    np.testing.assert_allclose(split["true_file"][i], [[7, 2], [1, 4]])
    distance = np.linalg.norm(np.diff(split["true_mm"][i], axis=0))
    assert distance == pytest.approx(0.5 * np.hypot(2, 6))
    where = [(s, s.case_id.index("00")) for s in found.splits.values() if "00" in s.case_id]
    part, row = where[0]
    assert np.isnan(part["landmarks"][row][1]).all()


def test_landmarks_of_volumes_in_arrays():
    volumes = np.zeros((12, 8, 10, 12), np.uint8)
    volumes[:, 2, 3, 4] = 255
    points = np.tile(np.array([[2.0, 3.0, 4.0]]), (12, 1, 1))
    found = Dataset.from_landmarks(volumes, points, spacing_mm=2.0).splits["train"]
    np.testing.assert_allclose(found["landmarks"][0], [[2, 3, 4]])
    np.testing.assert_allclose(found["true_file"][0], [[4, 3, 2]])
    assert np.unravel_index(found.read(0)[..., 0].argmax(), (8, 10, 12)) == (2, 3, 4)


def test_equal_images_in_two_splits_are_told():
    same = np.zeros((40, 10, 12), np.uint8)
    notes = Dataset.from_arrays(same, [0, 1] * 20).notes
    assert any("also in train, pixel for pixel" in note for note in notes)
    assert not Dataset.from_arrays(images(), [0, 1] * 20).notes


def test_texts_of_numbers_are_sorted_as_numbers():
    found = Dataset.from_arrays(images(), ["10", "2", "0", "11"] * 10, ordered=True)
    assert found.info.classes == ("0", "2", "10", "11") and found.info.ordered


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda p: Dataset.from_arrays(p, [0] * 39), "40 images, but 39 labels"),
        (lambda p: Dataset.from_arrays(p, [0, 1] * 20, subjects=[1]), "but 1 subjects"),
        (lambda p: Dataset.from_arrays(p, [0, 5] * 20, classes="ab"), "labels must be 0 to 1"),
        (lambda p: Dataset.from_arrays(p, [0, 0.5] * 20), "labels are not whole numbers"),
        (lambda p: Dataset.from_arrays(p, [0, 1] * 20, patients=[1]), "unknown option 'patients'"),
        (lambda p: Dataset.from_arrays(p, ["a", float("nan")] * 20), "image 1 has no label"),
        (lambda p: Dataset.from_arrays(p, ["a", "A"] * 20), "differ by case only"),
        (
            lambda p: Dataset.from_arrays(p, [0, 1] * 20, subjects=["a", "A"] * 20),
            "the subjects A and a differ by case only",
        ),
        (
            lambda p: Dataset.from_arrays(p, [0, 1] * 20, subjects=["a", None] * 20),
            "20 images without a subject",
        ),
        (
            lambda p: Dataset.from_landmarks(p, np.zeros((40, 2, 2)), spacing_mm=(1, 0.5)),
            "sides of voxels differ",
        ),
        (lambda p: Dataset.from_arrays(p, [0, 1] * 20, spacing_mm=float("nan")), "spacing_mm"),
        (lambda p: Dataset.from_masks(p, p * 0.0 - 1), "values from -1"),
        (lambda p: Dataset.from_masks(p, p * 0 + 1, scaling="images"), "unknown from_masks"),
        (lambda p: Dataset.from_masks([], []), "no images"),
        (lambda p: Dataset.from_masks([p[0], p], [p[0], p]), "axes, channels and type"),
        (lambda p: Dataset.from_arrays([p[0], p[0, 1:]], [0, 1]), "images of several shapes"),
        (lambda p: Dataset.from_arrays(p, ["a", "z"] * 20, classes="ab"), "label 'z' is none"),
        (lambda p: Dataset.from_arrays(p[0], [0] * 10), r"images have the shape \(10, 12\)"),
        (lambda p: Dataset.from_arrays(p * np.nan, [0, 1] * 20), "image 0 has NaN"),
        (lambda p: Dataset.from_arrays(p, [0, 1] * 20, case_ids=["x"] * 40), "stands twice"),
        (
            lambda p: Dataset.from_landmarks(p, np.zeros((40, 2, 3)), spacing_mm=1),
            "3 coordinates in images with 2 axes",
        ),
        (
            lambda p: Dataset.from_landmarks(p, np.zeros((40, 2, 2)), spacing_mm=0),
            "give a positive spacing_mm",
        ),
        (
            lambda p: Dataset.from_arrays(
                p, [0, 1] * 20, subjects=["s"] * 40, split=["train", "validation"] * 20
            ),
            "a subject must be in one only",
        ),
    ],
)
def test_what_does_not_go_together_is_one_line(call, words):
    with pytest.raises(UserError, match=words):
        call(images())


def test_a_set_of_tensorflow_datasets(tmp_path):
    import tensorflow_datasets as tfds

    class Tiny(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict(
                    {
                        "image": tfds.features.Tensor(shape=(9, 8, 1), dtype=np.uint8),
                        "label": tfds.features.ClassLabel(names=["no", "yes"]),
                        "who": tfds.features.Text(),
                    }
                ),
            )

        def _split_generators(self, dl_manager):
            return {"train": self._rows(24), "test": self._rows(8, start=24)}

        def _rows(self, count, start=0):
            for i in range(start, start + count):
                pixels = np.full((9, 8, 1), i, np.uint8)
                yield i, {"image": pixels, "label": i % 2, "who": f"p{i // 2}"}

        def _generate_examples(self, *args):
            raise NotImplementedError

    builder = Tiny(data_dir=str(tmp_path), file_format="array_record")
    found = Dataset.from_tfds(builder, subject="who", name="tiny_set")
    assert found.info.classes == ("no", "yes")
    assert len(found.splits["test"]) == 8
    assert len(found.splits["train"]) + len(found.splits["validation"]) == 24
    split = found.splits["test"]
    for i in range(8):
        assert split.read(i)[0, 0, 0] % 2 == split["label"][i]
    with pytest.raises(UserError, match="has no 'labels'; it has image"):
        Dataset.from_tfds(builder, label="labels")


@pytest.mark.slow
def test_a_set_of_hugging_face(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "image": datasets.Array2D((9, 8), "uint8"),
            "label": datasets.ClassLabel(names=["no", "yes"]),
        }
    )
    rows = {"image": list(images(20, (9, 8))), "label": [0, 1] * 10}
    part = datasets.Dataset.from_dict(rows, features=features)
    found = Dataset.from_huggingface(datasets.DatasetDict({"train": part}))
    assert found.info.classes == ("no", "yes")
    assert sum(map(len, found.splits.values())) == 20
    with pytest.raises(UserError, match="has no 'img'"):
        Dataset.from_huggingface(part, image="img")


def test_pictures_of_a_palette_are_colours_and_those_of_a_bit_are_gray():
    """As Hugging Face's sets give them."""

    def picture(i, mode):
        made = Image.new(mode, (4, 4), 1)
        if mode == "P":
            made.putpalette([0, 0, 0, 10 * i, 20, 30])
        return made

    for mode, expected in (("P", [50, 20, 30]), ("1", [255])):
        rows = [{"image": picture(i, mode), "label": i % 2} for i in range(10)]
        part = HuggingFaceSet(rows)
        found = Dataset.from_huggingface({"train": part})
        pixels = {c: s.read(i) for s in found.splits.values() for i, c in enumerate(s.case_id)}
        at = sorted(pixels)[5]
        assert pixels[at].shape[:2] == (4, 4)
        assert pixels[at][0, 0].tolist() == expected


class HuggingFaceSet(list):
    """Rows as of `datasets.Dataset`, which decodes pictures."""

    features = types.MappingProxyType({"image": None, "label": None})


def test_the_public_names_are_there():
    assert all(getattr(medjax, name) is not None for name in medjax.__all__)
    with pytest.raises(AttributeError, match="no attribute 'clasify'"):
        _ = medjax.clasify
    assert "jax" in sys.modules
