import json

import numpy as np
import pytest

from medjax.data import slicer
from medjax.data.dataset import Split
from medjax.errors import UserError
from medjax.evaluation import metrics, stats
from medjax.outputs.landmarks import metrics as landmark_metrics
from medjax.outputs.landmarks import report as landmark_report


def split(points):
    n, ndim = len(points), points.shape[-1]
    world = np.tile(np.diag([*[2.0] * ndim, 1.0]), (n, 1, 1))  # voxels of 2 mm, first at 10
    world[:, :-1, -1] = 10.0
    return Split(
        {"landmarks": points, "to_file": np.tile(np.eye(ndim + 1), (n, 1, 1)), "to_world": world},
        [f"a/v{i}.nii.gz" for i in range(n)],
        [f"s{i}" for i in range(n)],
        [{}] * n,
        lambda i: np.zeros((4,) * ndim + (1,)),
        (4,) * ndim + (1,),
        np.dtype(np.uint8),
    )


def predictions():
    truth = np.array([[[1.0, 2, 3], [4, 5, 6]], [[2, 2, 2], [np.nan] * 3]])
    found = truth + np.array([0.0, 0.0, 1.5])
    found[0, 1] = 7.0
    return landmark_report.from_voxels(split(truth), ("a", "b"), found, np.full((2, 2), 0.5))


def test_errors_are_in_millimetres():
    found = predictions()
    np.testing.assert_allclose(found.error_mm, [[3.0, 2 * np.sqrt(9 + 4 + 1)], [3.0, np.nan]])
    np.testing.assert_array_equal(found.present, [[True, True], [True, False]])
    np.testing.assert_allclose(found.true_mm[0, 0], [12, 14, 16])


def test_a_checkpoint_gains_nothing_by_points_that_are_not_found():
    """A point that is not found counts at the corner farthest from it: of (1, 2, 3) in 4^3 voxels
    of 2 mm that is (3, 0, 0)."""
    truth = np.array([[[1.0, 2, 3], [1, 1, 1]], [[2, 2, 2], [np.nan] * 3]])
    volumes = split(truth)
    found = landmark_report.from_voxels(volumes, ("a", "b"), truth, np.full((2, 2), 0.5))
    fewer = found.without(np.array([[True, False], [False, True]]))
    metrics = landmark_metrics.declared([2.0])
    assert found.judged(metrics, volumes) == found.values(metrics)
    assert fewer.values(metrics)["error_mm"] == 0
    judged = fewer.judged(metrics, volumes)
    assert judged["error_mm"] == pytest.approx(2 * np.sqrt(4 + 4 + 9) / 3)
    assert judged["not_found"] == fewer.values(metrics)["not_found"] == 1


def test_predictions_survive_their_file(tmp_path):
    found = predictions().without(np.array([[False, True], [False, False]]))
    found.write(tmp_path / "predictions.csv")
    again = landmark_report.LandmarkPredictions.read(tmp_path / "predictions.csv")
    head = (tmp_path / "predictions.csv").read_text().splitlines()[0]
    assert head == (
        "case_id,landmark,pred_x,pred_y,pred_z,true_x,true_y,true_z,pred_x_mm,"
        "pred_y_mm,pred_z_mm,true_x_mm,true_y_mm,true_z_mm,error_mm,confidence,"
        "subject_id"
    )
    assert again.names == found.names
    assert again.subject_id == found.subject_id
    for name in ("points_px", "true_px", "points_mm", "true_mm", "confidence"):
        np.testing.assert_allclose(getattr(again, name), getattr(found, name), rtol=1e-6)


@pytest.mark.parametrize("text", ["", "case_id,landmark\na,b\n", "x\n1\n"])
def test_other_files_are_refused(tmp_path, text):
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(UserError, match=r"not a predictions\.csv of landmarks"):
        landmark_report.LandmarkPredictions.read(tmp_path / "p.csv")


def test_lists_for_slicer_are_lps_and_tell_what_was_not_found(tmp_path):
    predictions().without(np.array([[False, True], [False, False]])).write_lists(tmp_path)
    points, system = slicer.read(tmp_path / "a_v0.mrk.json")
    assert system == "LPS"
    np.testing.assert_allclose(points["a"], [-12, -14, 16 + 3])
    assert np.isnan(points["b"]).all()
    markup = json.loads((tmp_path / "a_v0.mrk.json").read_text())["markups"][0]
    assert markup["controlPoints"][1]["positionStatus"] == "undefined"


