"""Classification metrics with example weights, for many weightings at once.

Each takes `label` `[n]`, `probability` `[n, c]` and `weight` `[b, n]`, and returns `[b]`: with
weights of one it is the metric; with some of them zero it is the metric without those examples.
Undefined (a class that is needed has no weight, a probability is NaN) is NaN.

A metric says of itself what its interval and its paired test need to know: see `Traits`.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Floats = NDArray[np.float64]
Metric = Callable[[np.ndarray, np.ndarray, np.ndarray], Floats]
AnyMetric = TypeVar("AnyMetric", bound=Callable[..., Any])
ECE_BINS = 15
FEWEST = 10  # subjects, below which no interval keeps its level


class Traits(NamedTuple):
    """What statistics need to know of a metric.

    Attributes:
      scale: `mean` of values without bounds, `rate` of hits, `share` between 0 and `top`, `auc` of
        two classes, `median`, `calibration`, or `count`, which has no interval.
      top: the largest value of a share.
      by_class: averages over classes or findings, and so needs subjects with and without each.
      ranks: answers whose scores are replaced by their order, of a metric that depends on nothing
        else: so those of two models have one scale. None: it depends on more.
      of_found: counts only points that were found, so that two models may count others.
      of_errors: most of it comes from wrong answers, of which a few tell nothing.
      fewest: subjects, below which its interval does not keep its level.
      bounds: of its values: no interval leaves them.
    """

    scale: str = "mean"
    top: float = 1.0
    by_class: bool = False
    ranks: Callable[[np.ndarray], np.ndarray] | None = None
    of_found: bool = False
    of_errors: bool = False
    fewest: int = FEWEST
    bounds: tuple[float, float] = (-np.inf, np.inf)


def marked(**traits: Any) -> Callable[[AnyMetric], AnyMetric]:
    """Gives a metric its `Traits`."""

    def mark(metric: AnyMetric) -> AnyMetric:
        metric.traits = Traits(**traits)  # type: ignore[attr-defined]
        return metric

    return mark


def traits_of(metric: Callable[..., Any]) -> Traits:
    """Those of a metric, or of what it is a part of."""
    function = getattr(metric, "func", metric)  # of `functools.partial`
    return getattr(function, "traits", Traits())


def by_order(scores: np.ndarray) -> np.ndarray:
    """Minus the number of higher scores of the same column (the last axis) of all cases, of which
    equal ones count one half; NaN stays.

    From the highest on, so that models that give other numbers of scores are alike there.
    """
    out = np.full(scores.shape, np.nan)
    for c in range(scores.shape[-1]):
        column = scores[..., c]
        known = ~np.isnan(column)
        values, place, size = np.unique(column[known], return_inverse=True, return_counts=True)
        higher = size.sum() - np.cumsum(size) + (size - 1) / 2
        out[known, c] = -higher[place] if len(values) else 0.0
    return out


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
    sums = [
        np.add.reduceat((weight * side)[:, order], starts, axis=1)
        for side in (positive, 1 - positive)
    ]
    return sums[0], sums[1]


def binary_auc(score: np.ndarray, positive: np.ndarray, weight: np.ndarray) -> Floats:
    """Area under the ROC curve: P(score of a positive > of a negative), ties counting one half."""
    pos, neg = _tied(score, positive, weight)
    below = np.cumsum(neg, 1) - neg
    return ratio((pos * (below + neg / 2)).sum(1), pos.sum(1) * neg.sum(1))


def binary_average_precision(score: np.ndarray, positive: np.ndarray, weight: np.ndarray) -> Floats:
    """Precision at each threshold, weighted by the rise in recall; no interpolation."""
    pos, neg = (side[:, ::-1] for side in _tied(score, positive, weight))
    hits, all_ = np.cumsum(pos, 1), np.cumsum(pos + neg, 1)
    precision = np.divide(hits, all_, out=np.zeros_like(hits), where=all_ > 0)
    return ratio((pos * precision).sum(1), pos.sum(1))


def of_finite(metric: AnyMetric) -> AnyMetric:
    """The metric, NaN where an example with weight has a probability that is not finite; of several
    references an example, `[n, finding]`, at one that is known."""

    @functools.wraps(metric)
    def checked(label: Array, probability: Array, weight: Array, **options: Any) -> Floats:
        finite = np.isfinite(probability)
        bad = ~finite & np.isfinite(label) if label.ndim == 2 else ~finite
        if not bad.any():
            return metric(label, probability, weight, **options)
        value = metric(label, np.where(finite, probability, 0.0), weight, **options)
        return np.where(weight @ bad.any(1) > 0, np.nan, value)

    return checked  # type: ignore[return-value]


def _one_vs_rest(
    metric: Callable[..., Floats], label: Array, probability: Array, weight: Array, positive: int
) -> Floats:
    """With two classes, of the positive one; with more, the mean over classes against the rest."""
    classes = [positive] if probability.shape[1] == 2 else range(probability.shape[1])
    by_class = [metric(probability[:, c], (label == c).astype(float), weight) for c in classes]
    return np.mean(by_class, axis=0)


@marked(scale="auc", by_class=True, ranks=by_order)
@of_finite
def auc(label: Array, probability: Array, weight: Array) -> Floats:
    """area under the ROC curve; of more than two classes, the mean of each against the rest"""
    return _one_vs_rest(binary_auc, label, probability, weight, 1)


@marked(scale="share", by_class=True, ranks=by_order)
@of_finite
def average_precision(
    label: Array, probability: Array, weight: Array, *, positive: int = 1
) -> Floats:
    """area under precision over recall; of more than two classes, the mean of each"""
    return _one_vs_rest(binary_average_precision, label, probability, weight, positive)


def confusion(label: np.ndarray, probability: np.ndarray, weight: np.ndarray) -> Floats:
    """Weight by true and predicted class: `[b, c, c]`."""
    c = probability.shape[1]
    cell = label * c + probability.argmax(1)
    return (weight @ np.eye(c * c)[cell]).reshape(-1, c, c)


@marked(scale="rate")
@of_finite
def accuracy(label: Array, probability: Array, weight: Array) -> Floats:
    """share of cases whose most probable class is the true one"""
    return ratio(weight @ (probability.argmax(1) == label), weight.sum(1))


@marked(scale="share", by_class=True)
@of_finite
def balanced_accuracy(label: Array, probability: Array, weight: Array) -> Floats:
    """mean over classes of the share that is found (sensitivity)"""
    table = confusion(label, probability, weight)
    recall = ratio(np.diagonal(table, axis1=1, axis2=2), table.sum(2))
    return recall.mean(1)


@marked(scale="share", by_class=True)
@of_finite
def f1(label: Array, probability: Array, weight: Array, *, positive: int = 1) -> Floats:
    """2 TP / (2 TP + FP + FN); of more than two classes, the mean over classes"""
    table = confusion(label, probability, weight)
    hits = np.diagonal(table, axis1=1, axis2=2)
    by_class = ratio(2 * hits, table.sum(1) + table.sum(2))
    return by_class[:, positive] if by_class.shape[1] == 2 else by_class.mean(1)


def _kappa(label: Array, probability: Array, weight: Array, power: float) -> Floats:
    table = confusion(label, probability, weight)
    index = np.arange(table.shape[1])
    cost = np.abs(index[:, None] - index) ** power if power else 1.0 - np.eye(len(index))
    chance = table.sum(2)[:, :, None] * table.sum(1)[:, None, :]
    total = table.sum((1, 2))
    return 1.0 - ratio((cost * table).sum((1, 2)) * total, (cost * chance).sum((1, 2)))


@marked(bounds=(-1.0, 1.0))
@of_finite
def kappa(label: Array, probability: Array, weight: Array) -> Floats:
    """Cohen's kappa (1960): agreement beyond chance, every confusion counting alike"""
    return _kappa(label, probability, weight, 0.0)


