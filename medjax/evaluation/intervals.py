"""Intervals of metrics. The unit is the subject, never the image.

Every interval has a level of 95 %. How a metric changes when one subject is left out gives its
standard error, its skewness and how well that error is known (jackknife; Tukey 1958): the metric's
scale then says which interval keeps its level, see `benchmarks/README.md` for how it was measured.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import betaincinv, expit, logit, stdtrit  # scipy.stats takes a second to import

from medjax.evaluation.metrics import (
    FEWEST,
    Metric,
    Traits,
    calibration_gaps,
    evaluate,
    traits_of,
)
from medjax.evaluation.spread import Spread, blockwise, jackknife, left_out, without_value

_FEWEST_OF_KIND = 5  # subjects of a class, or that are in error, or as many of one size
_LEAST_FREEDOM = 5.0  # of a share: with less, a few wrong answers make intervals needlessly wide
TAIL = 0.975


class Estimate(NamedTuple):
    """A value with its interval.

    Attributes:
      low, high: NaN where there is none, for the `reason`.
      undefined: of how many subjects each alone is needed for the metric to have a value.
    """

    value: float
    low: float
    high: float
    undefined: int = 0
    reason: str = ""


def without_interval(value: float, reason: str, *, undefined: int = 0) -> Estimate:
    """A value, and why it has no interval."""
    return Estimate(value, np.nan, np.nan, undefined, reason)


def bootstrap(
    metric: Metric,
    label: np.ndarray,
    probability: np.ndarray,
    subjects: Sequence[str],
    *,
    samples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """The metric with a 95 % interval over subjects, by the scale that it has.

    Args:
      samples, seed: of what is simulated; most intervals simulate nothing.

    Returns:
      No interval, and the reason, below 10 subjects, or where none would keep its level.
    """
    traits, value = traits_of(metric), evaluate(metric, label, probability)
    reason = (
        ("undefined" if np.isnan(value) else "")
        or why_none(traits, subjects)
        or (_classes_too_few(label, probability, subjects) if traits.by_class else "")
        or (_errors_too_few(label, probability, subjects) if traits.of_errors else "")
    )
    if reason:
        return without_interval(value, reason)
    if traits.scale == "calibration":
        return calibration(label, probability, subjects, samples=samples, seed=seed)
    if traits.scale == "median":
        return median_interval(label, probability, subjects)
    return _jackknifed(metric, label, probability, subjects, value)


def _jackknifed(
    metric: Metric,
    label: np.ndarray,
    probability: np.ndarray,
    subjects: Sequence[str],
    value: float,
) -> Estimate:
    traits, weights = traits_of(metric), left_out(subjects)
    values = blockwise(metric, label, probability, weights)
    undefined = int(np.isnan(values).sum())
    if undefined:
        return without_interval(
            value, f"undefined without {undefined} of the subjects", undefined=undefined
        )
    if traits.scale == "auc" and probability.shape[1] == 2:
        return _auc_interval(jackknife(values, value), label, subjects)
    known = ~without_value(metric, label, [probability], weights, values - value)
    return interval_of_known(values, value, known, traits, count=len(set(subjects)))


def interval_of_known(
    values: np.ndarray, value: float, known: np.ndarray, traits: Traits, *, count: int
) -> Estimate:
    """The interval of a metric by its values without each part of `count` subjects, of which those
    that are not `known` have none themselves."""
    with_value = round(known.mean() * count)
    if with_value < traits.fewest:
        return _too_few(value, traits.fewest)
    return interval(jackknife(values[known], value), traits, count=with_value)


def _too_few(value: float, fewest: int) -> Estimate:
    return without_interval(value, f"fewer than {fewest} subjects with a value")


def why_none(traits: Traits, subjects: Sequence[str]) -> str:
    """Why no metric of these traits has an interval over these subjects; empty where it has one."""
    if traits.scale == "count":
        return "a number of this sample"
    _, size = np.unique(np.asarray(subjects), return_counts=True)
    if len(size) < traits.fewest:
        return f"fewer than {traits.fewest} subjects"
    if size.sum() ** 2 / (size.astype(float) ** 2).sum() < _FEWEST_OF_KIND:  # Kish 1965
        return "one subject, or a few, has most of the images"
    return ""


def interval(spread: Spread, traits: Traits, *, count: int) -> Estimate:
    """The interval of a metric by its spread, whatever else it is; of `count` subjects."""
    if traits.scale == "rate":
        return Estimate(spread.value, *_rate(spread, count))
    if traits.scale in ("share", "auc"):
        part = spread.value / traits.top
        if not 0 < part < 1 or spread.error == 0:
            return without_interval(spread.value, "at the end of its range")
        freedom = max(spread.freedom, _LEAST_FREEDOM)
        half = stdtrit(freedom, TAIL) * spread.error / traits.top / (part * (1 - part))
        low, high = traits.top * expit(logit(part) + np.array([-half, half]))
        return Estimate(spread.value, float(low), float(high))
    if spread.error == 0:
        return without_interval(spread.value, "the same for all subjects")
    if traits.scale == "difference":
        half = float(stdtrit(spread.freedom, TAIL) * spread.error)
        return Estimate(spread.value, spread.value - half, spread.value + half)
    low, high = np.clip(_skewed(spread), *traits.bounds)
    return Estimate(spread.value, float(low), float(high))


def _skewed(spread: Spread) -> tuple[float, float]:
    """Student's interval, corrected for skewness (Hall 1992, JRSS B 54:221-228)."""
    count, skew = len(spread.influence), spread.skewness
    reach = stdtrit(spread.freedom, TAIL) / np.sqrt(count)
    unit = spread.error * np.sqrt(count)

    def backwards(t: float) -> float:  # of Hall's cubic transformation
        if abs(skew) < 1e-6:
            return t
        return 3.0 / skew * (np.cbrt(1.0 + skew * (t - skew / (6.0 * count))) - 1.0)

    return (
        float(spread.value - unit * backwards(reach)),
        float(spread.value - unit * backwards(-reach)),
    )


