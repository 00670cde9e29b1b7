import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from medjax import losses
from medjax.evaluation import metrics
from medjax.outputs.labels import metrics as label_metrics


def case(seed: int, classes: int, n: int = 40, ties: bool = False):
    rng = np.random.default_rng(seed)
    label = np.concatenate([np.arange(classes), rng.integers(0, classes, n - classes)])
    p = rng.dirichlet(np.ones(classes), n)
    if ties:
        p = np.round(p, 1) + 1e-3
        p /= p.sum(1, keepdims=True)
    return label, p


REFERENCE = {
    "accuracy": lambda y, p, w: reference.accuracy_score(y, p.argmax(1), sample_weight=w),
    "balanced_accuracy": lambda y, p, w: reference.balanced_accuracy_score(
        y, p.argmax(1), sample_weight=w
    ),
    "kappa": lambda y, p, w: reference.cohen_kappa_score(y, p.argmax(1), sample_weight=w),
    "kappa_quadratic": lambda y, p, w: reference.cohen_kappa_score(
        y, p.argmax(1), weights="quadratic", sample_weight=w
    ),
    "mae": lambda y, p, w: reference.mean_absolute_error(
        y, metrics.median_grade(p), sample_weight=w
    ),
    "mse": lambda y, p, w: reference.mean_squared_error(
        y, metrics.median_grade(p), sample_weight=w
    ),
}


@given(seed=st.integers(0, 10**6))
def test_the_median_grade_has_the_least_expected_error(seed):
    _, p = case(seed, 5, ties=True)
    away = np.abs(np.arange(5)[:, None] - np.arange(5))  # [grade, answer]
    expected = p @ away
    found = expected[np.arange(len(p)), metrics.median_grade(p)]
    assert found == pytest.approx(expected.min(1))


def test_a_rounded_grade_is_its_own_median():
    p = np.array([[0, 0.8, 0.2, 0], [0, 0.5, 0.5, 0], [0, 0, 0, 1]])
    assert metrics.median_grade(p).tolist() == [1, 1, 3]


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("ties", [False, True])
@given(seed=st.integers(0, 10**6))
def test_metrics_equal_scikit_learn(classes, ties, seed):
    y, p = case(seed, classes, ties=ties)
    w = np.random.default_rng(seed).integers(1, 4, len(y)).astype(float)
    names = [str(c) for c in range(classes)]
    found = {
        name: m(y, p, w[None])[0]
        for name, m in label_metrics.of_classes(names, ordered=True).items()
    }
    for name, function in REFERENCE.items():
        assert found[name] == pytest.approx(function(y, p, w)), name
    pair = classes == 2
    one_hot = np.eye(classes)[y]
    truth, score = (y, p[:, 1]) if pair else (one_hot, p)
    assert found["auc"] == pytest.approx(reference.roc_auc_score(truth, score, sample_weight=w))
    assert found["average_precision"] == pytest.approx(
        reference.average_precision_score(truth, score, sample_weight=w)
    )
    assert found["f1"] == pytest.approx(
        reference.f1_score(y, p.argmax(1), average="binary" if pair else "macro", sample_weight=w)
    )
    squared = ((p - one_hot) ** 2).sum(1) / (2 if pair else 1)
    assert found["brier"] == pytest.approx(np.average(squared, weights=w))


def test_weights_are_counts():
    y, p = case(3, 3)
    counts = np.random.default_rng(0).integers(1, 4, len(y))
    twice = np.repeat(np.arange(len(y)), counts)
    for name, m in label_metrics.CLASSIFICATION.items():
        assert m(y, p, counts[None].astype(float))[0] == pytest.approx(
            metrics.evaluate(m, y[twice], p[twice])
        ), name


def test_auc_and_average_precision_by_hand():
    """Scores .1 .4 .35 .8 of classes 0 0 1 1: 3 of 4 pairs are in order."""
    y, score = np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])
    one = np.ones((1, 4))
    assert metrics.binary_auc(score, y, one)[0] == 0.75
    assert metrics.binary_average_precision(score, y, one)[0] == pytest.approx(
        0.5 * 1 + 0.5 * 2 / 3
    )
    assert metrics.binary_auc(np.ones(4), y, one)[0] == 0.5


