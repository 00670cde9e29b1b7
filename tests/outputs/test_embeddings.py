"""What queries find in a gallery, and how it is scored."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, ndcg_score

from medjax.data.dataset import Split
from medjax.data.info import DatasetInfo
from medjax.errors import UserError
from medjax.ops.preprocess import Preprocessing
from medjax.outputs import embeddings
from medjax.outputs.base import ModelSpec
from medjax.outputs.embeddings import metrics, ranking
from medjax.outputs.embeddings.metrics import MEASURES
from medjax.outputs.embeddings.predictions import RetrievalPredictions

INFO = DatasetInfo("set", classes=("a", "b", "c"))
SPEC = ModelSpec(INFO, Preprocessing(0.0, 1.0, (0.0,), (1.0,)), (1, 1, 1), "float32")


def scores_of(found, label, *, ordered=False, classes=3):
    values = metrics.score_ranking(np.array(found), label, classes=classes, ordered=ordered)
    return dict(zip(MEASURES, values.tolist(), strict=True))


def cases(label, subjects, prefix):
    names = [f"{prefix}{i}" for i in range(len(label))]
    blank = np.zeros((1, 1, 1), np.float32)
    return Split(
        {"label": np.array(label)},
        names,
        list(subjects),
        [{}] * len(label),
        lambda i: blank,
        (1, 1, 1),
        blank.dtype,
    )


def test_scores_by_hand():
    """Hits at ranks 1, 3 and 6 of three in all: 1 + 2/3 among the first five, and 1/2 more."""
    found = scores_of([0, 1, 0, 2, 1, 0, 2], 0)
    assert found["precision_at_1"] == 1
    assert found["precision_at_5"] == pytest.approx(2 / 5)
    assert found["recall_at_5"] == pytest.approx(2 / 3)
    assert found["ap_at_5"] == pytest.approx((1 + 2 / 3) / 3)
    assert found["ap_at_5_published"] == pytest.approx((1 + 2 / 3) / 2)
    assert found["map"] == pytest.approx((1 + 2 / 3 + 3 / 6) / 3)
    assert found["majority_vote_at_5"] == pytest.approx(1 / 2)  # 2 votes each of 0 and 1


def test_missing_more_raises_the_published_form_alone():
    """One hit at rank 1 and nothing else: 1 as published, 1/5 in the standard form."""
    found = scores_of([0, 1, 1, 1, 1, *[0] * 9], 0)
    assert found["ap_at_5_published"] == 1
    assert found["ap_at_5"] == pytest.approx(1 / 5)


def test_nothing_to_find_is_undefined_and_a_hit_there_is_none():
    found = scores_of([1, 2, 1], 0)
    undefined = {name for name, value in found.items() if np.isnan(value)}
    assert undefined == {"recall_at_5", "ap_at_5", "map", "ndcg"}
    assert found["precision_at_1"] == 0 and found["majority_vote_at_5"] == 0


@given(st.lists(st.integers(0, 2), min_size=2, max_size=30), st.integers(0, 2))
def test_scores_are_those_of_scikit_learn(found, label):
    hit = np.array(found) == label
    rank = -np.arange(len(found), dtype=float)
    mine = scores_of(found, label)
    if hit.any():
        assert mine["map"] == pytest.approx(average_precision_score(hit, rank))
        assert mine["ndcg"] == pytest.approx(ndcg_score([hit.astype(float)], [rank]))
    grades = 1 - np.abs(np.array(found) - label) / 2
    if grades.any():
        graded = scores_of(found, label, ordered=True)["ndcg"]
        assert graded == pytest.approx(ndcg_score([grades], [rank]))
    curve = metrics.trace_recall(np.array(found), label)
    if hit.any():
        assert (np.diff(curve) <= 1e-12).all() and curve[0] == pytest.approx(
            max(np.cumsum(hit) / np.arange(1, len(hit) + 1))
        )


def test_cases_of_the_subject_are_passed_over_and_counted():
    """The nearest two are of the subject itself; of the others the nearest is of another class."""
    gallery = cases([0, 0, 1, 0], ["p", "p", "q", "r"], "g")
    queries = cases([0, 1], ["p", "x"], "q")
    ranker = ranking.Ranker(queries, gallery, SPEC, "euclidean")
    found = ranker(np.array([[0.0], [2.0]]), np.array([[0.0], [0.1], [2.0], [5.0]]))
    assert found["excluded"].tolist() == [2, 0]
    assert found["neighbour"].tolist()[0] == ["g2", "g3", "", "", ""]
    assert found["neighbour"].tolist()[1] == ["g2", "g1", "g0", "g3", ""]
    assert found["neighbour_row"].tolist()[0] == [2, 3, -1, -1, -1]
    np.testing.assert_allclose(found["distance"][0], [2.0, 5.0, np.nan, np.nan, np.nan])
    assert found["scores"][0, MEASURES.index("precision_at_1")] == 0


def test_a_query_whose_gallery_is_all_its_own_is_undefined():
    gallery, queries = cases([0, 1], ["p", "p"], "g"), cases([0], ["p"], "q")
    found = ranking.Ranker(queries, gallery, SPEC, "euclidean")(np.zeros((1, 1)), np.zeros((2, 1)))
    assert np.isnan(found["scores"]).all() and found["excluded"].tolist() == [2]


def test_equal_distances_favour_no_class():
    """All embeddings are equal, the gallery is sorted by class: what is found is chance."""
    gallery = cases([0] * 300 + [1] * 300, [f"s{i}" for i in range(600)], "g")
    queries = cases([0, 1] * 20, [f"t{i}" for i in range(40)], "q")
    ranker = ranking.Ranker(queries, gallery, SPEC, "cosine")
    label = ranker(np.ones((40, 2)), np.ones((600, 2)))["neighbour_label"]
    assert 0 < (label == "a").mean() < 1


def test_bits_are_ranked_by_how_many_differ():
    gallery = cases([0, 1, 2], "pqr", "g")
    known = np.array([[1, 1, 1, 1.0], [1, 1, 1, 0], [0, 0, 0, 0]])
    ranker = ranking.Ranker(cases([0], "x", "q"), gallery, SPEC, "hamming")
    found = ranker(np.array([[1, 1, 0, 0.0]]), known)
    assert found["distance"][0, :3].tolist() == [1, 2, 2]
    assert found["neighbour"][0, 0] == "g1"


def test_a_table_is_written_and_read_again(tmp_path):
    gallery, queries = cases([0, 1, 0], "pqr", "g"), cases([0, 2], "xy", "q")
    answers = ranking.Ranker(queries, gallery, SPEC, "euclidean")(np.eye(2), np.eye(3)[:, :2])
    table = embeddings.tabulate(queries, SPEC, answers)
    assert table.write_files(tmp_path) == ("neighbours.csv",)
    again = RetrievalPredictions.read(tmp_path / "predictions.csv")
    np.testing.assert_allclose(again.scores, table.scores, rtol=1e-6)  # NaN of c: nothing to find
    assert again.label.tolist() == ["a", "c"]
    assert len((tmp_path / "neighbours.csv").read_text().splitlines()) == 1 + 2 * 3
    pair = embeddings.read_pair(*[tmp_path / "predictions.csv"] * 2, None)
    assert np.array_equal(pair.a, pair.b, equal_nan=True)
    (tmp_path / "other.csv").write_text("case_id,subject_id\nx,y\n")
    with pytest.raises(UserError, match="expected the columns"):
        RetrievalPredictions.read(tmp_path / "other.csv")


def test_new_images_have_embeddings_alone():
    split = dataclasses.replace(cases([0], "x", "q"), targets={})
    table = embeddings.tabulate(split, SPEC, {"embedding": np.array([[0.5, 2.0]])})
    (answer,) = embeddings.EMBEDDINGS.answer(table, split)
    assert answer.rows() == [{"case_id": "q0", "e_0": 0.5, "e_1": 2.0}]
    assert np.isnan(table.values(metrics.METRICS)["map"])


def test_the_first_bits_of_codes_are_scored_alone():
    """Eight bits tell nothing here, the ninth the class."""
    label = [0, 1, 0, 1]
    codes = np.concatenate([np.zeros((4, 8)), np.array(label)[:, None]], 1)
    gallery = cases(label, "abcd", "g")
    ranker = ranking.Ranker(cases([1], "x", "q"), gallery, SPEC, "hamming")
    answers = ranker(codes[1:2], codes)
    assert ranking.list_prefixes(9) == [8, 9]
    assert ranking.list_prefixes(8) == [8]
    assert answers["by_bits"].shape == (1, 2)
    assert answers["by_bits"][0, 1] == 1.0
    by_chance = ranking.score_ranking(np.array(label)[ranker.chance], 1, classes=3, ordered=False)
    assert answers["by_bits"][0, 0] == by_chance[MEASURES.index("ap_at_5")]


def test_a_query_without_a_finite_embedding_is_undefined():
    gallery, queries = cases([0, 1], ["p", "q"], "g"), cases([0, 0], ["x", "y"], "q")
    ranker = ranking.Ranker(queries, gallery, SPEC, "euclidean")
    scores = ranker(np.array([[np.nan], [0.0]]), np.array([[0.0], [1.0]]))["scores"]
    assert np.isnan(scores[0]).all()
    assert scores[1, MEASURES.index("precision_at_1")] == 1
