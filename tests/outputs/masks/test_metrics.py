"""Mask metrics: by hand, against scipy and scikit-learn, and what a missing structure costs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from sklearn.metrics import f1_score, jaccard_score

from medjax.errors import UserError
from medjax.outputs.masks import metrics

HOW = {"labels": (1,), "spacing": (2.0, 0.5), "tolerance": 1.0}
ROW = dict(zip(metrics.MEASURES, range(len(metrics.MEASURES)), strict=True))


def masks_of(seed, shape=(9, 7), share=0.3):
    rng = np.random.default_rng(seed)
    return (rng.random((2, *shape)) < share).astype(int)


def test_two_bars_by_hand():
    """A bar of 4 voxels and the same moved by one voxel of 0.5: three of its voxels lie on the
    other bar, and one at 0.5."""
    a, b = np.zeros((2, 5, 8), int)
    a[2, 2:6], b[2, 3:7] = 1, 1
    (row,) = metrics.score(a, b, **HOW)
    expected = [6 / 8, 3 / 5, np.percentile([0, 0, 0, 0.5], 95), (0.5 + 0.5) / 8, 1.0, 0.0]
    np.testing.assert_allclose(row, expected)


def test_the_larger_direction_and_a_volume():
    """A point, and a bar that it is the end of: from the bar to the point it is up to 1.5."""
    a, b = np.zeros((2, 3, 8), int)
    a[1, 1], b[1, 1:5] = 1, 1
    (row,) = metrics.score(a, b, **HOW)
    assert row[ROW["hd95"]] == pytest.approx(np.percentile([0, 0.5, 1.0, 1.5], 95))
    assert row[ROW["assd"]] == pytest.approx(3.0 / 5)
    assert row[ROW["surface_dice"]] == pytest.approx(4 / 5)
    assert row[ROW["volume_error"]] == pytest.approx(2 * (1 - 4) / 5)


def test_both_empty_is_undefined_and_one_empty_the_worst():
    empty, full = np.zeros((4, 9), int), np.zeros((4, 9), int)
    full[1, 2] = 1
    assert np.isnan(metrics.score(empty, empty, **HOW)).all()
    diagonal = np.hypot(3 * 2.0, 8 * 0.5)
    worst = [0, 0, diagonal, diagonal, 0]
    np.testing.assert_allclose(metrics.score(empty, full, **HOW)[0], [*worst, -2])
    np.testing.assert_allclose(metrics.score(full, empty, **HOW)[0], [*worst, 2])


@pytest.mark.parametrize("shape", [(9, 7), (5, 6, 4)])
def test_distances_equal_those_of_all_pairs(shape):
    a, b = masks_of(0, shape).astype(bool)
    spacing = (2.0, 0.5, 1.3)[: len(shape)]

    def surface(mask):
        padded = np.pad(mask, 1)
        inner = padded.copy()
        for axis in range(mask.ndim):
            for step in (1, -1):
                inner &= np.roll(padded, step, axis)
        return np.argwhere((padded & ~inner)[(slice(1, -1),) * mask.ndim]) * spacing

    pairs = cdist(surface(a), surface(b))
    there, back = metrics.surface_distances(a, b, spacing=spacing)
    np.testing.assert_allclose(np.sort(there), np.sort(pairs.min(1)))
    np.testing.assert_allclose(np.sort(back), np.sort(pairs.min(0)))


def test_overlaps_equal_those_of_scikit_learn():
    a, b = masks_of(1)
    (row,) = metrics.score(a, b, **HOW)
    assert row[ROW["dice"]] == pytest.approx(f1_score(b.ravel(), a.ravel()))
    assert row[ROW["iou"]] == pytest.approx(jaccard_score(b.ravel(), a.ravel()))


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.floats(0.01, 0.9), st.floats(0.01, 0.9))
def test_to_miss_a_structure_worsens_every_metric(seed, share, other):
    """Whatever was predicted in its place, an empty mask is no better in any measure."""
    reference = masks_of(seed, share=share)[0]
    answer = masks_of(seed + 1, share=other)[0]
    reference[0, 0] = answer[-1, -1] = 1
    present = np.ones((1, 1), bool)
    declared = metrics.declared(["a"], tolerance=1.0, unit="mm")
    values = {}
    for name, mask in {"answer": answer, "nothing": np.zeros_like(answer)}.items():
        scores = metrics.score(mask, reference, **HOW)[None]
        values[name] = {k: m(present, scores, np.ones((1, 1)))[0] for k, m in declared.items()}
    for name, worst in values["nothing"].items():
        value = values["answer"][name]
        gains = name.startswith(("dice", "iou", "surface"))
        assert value >= worst if gains else value <= worst, name


def test_means_count_what_is_defined_and_weights_count_cases():
    reference = np.zeros((2, 4, 4), int)
    reference[0, 0, 0], reference[0, 3, 3], reference[1, 0, 0] = 1, 2, 1
    predicted = np.zeros_like(reference)
    predicted[0, 0, 0] = 1  # the second class is missed
    predicted[1, 0, 0], predicted[1, 2, 2] = 1, 2  # and here one that is not there
    how = {**HOW, "labels": (1, 2)}
    scores = np.stack(
        [metrics.score(p, r, **how) for p, r in zip(predicted, reference, strict=True)]
    )
    present = np.array([[True, True], [True, False]])
    declared = metrics.declared(["one", "two"], tolerance=1.0, unit="vox")
    both, first = np.ones((1, 2)), np.array([[1.0, 0.0]])
    assert declared["dice"](present, scores, both) == pytest.approx(0.5)
    assert declared["dice_one"](present, scores, both) == pytest.approx(1.0)
    assert declared["dice_two"](present, scores, both) == pytest.approx(0.0)
    assert declared["missed"](present, scores, both) == 1
    assert declared["invented"](present, scores, both) == 1
    assert declared["invented"](present, scores, first) == 0
    assert "surface_dice_1vox" in declared and "hd95_vox" in declared


def test_two_grids_are_refused():
    with pytest.raises(UserError, match=r"\(2, 2\) and a reference of \(2, 3\): give both on"):
        metrics.score(np.zeros((2, 2)), np.zeros((2, 3)), **HOW)


def test_the_largest_piece_alone_is_kept():
    mask = np.array([[1, 1, 0, 1, 0], [0, 0, 1, 0, 2], [2, 0, 0, 0, 2]])
    kept = metrics.keep_largest(mask, structures=[2])
    np.testing.assert_array_equal(kept, np.where(mask == 2, [[0, 0, 0, 0, 1]] * 3, mask > 0) * mask)
    same = metrics.keep_largest(mask, structures=[1])  # its pieces touch by corners
    np.testing.assert_array_equal(same, mask)
