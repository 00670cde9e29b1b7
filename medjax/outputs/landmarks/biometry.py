"""Lengths between landmarks and circumferences of ellipses, in mm, and their errors."""

from collections.abc import Mapping

import numpy as np

from medjax.data.dataset import Split
from medjax.data.info import DatasetInfo
from medjax.evaluation.metrics import Floats, Metric, mean_defined
from medjax.evaluation.stats import Estimate, bootstrap
from medjax.outputs.landmarks.report import reference

Lengths = dict[str, np.ndarray]  # by name, [n] mm


def measure(info: DatasetInfo, points_mm: np.ndarray) -> Lengths:
    """The lengths and circumferences that `info` names, of points `[n, landmark, ndim]`."""
    index = info.landmarks.index
    out = {
        name: np.linalg.norm(points_mm[:, index(a)] - points_mm[:, index(b)], axis=-1)
        for name, a, b in info.lengths
    }
    return out | {name: circumference(out[a], out[b]) for name, a, b in info.ellipses}


def circumference(long: np.ndarray, short: np.ndarray) -> np.ndarray:
    """Of an ellipse with these axes (whole, not half): Ramanujan's second approximation, 1914."""
    h = ((long - short) / (long + short)) ** 2
    return np.pi / 2 * (long + short) * (1 + 3 * h / (10 + np.sqrt(4 - 3 * h)))


def truth(info: DatasetInfo, split: Split) -> Lengths:
    """As `measure` of the reference's points; where the metadata have `NAME_mm_official`, that."""
    out = measure(info, reference(split)[1])
    for name in out:
        if split.metadata and f"{name}_mm_official" in split.metadata[0]:
            out[name] = np.array([float(m[f"{name}_mm_official"]) for m in split.metadata])
    return out


def nme(true, measured, weight) -> Floats:
    """mean over images of |found - true| / true, lengths in mm"""
    return mean_defined(np.abs(measured - true) / true, weight)


def mae_mm(true, measured, weight) -> Floats:
    """mean over images of |found - true|, mm"""
    return mean_defined(np.abs(measured - true), weight)


METRICS: dict[str, Metric] = {"nme": nme, "mae_mm": mae_mm}


def estimates(
    true: Lengths, measured: Lengths, subjects: list[str], *, samples: int
) -> dict[str, Estimate]:
    """`NAME_nme` and `NAME_mae_mm` of each length, with intervals over subjects."""
    return {
        f"{name}_{kind}": bootstrap(metric, true[name], measured[name], subjects, samples=samples)
        for name in true
        for kind, metric in METRICS.items()
    }


def constant(true: Lengths, train: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The same metrics for a trivial guess: the median length of the training images."""
    unit_weight = np.ones((1, len(next(iter(true.values()), ()))))
    return {
        f"{name}_{kind}": float(
            metric(true[name], np.full_like(true[name], np.nanmedian(train[name])), unit_weight)[0]
        )
        for name in true
        for kind, metric in METRICS.items()
    }
