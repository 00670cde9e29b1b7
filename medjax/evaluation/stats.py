"""Paired tests of models on the same cases, means of runs, and regions for further points.

The unit is the subject, never the image; `intervals` has the intervals of metrics.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit  # scipy.stats takes a second to import

from medjax.evaluation.intervals import (
    TAIL,
    Estimate,
    bootstrap,
    interval_of_known,
    why_none,
    without_interval,
)
from medjax.evaluation.metrics import Metric, Traits, evaluate, traits_of
from medjax.evaluation.spread import blockwise, left_out, without_value

__all__ = ["Estimate", "bootstrap"]  # what others find here


def mean_interval(values: Sequence[float]) -> Estimate:
    """The mean of independent runs (seeds) with Student's 95 % interval."""
    x = np.asarray(values, float)
    mean = float(x.mean())
    if len(x) < 2:
        return without_interval(mean, "one run")
    if np.ptp(x) == 0:  # as of one network that all seeds share
        return without_interval(mean, "the same for all seeds")
    half = float(stdtrit(len(x) - 1, TAIL) * x.std(ddof=1) / np.sqrt(len(x)))
    return Estimate(mean, mean - half, mean + half)


class Comparison(NamedTuple):
    """B minus A on the same cases.

    Attributes:
      common: points that both have found, where the metric counts only those; of `points`.
    """

    a: float
    b: float
    difference: Estimate
    p_value: float
    common: int = 0
    points: int = 0


def compare(
    metric: Metric,
    label: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    subjects: Sequence[str],
    *,
    samples: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Two models on the same cases: interval of the difference, and a paired permutation test.

    The test exchanges the two models' answers subject by subject at random: its hypothesis is that
    they are exchangeable, which is more than that the metric is the same. Where a metric depends on
    the order of scores alone, each model's scores are replaced by their ranks first, since those of
    two models have no common scale. A metric of found points compares what both have found. The
    p-value is two-sided, `(1 + count of differences as large) / (1 + samples)` (Phipson and Smyth
    2010). One subject has neither interval nor p-value.
    """
    traits = traits_of(metric)
    common = points = 0
    if traits.of_found:
        lost = np.isnan(a) | np.isnan(b)
        common, points = int((label & ~lost).sum()), int(np.asarray(label).sum())
        a, b = np.where(lost, np.nan, a), np.where(lost, np.nan, b)
    value_a, value_b = evaluate(metric, label, a), evaluate(metric, label, b)
    observed = value_b - value_a
    if len(set(subjects)) < 2 or np.isnan(observed):
        none = without_interval(observed, why_none(traits, subjects) or "undefined")
        return Comparison(value_a, value_b, none, np.nan, common, points)
    ranked = (traits.ranks(a), traits.ranks(b)) if traits.ranks else (a, b)
    p_value = _permuted(metric, label, ranked[0], ranked[1], subjects, samples=samples, seed=seed)
    difference = _difference(metric, label, a, b, observed, subjects, samples=samples, seed=seed)
    return Comparison(value_a, value_b, difference, p_value, common, points)


def _difference(
    metric: Metric,
    label: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    observed: float,
    subjects: Sequence[str],
    *,
    samples: int,
    seed: int,
) -> Estimate:
    traits = traits_of(metric)
    reason = why_none(traits, subjects)
    if reason:
        return without_interval(observed, reason)
    resampled = traits.scale == "median"  # of which leaving one out tells nothing
    weights = _drawn(subjects, samples=samples, seed=seed) if resampled else left_out(subjects)
    values = blockwise(metric, label, b, weights) - blockwise(metric, label, a, weights)
    undefined = int(np.isnan(values).sum())
    if undefined:
        what = "in {} of the resamples" if resampled else "without {} of the subjects"
        return without_interval(
            observed, "undefined " + what.format(undefined), undefined=0 if resampled else undefined
        )
    if resampled:  # percentiles (Efron 1979)
        low, high = np.quantile(values, [1 - TAIL, TAIL])
        return Estimate(observed, float(low), float(high))
    known = ~without_value(metric, label, [a, b], weights, values - observed)
    scale = "mean" if traits.scale == "mean" else "difference"  # which is skewed little
    of_difference = Traits(scale, fewest=traits.fewest)
    return interval_of_known(values, observed, known, of_difference, count=len(set(subjects)))


def _drawn(subjects: Sequence[str], *, samples: int, seed: int) -> np.ndarray:
    """Weights of subjects drawn with replacement: `[samples, n]`."""
    _, index = np.unique(np.asarray(subjects), return_inverse=True)
    count = int(index.max()) + 1
    return (
        np.random.default_rng(seed)
        .multinomial(count, np.full(count, 1 / count), samples)[:, index]
        .astype(float)
    )


_EXCHANGES = 256  # drawn at a time


def _permuted(
    metric: Metric,
    label: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    subjects: Sequence[str],
    *,
    samples: int,
    seed: int,
) -> float:
    _, index = np.unique(np.asarray(subjects), return_inverse=True)
    rng, count = np.random.default_rng(seed + 1), int(index.max()) + 1
    # Both answers to every case stand side by side, and the weights choose one of each.
    labels, both = np.concatenate([label, label]), np.concatenate([a, b])
    differences = []
    for begin in range(0, samples, _EXCHANGES):  # all at once would take gigabytes
        swap = rng.integers(0, 2, (min(_EXCHANGES, samples - begin), count))[:, index].astype(float)
        there, back = (np.concatenate([s, 1 - s], 1) for s in (swap, 1 - swap))
        values = [blockwise(metric, labels, both, weight) for weight in (there, back)]
        differences.append(values[0] - values[1])
    chance = np.concatenate(differences)
    observed = evaluate(metric, label, b) - evaluate(metric, label, a)
    as_large = int((~(np.abs(chance) < abs(observed) - 1e-12)).sum())  # undefined counts as large
    return (1 + as_large) / (1 + samples)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values of several tests, corrected for their number (Holm 1979); NaN stays."""
    p = np.asarray(p_values, float)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    out = np.full(len(p), np.nan)
    factors = np.arange(len(order), 0, -1)
    out[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1.0)
    return out.tolist()


def nan_mean(values: np.ndarray, *, axis: int | None = None) -> np.ndarray:
    """The mean of what is defined; NaN where nothing is."""
    known = ~np.isnan(values)
    count = known.sum(axis)
    total = np.where(known, values, 0.0).sum(axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def conformal_radius(error: np.ndarray, *, level: float, subjects: Sequence[str] = ()) -> float:
    """The radius that holds a point of a further subject with probability `level`.

    Split conformal prediction (Vovk et al. 2005), by subject: each of n has the weight 1 / (n + 1),
    shared by its points, and the rest lies at infinity (Lee, Barber and Willett 2023, hierarchical
    conformal prediction). With one point a subject it is the ceil((n + 1) level)-th smallest error.
    Infinite where there are too few for the level.

    Args:
      error: `[n]`; infinite for a point that was not found, NaN for one that is missing.
      subjects: of each; empty: all differ.
    """
    known = ~np.isnan(error)
    values = error[known]
    names = np.asarray(subjects)[known] if len(subjects) else np.arange(len(values))
    _, index, size = np.unique(names, return_inverse=True, return_counts=True)
    order = np.argsort(values, kind="stable")
    weight = np.cumsum(1.0 / ((len(size) + 1) * size[index][order]))
    enough = np.flatnonzero(weight >= level - 1e-9)
    return float(values[order][enough[0]]) if len(enough) else np.inf