def test_ece_by_hand():
    """Ten cases at confidence 0.8, of which six are right: |0.6 - 0.8|."""
    p = np.tile([0.2, 0.8], (10, 1))
    y = np.array([1] * 6 + [0] * 4)
    assert metrics.evaluate(metrics.ece, y, p) == pytest.approx(0.2)


def test_undefined_is_nan():
    y, p = np.zeros(4, int), np.full((4, 2), 0.5)
    assert np.isnan(metrics.evaluate(label_metrics.CLASSIFICATION["auc"], y, p))
    assert np.isnan(label_metrics.CLASSIFICATION["accuracy"](y, p, np.zeros((1, 4)))[0])
    for name in ("balanced_accuracy", "f1"):  # no example of class 1 or 2, and none called so
        assert np.isnan(metrics.evaluate(label_metrics.CLASSIFICATION[name], y, np.eye(3)[y])), name


def test_confusion_by_hand():
    y, p = np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]])
    assert metrics.confusion(y, p, np.ones((1, 3)))[0].tolist() == [[1, 0], [1, 1]]


def test_cross_entropy_and_smoothing_by_hand():
    target = np.array([0.0, 1.0])
    np.testing.assert_allclose(losses.smooth_labels(target, amount=0.1), [0.05, 0.95])
    logits = np.log(np.array([0.25, 0.75]))
    assert float(losses.cross_entropy(logits, target)) == pytest.approx(-np.log(0.75))
    with pytest.raises(AssertionError):
        losses.cross_entropy(np.zeros(2), np.zeros(3))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_probabilities_that_are_not_finite_make_every_metric_undefined(bad):
    y, p = np.array([0, 1, 0, 1]), np.array([[bad, bad], [0, 1], [0.4, 0.6], [0.6, 0.4]])
    for name, metric in label_metrics.CLASSIFICATION.items():
        assert np.isnan(metrics.evaluate(metric, y, p)), name
        without = metric(y, p, np.array([[0.0, 1, 1, 1]]))  # where it has no weight it is out
        np.testing.assert_allclose(without, metrics.evaluate(metric, y[1:], p[1:]), err_msg=name)


def test_the_positive_class_is_the_one_that_is_declared():
    """20 cancers, 80 normal: F1 and average precision of the rarer class, as scikit-learn."""
    rng = np.random.default_rng(0)
    y = np.array([0] * 20 + [1] * 80)
    s = np.clip(np.where(y == 1, 0.7, 0.45) + rng.normal(0, 0.15, 100), 0, 1)
    p = np.stack([1 - s, s], 1)
    found = label_metrics.of_classes(["cancer", "normal"], positive="cancer")
    assert metrics.evaluate(found["f1"], y, p) == pytest.approx(
        reference.f1_score(y, p.argmax(1), pos_label=0)
    )
    assert metrics.evaluate(found["average_precision"], y, p) == pytest.approx(
        reference.average_precision_score(y == 0, p[:, 0])
    )
    assert metrics.evaluate(found["auc"], y, p) == pytest.approx(reference.roc_auc_score(y, s))


def test_kappa_with_weights_needs_an_order():
    """Renaming classes, so that the alphabet orders them otherwise, changes no nominal kappa."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 200)
    said = np.where(rng.random(200) < 0.7, y, rng.integers(0, 4, 200))
    other = np.array([2, 0, 3, 1])
    before, after = (
        metrics.evaluate(metrics.kappa, a, np.eye(4)[b])
        for a, b in ((y, said), (other[y], other[said]))
    )
    assert before == pytest.approx(after)
    assert "kappa_quadratic" not in label_metrics.of_classes("abcd")
    assert "kappa_quadratic" in label_metrics.of_classes("abcd", ordered=True)


def test_each_class_against_the_rest_by_hand():
    y = np.array([0, 0, 0, 1, 1, 2])
    p = np.eye(3)[[0, 0, 1, 1, 0, 0]]
    found = label_metrics.by_class(y, p, ["a", "b", "c"])
    assert found["a"]["sensitivity"] == pytest.approx(2 / 3)
    assert found["a"]["specificity"] == pytest.approx(1 / 3)
    assert found["a"]["positive_predictive_value"] == pytest.approx(2 / 4)
    assert found["b"]["support"] == 2
    assert np.isnan(found["c"]["positive_predictive_value"])


def test_every_metric_has_a_definition():
    for line in metrics.definitions(label_metrics.of_classes("ab", ordered=True)):
        name, text = line.split(": ", 1)
        assert len(text) > 20, name
