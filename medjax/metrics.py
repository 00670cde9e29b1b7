"""Classification metrics with example weights, for many weightings at once.

Each takes `label` `[n]`, `probability` `[n, c]` and `weight` `[b, n]`, and returns `[b]`: with
weights of one it is the metric; with the counts of b bootstrap samples it is the metric of each.
Undefined (a class that is needed has no weight) is NaN.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Metric = Callable[[np.ndarray, np.ndarray, np.ndarray], Floats]
ECE_BINS = 15


def ratio(a: np.ndarray, b: np.ndarray) -> Floats:
    """a / b, NaN where b is 0."""
    return np.divide(a, b, out=np.full(np.shape(a), np.nan), where=b > 0)


def mean_defined(values: np.ndarray, weight: np.ndarray) -> Floats:
    """The weighted mean of values `[n, ...]`, where NaN counts nowhere; `[b]`."""
    flat = values.reshape(len(values), -1)
    known = ~np.isnan(flat)
    return ratio(weight @ np.where(known, flat, 0.0).sum(1), weight @ known.sum(1))


def _tied(score: np.ndarray, positive: np.ndarray, weight: np.ndarray) -> tuple[Floats, Floats]:
    """The weight of positives and negatives at each distinct score, ascending: two `[b, k]`."""
    order = np.argsort(score, kind="stable")
    starts = np.flatnonzero(np.diff(score[order], prepend=-np.inf))
    sums = [np.add.reduceat((weight * side)[:, order], starts, axis=1)
            for side in (positive, 1 - positive)]
    return sums[0], sums[1]


def binary_auc(score: np.ndarray, positive: np.ndarray, weight: np.ndarray) -> Floats:
    """Area under the ROC curve: P(score of a positive > of a negative), ties counting one half."""
    pos, neg = _tied(score, positive, weight)
    below = np.cumsum(neg, 1) - neg
    return ratio((pos * (below + neg / 2)).sum(1), pos.sum(1) * neg.sum(1))


def binary_average_precision(
    score: np.ndarray, positive: np.ndarray, weight: np.ndarray
) -> Floats:
    """Precision at each threshold, weighted by the rise in recall; no interpolation."""
    pos, neg = (side[:, ::-1] for side in _tied(score, positive, weight))
    hits, all_ = np.cumsum(pos, 1), np.cumsum(pos + neg, 1)
    precision = np.divide(hits, all_, out=np.zeros_like(hits), where=all_ > 0)
    return ratio((pos * precision).sum(1), pos.sum(1))


def _one_vs_rest(metric: Callable) -> Metric:
    """With two classes, of class 1; with more, the mean over classes against the rest."""
    def over_classes(label, probability, weight):
        classes = range(1, 2) if probability.shape[1] == 2 else range(probability.shape[1])
        each = [metric(probability[:, c], (label == c).astype(float), weight) for c in classes]
        return np.mean(each, axis=0)

    return over_classes


def confusion(label: np.ndarray, probability: np.ndarray, weight: np.ndarray) -> Floats:
    """Weight by true and predicted class: `[b, c, c]`."""
    c = probability.shape[1]
    cell = label * c + probability.argmax(1)
    return (weight @ np.eye(c * c)[cell]).reshape(-1, c, c)


def accuracy(label, probability, weight) -> Floats:
    """Share of examples whose most probable class is the true one."""
    return ratio(weight @ (probability.argmax(1) == label), weight.sum(1))


def balanced_accuracy(label, probability, weight) -> Floats:
    """Mean over classes of the share found (recall)."""
    table = confusion(label, probability, weight)
    recall = ratio(np.diagonal(table, axis1=1, axis2=2), table.sum(2))
    return recall.mean(1)


def f1(label, probability, weight) -> Floats:
    """2 TP / (2 TP + FP + FN): of class 1 with two classes, else the mean over classes."""
    table = confusion(label, probability, weight)
    hits = np.diagonal(table, axis1=1, axis2=2)
    each = ratio(2 * hits, table.sum(1) + table.sum(2))
    return each[:, 1] if each.shape[1] == 2 else each.mean(1)


def kappa(label, probability, weight) -> Floats:
    """Cohen's kappa with quadratic weights (Cohen 1968): 1 - observed / expected disagreement."""
    table = confusion(label, probability, weight)
    index = np.arange(table.shape[1])
    cost = (index[:, None] - index) ** 2.0
    chance = table.sum(2)[:, :, None] * table.sum(1)[:, None, :]
    total = table.sum((1, 2))
    return 1.0 - ratio((cost * table).sum((1, 2)) * total, (cost * chance).sum((1, 2)))


def reliability(label, probability, weight) -> Iterator[tuple[Floats, Floats, Floats]]:
    """For each of `ECE_BINS` bins of top probability: weight, mean confidence, accuracy."""
    top = probability.max(1)
    hit = probability.argmax(1) == label
    bins = np.clip(np.ceil(top * ECE_BINS) - 1, 0, ECE_BINS - 1)
    for b in range(ECE_BINS):
        inside = weight * (bins == b)
        yield inside.sum(1), ratio(inside @ top, inside.sum(1)), ratio(
            inside @ hit, inside.sum(1))


def ece(label, probability, weight) -> Floats:
    """Expected calibration error (Guo et al. 2017): mean |accuracy - confidence| over bins."""
    gaps = [np.nan_to_num(w * np.abs(a - c))
            for w, c, a in reliability(label, probability, weight)]
    return ratio(np.sum(gaps, 0), weight.sum(1))


def brier(label, probability, weight) -> Floats:
    """Mean squared error of the probabilities: of class 1 with two classes, else summed over all.
    """
    truth = np.eye(probability.shape[1])[label]
    error = ((probability - truth) ** 2).sum(1)
    return ratio(weight @ (error / 2 if probability.shape[1] == 2 else error), weight.sum(1))


CLASSIFICATION: dict[str, Metric] = {
    "auc": _one_vs_rest(binary_auc),
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "f1": f1,
    "average_precision": _one_vs_rest(binary_average_precision),
    "kappa": kappa,
    "ece": ece,
    "brier": brier,
}
LOWER_IS_BETTER = ("ece", "brier")


def evaluate(metric: Metric, label: np.ndarray, probability: np.ndarray) -> float:
    """The metric with every example counted once."""
    return float(metric(label, probability, np.ones((1, len(label))))[0])