def test_pairs_without_order_are_turned_once_for_the_score():
    truth = np.array([[[0.0, 0], [3, 3], [1, 0]]] * 2)
    found = truth.copy()
    found[0, [0, 1]] = found[0, [1, 0]]
    confidence = np.array([[0.1, 0.2, 0.3]] * 2)
    out = landmark_report.turned(
        landmark_report.from_voxels(split(truth), "abc", found, confidence), [(0, 1)]
    )
    np.testing.assert_allclose(out.error_mm, 0.0)
    np.testing.assert_allclose(out.confidence, [[0.2, 0.1, 0.3], [0.1, 0.2, 0.3]])


def test_a_point_beyond_the_grid_is_scored_against_the_files_own_reference():
    """The prepared image does not show it, the reference has it: it is not missing."""
    truth = np.array([[[1.0, 1.0]], [[2.0, 2.0]]])
    shown = split(truth)
    shown.targets["true_file"] = shown.targets["true_mm"] = np.array([[[1.0, 1.0]], [[2.0, 2.0]]])
    shown.targets["landmarks"][0] = np.nan
    found = landmark_report.from_voxels(shown, "a", truth * np.nan, np.ones((2, 1)))
    assert found.present.all()
    assert metrics.evaluate(landmark_metrics.not_found, found.present, found.error_mm) == 2


def with_errors(errors):
    """Predictions of one landmark that lie so far off, mm."""
    truth = np.zeros((len(errors), 1, 2))
    found = truth.copy()
    found[:, 0, 0] = np.array(errors) / 2.0  # voxels of 2 mm
    return landmark_report.from_voxels(split(truth), "a", found, np.ones((len(errors), 1)))


def test_without_a_radius_no_coverage_is_claimed():
    few = with_errors([1.0, 2.0])
    found = landmark_report.conformal(few, with_errors([1.0, 2.0, 3.0]), level=0.9)
    assert np.isnan(found["coverage"]) and found["points"] == 0
    assert np.isnan(found["landmarks"]["a"]["coverage"])


def test_conformal_regions_of_another_split_by_hand():
    tuned, whole = with_errors(range(1, 10)), with_errors([1.0, 8.9, 9.1, 20.0])
    found = landmark_report.conformal(tuned, whole, level=0.9)  # the ninth of nine: 9 mm
    assert found["landmarks"]["a"]["conformal_radius_mm"] == pytest.approx(9.0)
    assert found["coverage"] == 0.5
    assert found["points"] == 4


def test_a_split_that_judges_itself_has_no_coverage():
    whole = with_errors([1.0, 2.0, 3.0])
    found = landmark_report.conformal(whole, whole, level=0.5)
    assert np.isnan(found["coverage"])
    assert found["judged"].startswith("not")
    assert found["landmarks"]["a"]["conformal_radius_mm"] == pytest.approx(2.0)


def test_points_that_were_not_found_lie_in_no_radius():
    tuned = with_errors([1.0, 2.0, 3.0, 4.0])
    lost = tuned.without(np.array([[False], [False], [True], [True]]))
    found = landmark_report.conformal(
        lost, with_errors([1.0, 1.0]).without(np.array([[False], [True]])), level=0.4
    )  # the second of 1, 2, inf, inf
    assert found["landmarks"]["a"]["conformal_radius_mm"] == pytest.approx(2.0)
    assert (found["coverage"], found["points"]) == (0.5, 2)
    assert np.isinf(
        landmark_report.conformal(lost, tuned, level=0.8)["landmarks"]["a"]["conformal_radius_mm"]
    )


def test_images_of_one_subject_share_its_weight():
    """Three subjects, one with three images: each has a quarter, by hand."""
    error = np.array([1.0, 2.0, 3.0, 10.0, 20.0])
    subjects = ["a", "a", "a", "b", "c"]
    assert stats.conformal_radius(error, level=0.25, subjects=subjects) == 3.0
    assert stats.conformal_radius(error, level=0.5, subjects=subjects) == 10.0
    assert np.isinf(stats.conformal_radius(error, level=0.8, subjects=subjects))
    assert stats.conformal_radius(error, level=0.5) == 3.0
