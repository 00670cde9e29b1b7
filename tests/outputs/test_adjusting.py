"""What changes a ranking: metadata, known classes, a second look."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from medjax.errors import UserError
from medjax.ops.barcode import barcode
from medjax.outputs.embeddings import adjusting
from medjax.outputs.embeddings.metadata import MetadataDistance, count_missing
from tests.outputs.test_embeddings import SPEC, cases


def with_facts(split, **columns):
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return dataclasses.replace(split, metadata=rows)


@pytest.fixture
def gallery():
    """Ages 20 to 60, two of each sex, the last case without either."""
    split = cases([0, 1, 0, 1, 2], "abcde", "g")
    return with_facts(split, age=["20", "30", "50", "60", ""], sex=["F", "M", "F", "M", "NA"])


def test_distances_of_metadata_by_hand(gallery):
    known = MetadataDistance(gallery, ["sex", "age"])
    sex, age = known.measure({"age": "30", "sex": "F"})
    # Of pairs of those who have it, each with itself too, half differ in sex.
    assert sex.tolist() == [0, 1, 0, 1, 0.5]
    low, high = np.percentile([20, 30, 50, 60], [5, 95])
    pairs = np.abs(np.subtract.outer([20, 30, 50, 60], [20, 30, 50, 60])).mean()
    np.testing.assert_allclose(age, np.array([10, 0, 20, 30, pairs]) / (high - low))


def test_a_query_without_it_is_as_far_from_all(gallery):
    sex, age = MetadataDistance(gallery, ["sex", "age"]).measure({"sex": "unknown", "age": "old"})
    assert len(set(sex)) == len(set(age)) == 1
    assert count_missing(gallery, ["sex", "age"]) == {"sex": 1, "age": 1}


@pytest.mark.parametrize("columns", [["weight"], ["sex", "agee"]])
def test_metadata_that_there_are_not(gallery, columns):
    with pytest.raises(UserError, match="unknown metadata"):
        MetadataDistance(gallery, columns)


def test_weights_add_to_the_distance_of_images(gallery):
    queries = with_facts(cases([0], "q", "q"), sex=["M"])
    adjust = adjusting.weigh_metadata(queries, gallery, ["sex"], [2.0])
    np.testing.assert_allclose(adjust(0, np.arange(5.0)), [2, 1, 4, 3, 5])


def test_the_likeliest_class_comes_first_and_distances_decide_within_it(gallery):
    share = np.array([[0.3, 0.5, 0.2]])
    adjust = adjusting.prefer_classes(share, gallery, adjusting.leave_alone)
    order = np.argsort(adjust(0, np.array([5.0, 4.0, 1.0, 3.0, 0.0])))
    assert order.tolist() == [3, 1, 2, 0, 4]  # classes 1, 1, 0, 0, 2


def test_a_short_list_is_ordered_by_barcodes(rng):
    """The nearest three by distance come in the order of their barcodes, the others after them."""
    images = rng.random((6, 32, 32, 1)).astype(np.float32)
    images[3] = images[5] + 0.02 * images[3]  # whose barcode is near that of the query
    split = dataclasses.replace(
        cases([0] * 5, "abcde", "g"), read=lambda i: images[i], image_shape=(32, 32, 1)
    )
    query = dataclasses.replace(
        cases([0], "b", "q"), read=lambda i: images[5], image_shape=(32, 32, 1)
    )
    adjust = adjusting.look_again(query, split, SPEC, size=3, batch=2)
    far = adjust(0, np.array([0.1, 0.0, 0.2, 0.3, 0.4]))
    bits = [np.asarray(barcode(x[..., 0])) for x in images]
    hand = [int((bits[5] != bits[i]).sum()) for i in range(5)]
    # Case 1 is of the subject of the query: it takes none of the three places.
    assert [far[i] for i in (0, 2, 3)] == [hand[i] for i in (0, 2, 3)]
    assert far.argmin() == 3
    assert min(far[1], far[4]) > max(far[0], far[2], far[3])


def test_several_adjustments_are_made_in_turn(gallery):
    queries = with_facts(cases([0], "q", "q"), sex=["M"])
    predictor = SimpleNamespace(metadata=("sex",), metadata_weights=(0.0,), shortlist=0)
    unchanged = adjusting.make_adjustment(predictor, queries, gallery, SPEC, batch=2)
    np.testing.assert_array_equal(unchanged(0, np.arange(5.0)), np.arange(5.0))
    predictor.metadata_weights = (1.0,)
    changed = adjusting.make_adjustment(predictor, queries, gallery, SPEC, batch=2)
    np.testing.assert_allclose(changed(0, np.zeros(5)), [1, 0, 1, 0, 0.5])
