"""Intervals and paired tests. The unit that is resampled is the subject, never the image."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit  # scipy.stats takes a second to import

from medjax.metrics import Metric, evaluate

_BLOCK = 200  # bootstrap samples held in memory at once


class Estimate(NamedTuple):
    """A value with its interval; `undefined` counts resamples in which it had no value."""

    value: float
    low: float
    high: float
    undefined: int = 0


def resample(subjects: Sequence[str], *, samples: int, seed: int) -> np.ndarray:
    """How often each example stands in each bootstrap sample of subjects: `[samples, n]`."""
    _, index = np.unique(np.asarray(subjects), return_inverse=True)
    count = int(index.max()) + 1
    rng = np.random.default_rng(seed)
    return rng.multinomial(count, np.full(count, 1 / count), samples)[:, index].astype(float)


def interval(values: np.ndarray, *, level: float = 0.95) -> tuple[float, float, int]:
    """The percentile interval of bootstrap values, and how many were NaN."""
    defined = values[~np.isnan(values)]
    if not len(defined):
        return np.nan, np.nan, len(values)
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high), len(values) - len(defined)


def bootstrap(metric: Metric, label: np.ndarray, probability: np.ndarray, subjects: Sequence[str],
              *, samples: int = 2000, seed: int = 0) -> Estimate:
    """The metric with a 95 % interval over subjects (Efron's percentile bootstrap).

    One subject has no interval.
    """
    if len(set(subjects)) < 2:
        return Estimate(evaluate(metric, label, probability), np.nan, np.nan)
    weights = resample(subjects, samples=samples, seed=seed)
    values = _blockwise(metric, label, probability, weights)
    return Estimate(evaluate(metric, label, probability), *interval(values))


def mean_interval(values: Sequence[float]) -> Estimate:
    """The mean of independent runs (seeds) with Student's 95 % interval."""
    x = np.asarray(values, float)
    mean = float(x.mean())
    if len(x) < 2:
        return Estimate(mean, np.nan, np.nan)
    half = float(stdtrit(len(x) - 1, 0.975) * x.std(ddof=1) / np.sqrt(len(x)))
    return Estimate(mean, mean - half, mean + half)


class Comparison(NamedTuple):
    """B minus A on the same cases."""

    a: float
    b: float
    difference: Estimate
    p_value: float


def compare(metric: Metric, label: np.ndarray, a: np.ndarray, b: np.ndarray,
            subjects: Sequence[str], *, samples: int = 2000, seed: int = 0) -> Comparison:
    """Two models on the same cases: paired bootstrap interval and paired permutation test.

    The test exchanges the two models' answers subject by subject at random; its p-value is
    two-sided, `(1 + count of differences as large) / (1 + samples)` (Phipson and Smyth 2010).
    One subject has neither interval nor p-value.
    """
    if len(set(subjects)) < 2:
        value_a, value_b = evaluate(metric, label, a), evaluate(metric, label, b)
        return Comparison(value_a, value_b, Estimate(value_b - value_a, np.nan, np.nan), np.nan)
    weights = resample(subjects, samples=samples, seed=seed)
    spread = _blockwise(metric, label, b, weights) - _blockwise(metric, label, a, weights)
    value_a, value_b = evaluate(metric, label, a), evaluate(metric, label, b)
    seen = value_b - value_a
    _, index = np.unique(np.asarray(subjects), return_inverse=True)
    rng = np.random.default_rng(seed + 1)
    swap = rng.integers(0, 2, (samples, int(index.max()) + 1))[:, index].astype(float)
    # Both answers to every case stand side by side, and the weights choose one of each.
    labels, both = np.concatenate([label, label]), np.concatenate([a, b])
    chance = (_blockwise(metric, labels, both, np.concatenate([swap, 1 - swap], 1))
              - _blockwise(metric, labels, both, np.concatenate([1 - swap, swap], 1)))
    as_large = int((~(np.abs(chance) < abs(seen) - 1e-12)).sum())  # undefined counts as large
    p_value = np.nan if np.isnan(seen) else (1 + as_large) / (1 + samples)
    return Comparison(value_a, value_b, Estimate(seen, *interval(spread)), p_value)


def _blockwise(metric: Metric, label, probability, weights: np.ndarray) -> np.ndarray:
    """The metric for each row of weights, a few rows at a time."""
    parts = [metric(label, probability, weights[i : i + _BLOCK])
             for i in range(0, len(weights), _BLOCK)]
    return np.concatenate(parts)


def nan_mean(values: np.ndarray, *, axis: int | None = None) -> np.ndarray:
    """The mean of what is defined; NaN where nothing is."""
    known = ~np.isnan(values)
    count = known.sum(axis)
    total = np.where(known, values, 0.0).sum(axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def conformal_radius(error: np.ndarray, *, level: float) -> float:
    """The radius that holds a further point with probability `level` (split conformal prediction).

    The ceil((n + 1) level)-th smallest of the n calibration errors; infinite where n is too small
    for the level. Vovk et al. 2005; Angelopoulos and Bates 2023, equation 1.
    """
    known = np.sort(error[~np.isnan(error)])
    rank = int(np.ceil((len(known) + 1) * level))
    return float(known[rank - 1]) if 1 <= rank <= len(known) else np.inf
