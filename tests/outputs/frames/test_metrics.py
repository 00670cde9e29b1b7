"""Metrics of temporal localisation against values worked out by hand and by scikit-learn."""

import dataclasses

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score

from medjax.data.dataset import Split
from medjax.evaluation.metrics import evaluate
from medjax.outputs.frames import metrics as temporal_metrics
from medjax.outputs.frames.report import SequencePredictions, at_mean, otsu, pooled


def predictions(true, found, length, *, cyclic, frame_ms=(10.0, 20.0)):
    """Two sequences with one frame of one name each."""
    size = max(length)
    marks, score = (np.full((2, size, 1), np.nan) for _ in range(2))
    for i in range(2):
        marks[i, : length[i]] = score[i, : length[i]] = 0.0
        marks[i, true[i]] = score[i, found[i]] = 1.0
    return SequencePredictions(
        ["a", "b"], ["a", "b"], ("ED",), "frames", marks, score, np.array(frame_ms), cyclic
    )


def test_frames_plain_and_round_the_cycle():
    """a: 9 found for 0 of 10 frames: 9 late, or 1 early round the cycle; b: 3 for 1 of 8."""
    found = predictions([0, 1], [9, 3], [10, 8], cyclic=True)
    values = found.values(temporal_metrics.of_frames(("ED",), milliseconds=True))
    assert values["ed_afd"] == pytest.approx((9 + 2) / 2)
    assert values["ed_afd_cyclic"] == pytest.approx((1 + 2) / 2)
    assert values["ed_bias"] == pytest.approx((-1 + 2) / 2)
    assert values["ed_sd"] == pytest.approx(1.5)
    assert values["ed_within1"] == pytest.approx(0.5)
    assert values["ed_within2"] == pytest.approx(1.0)
    assert values["ed_ms"] == pytest.approx((10 + 40) / 2)
    plain = predictions([0, 1], [9, 3], [10, 8], cyclic=False)
    assert plain.values(temporal_metrics.of_frames(("ED",), milliseconds=False)) == {
        "afd_cyclic": 5.5,
        "ed_afd": 5.5,
        "ed_afd_cyclic": 5.5,
        "ed_bias": 5.5,
        "ed_sd": 3.5,
        "ed_within1": 0.0,
        "ed_within2": 0.5,
    }


def test_sequences_of_one_subject_answer_together():
    found = predictions([2, 2], [2, 5], [8, 8], cyclic=False)
    found = dataclasses.replace(found, subject_id=["s", "s"])
    found.score[0, 2] = 3.0
    np.testing.assert_array_equal(found.chosen[:, 0], [2, 5])
    np.testing.assert_array_equal(pooled(found).chosen[:, 0], [2, 2])


def marked(frames, length, size=20):
    """A split of sequences with one frame of one name each."""
    marks = np.zeros((len(frames), size, 1))
    marks[np.arange(len(frames)), frames] = 1
    names = [str(i) for i in range(len(frames))]
    return Split(
        {"marks": marks, "length": np.full(len(frames), length)},
        names,
        names,
        [{}] * len(names),
        lambda i: np.zeros((size, 4, 4, 1)),
        (size, 4, 4, 1),
        np.dtype(np.uint8),
    )


def test_the_mean_place_of_frames_about_the_cut_of_a_cycle():
    """19, 1, 0 and 0 of 20 lie about 0; their plain mean would be 5."""
    found = at_mean(marked([19, 1, 0, 0], 20), marked([0], 20), cyclic=True)
    assert found[0, :, 0].argmax() == 0
    assert found[0, 1, 0] == pytest.approx(found[0, 19, 0])
    plain = at_mean(marked([4, 6], 20), marked([0], 20))
    assert plain[0, :, 0].argmax() == 5
    nobody = at_mean(marked([0, 10], 20), marked([0], 20), cyclic=True)  # no mean place
    assert np.isfinite(nobody).all()


