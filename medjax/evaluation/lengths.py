"""Errors of lengths and circumferences of images, in mm."""

from collections.abc import Mapping, Sequence

import numpy as np

from medjax.evaluation.metrics import Floats, Metric, evaluate, mean_defined
from medjax.evaluation.stats import Estimate, bootstrap

Lengths = dict[str, np.ndarray]  # by name, [n] mm


def prefer_official(measured: Lengths, metadata: Sequence[Mapping[str, str]]) -> Lengths:
    """The lengths with those that the metadata of the images have as `NAME_mm_official`."""
    official = {
        name: np.array([float(m[f"{name}_mm_official"]) for m in metadata])
        for name in measured
        if metadata and f"{name}_mm_official" in metadata[0]
    }
    return measured | official


def nme(true: Floats, measured: Floats, weight: Floats) -> Floats:
    """mean over images of |found - true| / true, lengths in mm"""
    return mean_defined(np.abs(measured - true) / true, weight)


def mae_mm(true: Floats, measured: Floats, weight: Floats) -> Floats:
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


def values(true: Lengths, measured: Lengths) -> dict[str, float]:
    """The same without intervals."""
    return {
        f"{name}_{kind}": evaluate(metric, true[name], measured[name])
        for name in true
        for kind, metric in METRICS.items()
    }
