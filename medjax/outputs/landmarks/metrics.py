"""Landmark metrics, each declared here once, with example weights for many weightings at once.

Each takes `present` `[n, landmark]` (the reference has the point), `error_mm` `[n, landmark]` (the
Euclidean distance, NaN where the network found none) and `weight` `[b, n]`, and returns `[b]`.
A point that the reference lacks counts nowhere; one that was not found has no error, but it is no
success either.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np

from medjax.errors import UserError
from medjax.evaluation.metrics import Floats, Metric, marked, mean_defined, ratio


@marked(of_found=True)
def error_mm(present, error_mm, weight) -> Floats:
    """mean distance of found points, mm"""
    return mean_defined(np.where(present, error_mm, np.nan), weight)


@marked(scale="median", of_found=True)
def error_mm_median(present, error_mm, weight) -> Floats:
    """median distance of found points, mm"""
    is_found = present & ~np.isnan(error_mm)
    case, _ = np.nonzero(is_found)
    values = error_mm[is_found]
    if not len(values):
        return np.full(len(weight), np.nan)
    order = np.argsort(values, kind="stable")
    below = np.cumsum(weight[:, case[order]], 1)
    half = below[:, -1:] / 2
    last = len(values) - 1
    low = np.minimum((below < half).sum(1), last)
    high = np.minimum((below <= half).sum(1), last)
    middle = (values[order][low] + values[order][high]) / 2
    return np.where(half[:, 0] > 0, middle, np.nan)


@marked(of_found=True, fewest=50)
def error_mm_sd(present, error_mm_, weight) -> Floats:
    """standard deviation of the distance of found points, mm"""
    square = error_mm(present, error_mm_**2, weight) - error_mm(present, error_mm_, weight) ** 2
    return np.sqrt(np.maximum(square, 0.0))


@marked(of_found=True)
def image_error_mm(present, error_mm, weight) -> Floats:
    """mean over images of the mean distance within the image, mm"""
    is_found = present & ~np.isnan(error_mm)
    by_image = ratio(np.where(is_found, error_mm, 0.0).sum(1), is_found.sum(1))
    return mean_defined(by_image, weight)


@marked(scale="rate")
def sdr(present, error_mm, weight, *, radius_mm: float) -> Floats:
    """share of all points found nearer than the radius (<); one that was not found is not"""
    hits = present & (np.nan_to_num(error_mm, nan=np.inf) < radius_mm)
    return ratio(weight @ hits.sum(1), weight @ present.sum(1))


@marked(scale="count")
def outliers(present, error_mm, weight, *, radius_mm: float) -> Floats:
    """number of found points as far as the radius or farther (>=)"""
    return weight @ (present & (error_mm >= radius_mm)).sum(1).astype(float)


@marked(scale="count")
def not_found(present, error_mm, weight) -> Floats:
    """number of points of the reference for which the network found none"""
    return weight @ (present & np.isnan(error_mm)).sum(1).astype(float)


def declared(radii_mm: Sequence[float]) -> dict[str, Metric]:
    """All metrics by name, the success rates at these radii, the outliers at the last."""
    last = radii_mm[-1]
    return {
        "error_mm": error_mm,
        "error_mm_median": error_mm_median,
        "error_mm_sd": error_mm_sd,
        "image_error_mm": image_error_mm,
        **{f"sdr_{r:g}mm": partial(sdr, radius_mm=r) for r in radii_mm},
        f"outliers_{last:g}mm": partial(outliers, radius_mm=last),
        "not_found": not_found,
    }


def check_radii(radii_mm: Sequence[float]) -> None:
    """Raises UserError unless there are radii, and all are positive."""
    if min(radii_mm, default=0.0) <= 0:
        raise UserError("`radii_mm`: give one or more positive radii")