@pytest.fixture
def planes(rng):
    marks = (rng.random((5, 12, 2)) < 0.3).astype(float)
    score = np.clip(marks * 0.4 + 0.6 * rng.random(marks.shape), 0, 1)
    for i, n in enumerate((12, 9, 7, 12, 5)):
        marks[i, n:] = score[i, n:] = np.nan
    return marks, score


def test_planes_against_scikit_learn(planes):
    marks, score = planes
    metrics = temporal_metrics.of_planes(("x", "y"), frames=1)
    real = ~np.isnan(marks[..., 0])
    each = [average_precision_score(marks[real][:, j], score[real][:, j]) for j in range(2)]
    assert evaluate(metrics["average_precision"], marks, score) == pytest.approx(np.mean(each))
    assert evaluate(metrics["y_average_precision"], marks, score) == pytest.approx(each[1])
    f1 = [f1_score(marks[real][:, j], score[real][:, j] > 0.5) for j in range(2)]
    assert evaluate(metrics["f1"], marks, score) == pytest.approx(np.mean(f1))


def test_weights_are_whole_sequences(planes):
    marks, score = planes
    twice = np.concatenate([marks, marks[:1]]), np.concatenate([score, score[:1]])
    weight = np.array([[2.0, 1, 1, 1, 1]])
    for metric in temporal_metrics.of_planes(("x", "y"), frames=1).values():
        assert metric(marks, score, weight)[0] == pytest.approx(evaluate(metric, *twice))


def test_a_hit_is_near_any_true_frame_and_undefined_without_one():
    marks, score = np.zeros((2, 8, 1)), np.zeros((2, 8, 1))
    marks[0, [1, 6], 0] = 1.0
    score[:, 4, 0] = 1.0
    assert temporal_metrics.off(marks, score)[0, 0] == -2
    assert np.isnan(temporal_metrics.off(marks, score)[1, 0])
    for frames, rate in ((1, 0.0), (2, 1.0)):
        assert (
            evaluate(temporal_metrics.of_planes(("x",), frames=frames)["hit_rate"], marks, score)
            == rate
        )


def test_in_a_cycle_the_nearest_true_frame_may_lie_round_the_cut():
    """Of 8 frames, then padding: frame 7 is one before 0, and further from 4 than from 0."""
    marks, score = np.full((1, 10, 1), np.nan), np.full((1, 10, 1), np.nan)
    marks[:, :8], score[:, :8] = 0.0, 0.0
    marks[0, [0, 4], 0] = 1.0
    score[0, 7, 0] = 1.0
    assert temporal_metrics.off(marks, score)[0, 0] == 3
    assert temporal_metrics.off(marks, score, cyclic=True)[0, 0] == -1
    for cyclic, rate in ((False, 0.0), (True, 1.0)):
        declared = temporal_metrics.of_planes(("x",), frames=1, cyclic=cyclic)
        assert evaluate(declared["hit_rate"], marks, score) == rate


def test_otsu_parts_two_heaps(rng):
    low, high = rng.normal(50, 3, 500), rng.normal(180, 5, 300)
    assert low.max() <= otsu(np.concatenate([low, high])) <= high.min()


def test_a_plane_that_the_split_lacks_is_in_no_mean_and_is_named():
    marks = np.zeros((2, 6, 2))
    marks[:, 2, 0] = 1
    right, invented = marks.copy(), marks.copy()
    invented[0, 4, 1] = 1
    weight = np.ones((1, 2))
    declared = temporal_metrics.of_planes(("A", "B"), frames=1)
    for name in ("f1", "average_precision", "hit_rate"):
        assert declared[name](marks, right, weight)[0] == 1
        assert declared[name](marks, invented, weight)[0] == 1
    assert np.isnan(declared["B_f1"](marks, right, weight)[0])
    assert declared["B_f1"](marks, invented, weight)[0] == 0
    (note,) = temporal_metrics.note_absent(marks, ("A", "B"), split="test")
    assert note == "1 name without a frame in test, in no mean over names there: B"
