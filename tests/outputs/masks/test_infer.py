"""Networks on images of any size: windows, memory, and voxels as single decisions."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from medjax.errors import UserError
from medjax.outputs.masks import infer, voxels


def test_windows_of_a_constant_answer_add_up_to_it(rng):
    image = rng.normal(size=(13, 5, 1)).astype(np.float32)

    def answer(params, stats, batch):
        value = np.array([0.25, 0.75], np.float32)
        return {"probability": np.broadcast_to(value, (2, *batch["image"].shape[:-1], 2))}

    found = infer.predict_windows(answer, ({}, {}), image, patch=(4, 8), batch=4)
    assert found.shape == (2, 13, 5, 2)
    np.testing.assert_allclose(found, np.broadcast_to([0.25, 0.75], found.shape), atol=1e-6)


def test_windows_are_added_on_the_host_as_on_the_device(rng, monkeypatch):
    image = rng.normal(size=(37, 21, 1)).astype(np.float32)

    def answer(params, stats, batch):
        return {"probability": batch["image"][None].repeat(2, 0) * np.float32(1.5)}

    given = {"patch": (16, 8), "batch": 3}
    on_device = infer.predict_windows(answer, ({}, {}), image, **given)
    monkeypatch.setattr(infer, "_MOST_OF_DEVICE", 10**15)
    on_host = infer.predict_windows(answer, ({}, {}), image, **given)
    np.testing.assert_allclose(on_device, on_host, rtol=1e-5)
    np.testing.assert_allclose(on_host[1], 1.5 * image, rtol=1e-4)


def test_voxels_of_two_classes_as_decisions(rng):
    """AUC and F1 of all voxels of all images, against scikit-learn."""
    masks = rng.integers(0, 2, (3, 20, 20))
    scores = np.clip(masks * 0.2 + rng.uniform(0, 0.8, masks.shape), 0, 0.999)
    binned = np.floor(scores * voxels.BINS) / voxels.BINS
    histograms = np.stack([voxels.histogram(s, m) for s, m in zip(scores, masks, strict=True)])
    first = voxels.choose_bin(histograms)
    found = voxels.values(histograms, first)
    assert found["auc"] == pytest.approx(roc_auc_score(masks.ravel(), binned.ravel()))
    by_threshold = [
        f1_score(masks.ravel(), binned.ravel() >= t / voxels.BINS) for t in range(0, voxels.BINS, 5)
    ]
    assert found["f1"] == pytest.approx(
        f1_score(masks.ravel(), binned.ravel() >= first / voxels.BINS)
    )
    assert found["f1"] >= max(by_threshold)
    one = voxels.declared(first)["auc"](
        histograms[:, 1], histograms[:, 0], np.array([[0.0, 1.0, 0.0]])
    )
    assert one[0] == pytest.approx(roc_auc_score(masks[1].ravel(), binned[1].ravel()))


def test_an_image_that_memory_does_not_hold_is_told_before():
    answers = np.zeros((2, 1, 4, 4, 4, 3), np.float32)
    infer.check_memory(answers, (64, 64, 64))
    with pytest.raises(
        UserError, match=r"an image of 100000 x 2000 x 2000 voxels needs 19200.0 GB"
    ):
        infer.check_memory(answers, (100_000, 2000, 2000))
