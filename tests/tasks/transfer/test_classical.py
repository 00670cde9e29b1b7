"""Classical features and metadata as numbers, by hand; arms of several parts."""

import numpy as np
import pytest

from medjax.tasks.transfer import bench, classical
from medjax.tasks.transfer.classical import Encoding, encode_metadata, fit_encoding

TRAIN = [{"age": "40", "sex": "f"}, {"age": "", "sex": "m"}, {"age": "55.5", "sex": "f"}]


def test_columns_are_numbers_or_one_value_each():
    encoding = fit_encoding(TRAIN, list(TRAIN[0]))
    assert encoding == [Encoding("age", ()), Encoding("sex", ("f", "m"))]
    # Whether age is missing, age, whether sex is missing, female, male.
    np.testing.assert_allclose(
        encode_metadata(TRAIN, encoding), [[0, 40, 0, 1, 0], [1, 0, 0, 0, 1], [0, 55.5, 0, 1, 0]]
    )


def test_what_the_training_set_has_not_is_none_of_its_values():
    other = [{"age": "old", "sex": "x"}]
    encoding = fit_encoding(TRAIN, list(TRAIN[0]))
    # A text among numbers is missing; an unknown one among texts is none of them.
    np.testing.assert_array_equal(encode_metadata(other, encoding), [[1, 0, 0, 0, 0]])
    assert fit_encoding([], []) == []


def test_features_of_an_image_that_is_the_same_all_over():
    found = classical.describe_image(np.full((30, 40, 1), 0.5))
    hog, orders = found[:128], found[-7:]
    assert (hog == 0).all()
    np.testing.assert_allclose(orders, [0.5, 0, 0.5, 0.5, 0.5, 0.5, 0.5], atol=1e-6)
    contrast, homogeneity = found[-15:-13], found[-13:-11]
    assert contrast.tolist() == [0, 0] and homogeneity.tolist() == [1, 1]


def test_all_sizes_have_as_many_features_and_channels_have_their_own(rng):
    small, large = (classical.describe_image(rng.uniform(size=(n, n, 1))) for n in (20, 90))
    assert small.shape == large.shape and np.isfinite(small).all()
    colour = classical.describe_image(rng.uniform(size=(20, 20, 3)))
    assert len(colour) == len(small) + 2 * 7


def test_stripes_are_told_from_their_rotation():
    stripes = np.sin(np.arange(64))[:, None, None] * np.ones((64, 64, 1)) / 2 + 0.5
    a, b = (classical.describe_image(x)[:128] for x in (stripes, stripes.transpose(1, 0, 2)))
    assert a.reshape(-1, 8).sum(0).argmax() != b.reshape(-1, 8).sum(0).argmax()


def test_arms_of_several_parts_have_them_side_by_side():
    parts = bench._PARTS
    assert parts["early_fusion"] == (*parts["frozen"], *parts["classical"])
    assert parts["frozen_and_metadata"] == (*parts["frozen"], *parts["metadata"])
    assert set(parts) | {"svm", "knn", "late_fusion"} == {
        "frozen",
        *bench.arms.TABLES,
    }


@pytest.mark.parametrize("module", [True, False])
def test_without_scikit_image_the_extra_is_named(module, monkeypatch):
    if module:
        assert classical.find_skimage().hog
        return
    monkeypatch.setitem(__import__("sys").modules, "skimage", None)
    with pytest.raises(classical.UserError, match=r"pip install 'medjax\[instances\]'"):
        classical.find_skimage()


def test_what_says_nothing_is_missing_whatever_it_is_called():
    ages = ("45", "NA", "nan", "unknown", "", "60")
    table = [{"age": age} for age in ages]
    assert fit_encoding(table, ["age"]) == [Encoding("age", ())]
    found = encode_metadata(table, fit_encoding(table, ["age"]))
    np.testing.assert_array_equal(found.T, [[0, 1, 1, 1, 1, 0], [45, 0, 0, 0, 0, 60]])