@marked(bounds=(-1.0, 1.0))
@of_finite
def kappa_quadratic(label: Array, probability: Array, weight: Array) -> Floats:
    """kappa of ordered classes, confusions weighted by their squared distance (Cohen 1968)"""
    return _kappa(label, probability, weight, 2.0)


def median_grade(probability: np.ndarray) -> np.ndarray:
    """The median of each distribution over grades, `[n]`: the answer with the least expected
    absolute error. Of a grade between two it is the nearer one, and of a chain of questions how
    many of them are answered with yes."""
    half = 0.5 - 1e-9  # so that rounding in sums of probabilities moves no median
    return np.asarray((np.cumsum(probability, 1) < half).sum(1))


@marked()
@of_finite
def mae(label: Array, probability: Array, weight: Array) -> Floats:
    """mean absolute error of the grade, the median of its probabilities"""
    return ratio(weight @ np.abs(median_grade(probability) - label), weight.sum(1))


@marked()
@of_finite
def mse(label: Array, probability: Array, weight: Array) -> Floats:
    """mean squared error of the grade, the median of its probabilities"""
    return ratio(weight @ (median_grade(probability) - label) ** 2, weight.sum(1))


def reliability(
    label: Array, probability: Array, weight: Array
) -> Iterator[tuple[Floats, Floats, Floats]]:
    """For each of `ECE_BINS` bins of top probability: weight, mean confidence, accuracy."""
    top = probability.max(1)
    hit = probability.argmax(1) == label
    bins = np.clip(np.ceil(top * ECE_BINS) - 1, 0, ECE_BINS - 1)
    for b in range(ECE_BINS):
        inside = weight * (bins == b)
        yield inside.sum(1), ratio(inside @ top, inside.sum(1)), ratio(inside @ hit, inside.sum(1))


