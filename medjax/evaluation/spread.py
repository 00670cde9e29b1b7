"""How a metric varies from subject to subject: its values with each of them left out."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from medjax.evaluation.metrics import Metric, traits_of

_BLOCK = 200  # weightings held in memory at once
_MOST_PARTS = 500  # of more subjects groups are left out, not single ones


class Spread(NamedTuple):
    """How a metric varies from subject to subject.

    Attributes:
      value: with all subjects.
      influence: what each subject, or group of them, adds to it; their mean is 0: `[parts]`.
    """

    value: float
    influence: np.ndarray

    @property
    def error(self) -> float:
        """The standard error of the value."""
        return float(
            np.sqrt((self.influence**2).sum() * (len(self.influence) - 1) / len(self.influence))
        )

    @property
    def freedom(self) -> float:
        """How many degrees of freedom that standard error has: by the kurtosis of the influences,
        as few subjects may make most of it (after Satterthwaite 1946)."""
        return _freedom(self.influence, len(self.influence) - 1)

    @property
    def skewness(self) -> float:
        square = (self.influence**2).mean()
        return float((self.influence**3).mean() / square**1.5) if square > 0 else 0.0


def _freedom(influence: np.ndarray, most: float) -> float:
    square = (influence**2).sum()
    if square <= 0:
        return 1.0
    kurtosis = len(influence) * (influence**4).sum() / square**2
    return float(np.clip(2 * len(influence) / max(kurtosis - 1, 1e-9), 1.0, max(most, 1.0)))


def jackknife(values: np.ndarray, value: float) -> Spread:
    """The spread of a metric, from its values without each part of the subjects."""
    return Spread(value, values.mean() - values)


def left_out(subjects: Sequence[str]) -> np.ndarray:
    """Weights that leave each subject out in turn, or of many subjects each of 500 groups of them:
    `[parts, n]`."""
    _, index = np.unique(np.asarray(subjects), return_inverse=True)
    count = int(index.max()) + 1
    if count > _MOST_PARTS:
        index = np.random.default_rng(0).permutation(np.arange(count) % _MOST_PARTS)[index]
        count = _MOST_PARTS
    return (index[None] != np.arange(count)[:, None]).astype(float)


def without_value(
    metric: Metric,
    label: np.ndarray,
    answers: Sequence[np.ndarray],
    weights: np.ndarray,
    change: np.ndarray,
) -> np.ndarray:
    """Which parts of the subjects have no value by themselves and change that of the others in
    nothing, as images without any of the points that a metric is about: `[parts]`.

    Args:
      answers: of each model that is measured.
      weights: as of `left_out`.
      change: of the metric when each part is left out.
    """
    out = np.abs(change) < 1e-12
    if traits_of(metric).by_class:  # of which a subject alone tells nothing
        out[:] = False
    if out.any():
        alone = [blockwise(metric, label, answer, 1 - weights[out]) for answer in answers]
        out[out] = np.isnan(alone).any(0)
    return out


def blockwise(
    metric: Metric, label: np.ndarray, probability: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """The metric for each row of weights, a few rows at a time."""
    parts = [
        metric(label, probability, weights[i : i + _BLOCK]) for i in range(0, len(weights), _BLOCK)
    ]
    return np.concatenate(parts)
