"""What a frozen network is shown, and how the answers to windows become one."""

from types import SimpleNamespace

import numpy as np

from medjax import heads
from medjax.data.info import DatasetInfo
from medjax.ops.saliency import find_salient
from medjax.tasks.transfer import arms, bench, views
from medjax.tasks.transfer.probe import Probe
from medjax.train.options import TrainingOptions


def test_windows_of_a_ramp():
    """Half of the sides, from 0, a quarter and a half on; enlarged, their means stay."""
    rows, columns = np.indices((8, 16)).astype(np.float32)
    image = np.stack([rows, columns], -1)
    shown = np.asarray(views.show_windows(image))
    assert shown.shape == (9, 8, 16, 2) and views.WINDOWS == 9
    means = shown.mean((1, 2))
    expected = [[a + 1.5, b + 3.5] for a in (0, 2, 4) for b in (0, 4, 8)]
    np.testing.assert_allclose(means, expected, atol=1e-5)
    np.testing.assert_allclose(shown[4].min((0, 1)), [2, 4], atol=1e-5)


def test_the_map_stands_in_every_channel(rng):
    image = rng.uniform(size=(12, 10, 3)).astype(np.float32)
    (shown,) = np.asarray(views.show_saliency(image))
    for channel in range(3):
        np.testing.assert_array_equal(shown[..., channel], np.asarray(find_salient(image))[..., 0])


def answer(info, features):
    """Of one seed whose probe takes features for logits."""
    probes = Probe(np.eye(2, dtype=np.float32)[None], np.zeros((1, 2), np.float32))
    head = heads.make_head(heads.name_head(info, heads.CLASSES))
    made = SimpleNamespace(
        target=np.zeros((1, 2)),
        head=head,
        spec=SimpleNamespace(info=info),
    )
    return bench._answer_views(made, probes, np.array(features, np.float32))


def test_each_class_has_its_highest_of_all_windows():
    logit = np.log(3.0)  # probabilities 3/4 and 1/4, or 1/4 and 3/4, or a half each
    windows = [[[logit, 0.0], [0.0, 0.0]], [[0.0, logit], [0.0, 0.0]]]
    found = answer(DatasetInfo("s", ("a", "b")), windows)
    np.testing.assert_allclose(found, [[[0.6, 0.4], [0.4, 0.6]]], rtol=1e-5)  # of 3/4 and 1/2
    found = answer(DatasetInfo("s", findings=("a", "b")), windows)
    np.testing.assert_allclose(found, [[[0.75, 0.5], [0.5, 0.75]]], rtol=1e-5)


def test_every_window_has_the_target_and_the_fold_of_its_image(monkeypatch):
    given = {}

    def fit(features, target, rows, fold, *, folds, head):
        given.update(features=features, target=target, rows=rows, fold=fold)
        return Probe(np.zeros((1, 2, 3)), np.zeros((1, 3))), np.zeros(1)

    monkeypatch.setattr(arms, "fit_probes", fit)
    label = np.array([0, 1, 2] * 4)
    features = np.repeat(np.arange(12.0), 4).reshape(12, 2, 2)  # of image i all values are i
    keys = arms.data_keys(TrainingOptions(seeds=1))
    arms.fit_size(features, np.eye(3)[label], label, keys, "3", subject=np.arange(12), head=None)
    shown = given["features"][given["rows"][0]][:, 0].astype(int)  # of each row its image
    images = arms.choose_rows(keys, label, "3")
    np.testing.assert_array_equal(shown, np.repeat(images[0], 2))
    np.testing.assert_array_equal(given["target"][given["rows"][0]].argmax(1), label[shown])
    fold, _ = arms.choose_folds(label, images, np.arange(12))
    np.testing.assert_array_equal(given["fold"][0], np.repeat(fold[0], 2))