@marked(scale="calibration", of_errors=True)
@of_finite
def ece(label: Array, probability: Array, weight: Array) -> Floats:
    """expected calibration error over 15 bins (Guo et al. 2017); with its interval, less what noise
    alone would give"""
    gaps = [np.nan_to_num(w * np.abs(a - c)) for w, c, a in reliability(label, probability, weight)]
    return ratio(np.sum(gaps, 0), weight.sum(1))


def calibration_gaps(label: np.ndarray, probability: np.ndarray) -> Floats:
    """What each example adds to the gap of its bin of confidence: `[n, ECE_BINS]`; the sum over
    examples, over their number, in absolute values and summed, is the ECE."""
    top = probability.max(1)
    bins = np.clip(np.ceil(top * ECE_BINS) - 1, 0, ECE_BINS - 1).astype(int)
    return ((probability.argmax(1) == label) - top)[:, None] * np.eye(ECE_BINS)[bins]


@marked(scale="share", top=2.0, of_errors=True)
@of_finite
def brier(label: Array, probability: Array, weight: Array) -> Floats:
    """mean squared error of the probabilities; of more than two classes, summed over them"""
    truth = np.eye(probability.shape[1])[label]
    error = ((probability - truth) ** 2).sum(1)
    two = probability.shape[1] == 2
    return ratio(weight @ (error / 2 if two else error), weight.sum(1))


def definitions(metrics: dict[str, Metric]) -> list[str]:
    """A line a metric: its name and what it is."""
    texts = {name: (getattr(m, "func", m).__doc__ or "").split() for name, m in metrics.items()}
    return [f"{name}: {' '.join(text)}" for name, text in texts.items()]


def evaluate(metric: Metric, label: np.ndarray, probability: np.ndarray) -> float:
    """The metric with every example counted once."""
    return float(metric(label, probability, np.ones((1, len(label))))[0])
