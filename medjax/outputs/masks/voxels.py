"""Voxels of two classes as single decisions: AUC, and F1 at a threshold from validation.

What vessels and other thin structures are published with. All voxels of all images count alike, by
histograms of the probability that stand for them; of so many bins, a value is exact to a bin.
"""

from functools import partial

import numpy as np

from medjax.evaluation.metrics import Floats, Metric, evaluate, marked, ratio
from medjax.evaluation.stats import Estimate, bootstrap

BINS = 1000


def histogram(probability: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """How many voxels of the background, and of the structure, have each probability: `[2, BINS]`.

    Args:
      probability: of the structure, `[*space]`; mask: 1 where it is, 0 where it is not.
    """
    bins = np.clip((probability.reshape(-1) * BINS).astype(int), 0, BINS - 1)
    flat = mask.reshape(-1)
    counts = [np.bincount(bins[flat == value], minlength=BINS) for value in (0, 1)]
    return np.stack(counts).astype(np.float64)


@marked(scale="share", bounds=(0.0, 1.0))
def auc(positive, negative, weight) -> Floats:
    """area under the ROC curve of all voxels"""
    hits, others = weight @ positive, weight @ negative  # [b, BINS]
    below = np.cumsum(others, 1) - others
    return ratio((hits * (below + others / 2)).sum(1), hits.sum(1) * others.sum(1))


@marked(scale="share", bounds=(0.0, 1.0))
def f1(positive, negative, weight, *, first: int) -> Floats:
    """2 TP / (2 TP + FP + FN) of all voxels, at the threshold that is best on validation"""
    hits, others = weight @ positive, weight @ negative
    true = hits[:, first:].sum(1)
    return ratio(2 * true, true + others[:, first:].sum(1) + hits.sum(1))


def choose_bin(histograms: np.ndarray) -> int:
    """The first bin that counts as the structure, for the largest F1 of cases `[n, 2, BINS]`."""
    negative, positive = histograms.sum(0)
    true = np.cumsum(positive[::-1])[::-1]
    false = np.cumsum(negative[::-1])[::-1]
    return int(np.argmax(2 * true / np.maximum(true + false + positive.sum(), 1)))


def declared(first: int) -> dict[str, Metric]:
    """By name, with the first bin that counts as the structure."""
    return {"auc": auc, "f1": partial(f1, first=first)}


def values(histograms: np.ndarray, first: int) -> dict[str, float]:
    """The metrics of cases `[n, 2, BINS]`."""
    sides = histograms[:, 1], histograms[:, 0]
    return {name: evaluate(metric, *sides) for name, metric in declared(first).items()}


def estimates(
    histograms: np.ndarray, first: int, subjects: list[str], *, samples: int
) -> dict[str, Estimate]:
    """The same with intervals over subjects."""
    sides = histograms[:, 1], histograms[:, 0]
    return {
        name: bootstrap(metric, *sides, subjects, samples=samples)
        for name, metric in declared(first).items()
    }