def _rate(spread: Spread, count: int) -> tuple[float, float]:
    """Wilson's interval (1927) of the sample size that would have this standard error (after Korn
    and Graubard 1998); of the number of subjects where all agree.

    Where each subject counts once, wholly right or wholly wrong, the exact one: its standard error
    follows from the rate, and is known as well as that.
    """
    p, error = spread.value, spread.error
    size = p * (1 - p) / error**2 if error > 0 else float(count)
    if abs(size - (count - 1)) < 1e-6 * count:
        return _binomial(round(p * count), count)
    z = stdtrit(spread.freedom if error > 0 else count - 1, TAIL)
    middle = (p + z**2 / (2 * size)) / (1 + z**2 / size)
    half = z / (1 + z**2 / size) * np.sqrt(p * (1 - p) / size + z**2 / (4 * size**2))
    return max(float(middle - half), 0.0), min(float(middle + half), 1.0)


def _binomial(hits: int, count: int) -> tuple[float, float]:
    """The exact interval of a rate of independent cases (Clopper and Pearson 1934); neither none
    nor all are hits."""
    low = betaincinv(hits, count - hits + 1, 1 - TAIL)
    return float(low), float(betaincinv(hits + 1, count - hits, TAIL))


def _auc_interval(spread: Spread, label: np.ndarray, subjects: Sequence[str]) -> Estimate:
    """A score interval: those values from which the observed one is not far, each with the variance
    that it would have itself, so that it holds near 1 too (Newcombe 2006, method 5).

    The variance by Hanley and McNeil (1982) is scaled to that of the subjects (Obuchowski 1997),
    which counts by how well it is known, and a little by what independent subjects would have.
    """
    has = [{s for s, y in zip(subjects, label, strict=True) if y == c} for c in (0, 1)]
    negative, positive = map(len, has)

    def variance(area: float) -> float:
        pairs = (negative + positive) / 2 - 1
        more = pairs * ((1 - area) / (2 - area) + area / (1 + area))
        return area * (1 - area) / (negative * positive) * (1 + more)

    freedom, known = _auc_freedom(spread, has, subjects)
    near = min(max(spread.value, 1e-9), 1 - 1e-9)
    scale = spread.error**2 / variance(near) if spread.error > 0 else 1.0
    scale = (1.0 + known * scale) / (1.0 + known)
    reach = stdtrit(freedom, TAIL)

    def far(area: float) -> bool:
        return abs(spread.value - area) > reach * np.sqrt(scale * variance(area))

    return Estimate(spread.value, _border(far, spread.value, 0.0), _border(far, spread.value, 1.0))


def _auc_freedom(
    spread: Spread, has: Sequence[set[str]], subjects: Sequence[str]
) -> tuple[float, float]:
    """Degrees of freedom by the numbers of subjects with each class, and by the kurtosis of their
    influences; subjects with both are a kind of their own."""
    names = np.unique(np.asarray(subjects))
    parts = spread.influence
    if len(parts) != len(names) or spread.error == 0:  # groups of many subjects; or no error at all
        few = min(map(len, has)) - 1.0
        return max(few, 1.0), spread.freedom if spread.error > 0 else 0.0
    kinds = np.array([(s in has[0]) + 2 * (s in has[1]) for s in names])
    squares, spreads, fourth = [], [], 0.0
    for kind in np.unique(kinds):
        own = parts[kinds == kind]
        square = float((own**2).sum())
        squares.append(square)
        spreads.append(square**2 / max(len(own) - 1, 0.5))
        fourth += max((own**4).sum() - square**2 / len(own), square**2 / len(own))
    by_numbers = sum(squares) ** 2 / sum(spreads)
    return max(by_numbers, 1.0), min(by_numbers, 2 * sum(squares) ** 2 / fourth)


