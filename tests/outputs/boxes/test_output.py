"""Boxes of several seeds as one, of several classes, and in a file."""

import json

import numpy as np
import pytest

from medjax.errors import UserError
from medjax.outputs.boxes import _by_size, _merge, ensemble, metrics, read_pair, serve
from medjax.outputs.boxes.report import BoxPredictions, tabulate


def test_seeds_agree_by_the_mean_of_their_scores():
    """Two seeds see one box, slightly shifted; one alone sees another."""
    boxes = np.array([[[0, 0, 10, 10], [50, 50, 60, 60]], [[0, 1, 10, 11], [0, 0, 1, 1]]], float)
    scores = np.array([[0.8, 0.6], [0.9, np.nan]])
    labels = np.zeros((2, 2), int)
    merged, mean, _ = _merge(*map(np.asarray, (boxes, scores, labels)))
    np.testing.assert_allclose(mean, [0.85, 0.3])
    np.testing.assert_allclose(merged[1], [50, 50, 60, 60])
    assert merged[0].tolist() in (boxes[0, 0].tolist(), boxes[1, 0].tolist())
    other = np.array([[0, 0], [1, 0]])  # another class is another thing
    _, mean, _ = _merge(*map(np.asarray, (boxes, scores, other)))
    np.testing.assert_allclose(sorted(mean), [0.4, 0.45])


def test_an_ensemble_of_equal_seeds_is_that_seed():
    """Also of two boxes that overlap by 0.6, which its own suppression has left."""
    boxes = np.array([[0, 0, 10, 10], [0, 2.5, 10, 12.5], [0, 0, 1, 1]], float)
    scores, labels = np.array([0.8, 0.9, np.nan]), np.zeros(3, int)
    predicted = {"boxes": boxes, "scores": scores, "labels": labels}
    merged = ensemble({k: np.stack([v[None]] * 3) for k, v in predicted.items()}, None)
    np.testing.assert_allclose(merged["scores"], [[0.9, 0.8, np.nan]], rtol=1e-6)
    np.testing.assert_allclose(merged["boxes"][0, :2], boxes[[1, 0]])


def made():
    box = np.array([[0.0, 0.0, 10.0, 10.0]])
    none, label = np.zeros((0, 4)), np.zeros(1, int)
    return BoxPredictions(
        ["x", "y", "z"],
        ["p", "q", "q"],
        ("red", "white"),
        [np.concatenate([box, box + 30]), none, none],
        [np.array([0.9, 0.4]), np.zeros(0), np.zeros(0)],
        [np.array([0, 1]), np.zeros(0, int), np.zeros(0, int)],
        [box, box, none],
        [label, label + 1, np.zeros(0, int)],
    )


def test_classes_are_averaged_and_those_without_a_box_left_out():
    counts, boxes = made().table
    weight = np.array([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
    by_hand = [(1.0 + 0.0) / 2, 1.0]  # white: one missed, one invented; of the first case red alone
    np.testing.assert_allclose(metrics.average_precision(counts, boxes, weight), by_hand)
    one = metrics.declared(score=0.3, classes=("red", "white"))["ap_50_white"]
    np.testing.assert_allclose(one(counts, boxes, weight), [0.0, np.nan])


def test_only_boxes_that_count_are_drawn(tmp_path, monkeypatch):
    boxes = np.array([[0.0, 0, 9, 9], [5, 5, 9, 9]])
    answer = serve.BoxAnswer("x", ("red",), boxes, np.array([0.9, 0.2]), np.zeros(2, int), boxes)
    drawn = []
    monkeypatch.setattr(serve.plot, "over", lambda *a, **k: drawn.append(len(a[3])))
    for report, counted in (({"least_score": 0.3}, [1, 0]), ({"least_score": "x"}, [1, 1])):
        chosen = serve.decide(answer, None, report)
        assert [row["counted"] for row in chosen.rows()] == counted
        chosen.draw(tmp_path / "x.png", np.zeros((9, 9, 1)))
        assert drawn.pop() == sum(counted)


def test_sensitivity_by_size_and_hits_by_hand():
    table = made()
    sizes, hits = table.sizes_and_hits(0, score=0.5)
    assert sizes.tolist() == [100.0] and hits.tolist() == [True]
    assert table.sizes_and_hits(0, score=0.95)[1].tolist() == [False]
    assert table.sizes_and_hits(1, score=0.3)[1].tolist() == [False]  # the one there lies elsewhere
    shares = _by_size(np.array([9.0, 1, 4, 25, 16, 36]), np.array([1, 0, 0, 1, 0, 1], bool))
    assert list(shares.values()) == [0.0, 0.5, 1.0]
    assert np.isnan(list(_by_size(np.zeros(1), np.ones(1, bool)).values())).tolist() == [
        False,
        True,
        True,
    ]


def test_overlaps_by_hand():
    a = np.array([[0.0, 0, 4, 4]])
    b = np.array([[0.0, 2, 4, 6], [10, 10, 12, 12]])
    np.testing.assert_allclose(metrics.overlaps(a, b), [[8 / 24, 0.0]])


def test_a_file_gives_back_what_was_written(tmp_path):
    first = made()
    first.write(tmp_path / "predictions.csv")
    again = BoxPredictions.read(tmp_path / "predictions.csv")
    assert (again.case_id, again.subject_id, again.names) == (
        first.case_id,
        first.subject_id,
        first.names,
    )
    for a, b in zip(first.table, again.table, strict=True):
        np.testing.assert_allclose(a, b, equal_nan=True)


@pytest.mark.parametrize("seeds", [1, 2])
def test_predictions_of_folds_are_one_table(seeds):
    joined = BoxPredictions.concatenate([made()] * seeds)
    assert len(joined.case_id) == 3 * seeds and joined.counts.shape == (3 * seeds, 2)


def test_two_runs_count_from_the_score_of_their_reports(tmp_path):
    for name, score in (("a", 0.5), ("b", 0.5), ("c", 0.2)):
        (tmp_path / name).mkdir()
        made().write(tmp_path / name / "predictions.csv")
        (tmp_path / name / "report.json").write_text(json.dumps({"least_score": score}))
    paths = {name: tmp_path / name / "predictions.csv" for name in "abc"}
    pair = read_pair(paths["a"], paths["b"], None)
    count_error = pair.metrics["count_error"](pair.reference, pair.a, np.ones((1, 3)))
    by_hand = made().values(metrics.declared(score=0.5, classes=("red", "white")))
    assert count_error[0] == pytest.approx(by_hand["count_error"])
    assert by_hand["count_error"] != made().values(metrics.declared(score=0.3))["count_error"]
    with pytest.raises(UserError, match=r"from a score of 0\.5 in one report and 0\.2"):
        read_pair(paths["a"], paths["c"], None)


def test_predicted_boxes_end_where_the_image_does():
    class OneCase(dict):
        case_id, subject_id = ["a"], ["a"]

    reference = {
        "to_file": np.array([[[0.0, 1, 0], [1, 0, 0], [0, 0, 1]]]),  # rows are y
        "file_size": np.array([[20.0, 10.0]]),
        "box_label": np.full((1, 1), -1),
        "file_boxes": np.full((1, 1, 4), np.nan),
    }
    predicted = {
        "boxes": np.array([[[-3.5, 2.5, 6.5, 29.5]]]),
        "scores": np.array([[0.9]]),
        "labels": np.zeros((1, 1), int),
    }
    found = tabulate(OneCase(reference), ("red",), predicted)
    np.testing.assert_allclose(found.boxes_px[0], [[3, 0, 20, 7]])