def _border(far: Callable[[float], bool], near: float, end: float) -> float:
    """Where values begin to be far, between one that is not and the end of the range."""
    if near == end or not far(end + (near - end) * 1e-12):
        return end
    for _ in range(60):
        middle = (near + end) / 2
        near, end = (near, middle) if far(middle) else (middle, end)
    return float(near)


def _classes_too_few(label: np.ndarray, probability: np.ndarray, subjects: Sequence[str]) -> str:
    """Why a metric over classes has no interval; empty where it has one.

    Of two classes each needs subjects with it, so of every class those without it as well; and so
    of findings, `label` `[n, finding]` with NaN where one is not known.
    """
    label = np.asarray(label)
    of_findings = label.ndim == 2
    classes = range(probability.shape[1] if probability.ndim >= 2 else 0)
    kinds = (
        [(truth == 1, truth == 0) for truth in label.T]
        if of_findings
        else [(label == c, label != c) for c in classes]
    )
    if any(_count(subjects, some) < _FEWEST_OF_KIND for both in kinds for some in both):
        what = "with or without a finding" if of_findings else "of a class"
        return f"fewer than {_FEWEST_OF_KIND} subjects {what}"
    return ""


def _errors_too_few(label: np.ndarray, probability: np.ndarray, subjects: Sequence[str]) -> str:
    """Of a few errors nothing tells how often a confident answer is wrong."""
    if _count(subjects, probability.argmax(1) != label) < _FEWEST_OF_KIND:
        return f"fewer than {_FEWEST_OF_KIND} subjects with a wrong answer"
    return ""


def _count(subjects: Sequence[str], where: np.ndarray) -> int:
    return len(set(np.asarray(subjects)[where]))


def median_interval(present: np.ndarray, error: np.ndarray, subjects: Sequence[str]) -> Estimate:
    """The median of all points that were found (Woodruff 1952): of their share below it, whose
    standard error is that of a mean over subjects.

    Args:
      present, error: `[n, landmark]`, as of `landmark_metrics`; or, as of `search_metrics`, with
        the error first along one more axis.
    """
    error = error[..., 0] if error.ndim == 3 else error
    case, _ = np.nonzero(present & ~np.isnan(error))
    values = error[present & ~np.isnan(error)]
    order = np.argsort(values, kind="stable")
    names, index = np.unique(np.asarray(subjects)[case], return_inverse=True)
    count, size = len(names), len(values)
    if count < FEWEST:
        return _too_few(float(np.median(values)), FEWEST)
    who, values = index[order], values[order]
    below = values <= np.median(values)
    rest = np.bincount(who, below - below.mean(), count)
    error_of_share = np.sqrt(count / (count - 1) * (rest**2).sum()) / size
    half = stdtrit(count - 1, TAIL) * error_of_share
    low = int(np.clip(np.floor((0.5 - half) * size), 0, size - 1))
    high = int(np.clip(np.ceil((0.5 + half) * size) - 1, 0, size - 1))
    return Estimate(float(np.median(values)), float(values[low]), float(values[high]))


def calibration(
    label: np.ndarray, probability: np.ndarray, subjects: Sequence[str], *, samples: int, seed: int
) -> Estimate:
    """The expected calibration error, less what noise alone adds to it, with an interval.

    Even a calibrated model has gaps in its bins, so that the plain value is too high. Gaps that are
    a multiple of those observed, with the noise of this many subjects, are simulated: the estimate
    is of the multiple whose median is the observed value, and the interval of those whose central
    95 % hold it. It reaches down to 0 for a calibrated model.
    """
    gap_of_example = calibration_gaps(label, probability) / len(label)
    _, index = np.unique(np.asarray(subjects), return_inverse=True)
    count = int(index.max()) + 1
    by_subject = np.zeros((count, gap_of_example.shape[1]))
    np.add.at(by_subject, index, gap_of_example)
    gaps = by_subject.sum(0)
    noise = by_subject - gaps / count
    covariance = noise.T @ noise * count / (count - 1)
    root = np.linalg.cholesky(covariance + 1e-18 * np.eye(len(gaps)))
    drawn = np.random.default_rng(seed).standard_normal((samples, len(gaps))) @ root.T
    observed = np.abs(gaps).sum()

    def multiple(share: float) -> float:
        """At which this share of simulated values lies below the observed one; 0 at the least."""
        low, high = 0.0, 3.0
        for _ in range(40):
            middle = (low + high) / 2
            below = (np.abs(middle * gaps + drawn).sum(1) <= observed).mean()
            low, high = (middle, high) if below >= share else (low, middle)
        return float(low * observed)

    return Estimate(multiple(0.5), multiple(TAIL), multiple(1 - TAIL))
