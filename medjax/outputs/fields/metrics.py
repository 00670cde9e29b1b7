"""Registration metrics, each declared here once, with example weights for many weightings at once.

Each takes `present` `[n, class]` (the fixed image has the structure), `scores` `[n, k]`, with the
columns that `ScoreColumns` names, and `weight` `[b, n]`, and returns `[b]`. What is undefined is
NaN and counts nowhere.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from medjax.evaluation.metrics import Floats, Metric, marked, mean_defined, ratio
from medjax.evaluation.stats import nan_mean
from medjax.outputs.masks import metrics as mask_metrics

_WORST = 0.3  # of the pairs


class ScoreColumns(NamedTuple):
    """Where scores stand: Dice and HD95 of each structure, then the rest."""

    classes: int

    @property
    def dice(self) -> slice:
        return slice(0, self.classes)

    @property
    def hd95(self) -> slice:
        return slice(self.classes, 2 * self.classes)

    @property
    def tre(self) -> int:
        return 2 * self.classes

    @property
    def field_error(self) -> int:
        return 2 * self.classes + 1

    @property
    def folding(self) -> int:
        return 2 * self.classes + 2

    @property
    def log_jacobian_sd(self) -> int:
        return 2 * self.classes + 3

    @property
    def correlation(self) -> int:
        return 2 * self.classes + 4

    @property
    def width(self) -> int:
        return 2 * self.classes + 5


def score_masks(
    warped: np.ndarray, fixed: np.ndarray, *, classes: int, spacing: np.ndarray
) -> Floats:
    """Dice and HD95 of each structure of two masks `[*space]`: `[class, 2]`; distances as of
    `outputs.masks.metrics.score`."""
    labels = range(1, classes + 1)
    if not classes:
        return np.zeros((0, 2))
    scores = mask_metrics.score(warped, fixed, labels=labels, spacing=spacing, tolerance=1.0)
    which = [mask_metrics.MEASURES.index(name) for name in ("dice", "hd95")]
    return scores[:, which]


def score_jacobian(determinant: np.ndarray) -> Floats:
    """The share of voxels that fold, and the standard deviation of the logarithm of the
    determinant, which is held above 1e-3 there (Learn2Reg, Hering et al., IEEE TMI 42, 2023)."""
    logarithm = np.log(np.clip(determinant, 1e-3, 1e3))
    return np.array([(determinant <= 0).mean(), logarithm.std()])


@marked(scale="share", bounds=(0.0, 1.0))
def dice(present, scores, weight, *, places: slice) -> Floats:
    """mean Dice overlap of structures, of the moving mask as it is warped and the fixed one"""
    return mean_defined(scores[:, places], weight)


@marked(scale="share", bounds=(0.0, 1.0))
def dice_worst_30(present, scores, weight, *, places: slice) -> Floats:
    """mean of the 30 % of pairs whose mean Dice is the lowest"""
    return _mean_lowest(nan_mean(scores[:, places], axis=1), weight)


def _mean_lowest(values: Floats, weight: Floats) -> Floats:
    """The mean of the lowest part of the weight, of values `[n]`."""
    order = np.argsort(values, kind="stable")
    known = order[~np.isnan(values[order])]
    weights = weight[:, known].astype(float)
    upto = np.cumsum(weights, 1)
    room = _WORST * weights.sum(1, keepdims=True)
    taken = np.clip(room - (upto - weights), 0.0, weights)
    return ratio(taken @ values[known], taken.sum(1))


@marked(bounds=(0.0, np.inf))
def hd95(present, scores, weight, *, places: slice) -> Floats:
    """mean over structures of the 95th percentile of the distances between surfaces, the larger of
    both directions"""
    return mean_defined(scores[:, places], weight)


@marked(bounds=(0.0, np.inf))
def tre(present, scores, weight, *, place: int) -> Floats:
    """target registration error: mean distance of where points of the fixed image are taken from
    where they are in the moving one"""
    return mean_defined(scores[:, place], weight)


@marked(bounds=(0.0, np.inf))
def field_error(present, scores, weight, *, place: int) -> Floats:
    """error of the field itself, where the deformation was made and is known: mean distance of
    where places of the fixed image are taken from where they are, in voxels of the moving one"""
    return mean_defined(scores[:, place], weight)


@marked(scale="share", bounds=(0.0, 1.0))
def folding(present, scores, weight, *, place: int) -> Floats:
    """share of voxels of the fixed image where the transform folds (its Jacobian is not above 0)"""
    return mean_defined(scores[:, place], weight)


@marked(bounds=(0.0, np.inf))
def log_jacobian_sd(present, scores, weight, *, place: int) -> Floats:
    """mean over pairs of the standard deviation of the logarithm of the Jacobian determinant"""
    return mean_defined(scores[:, place], weight)


@marked(bounds=(-1.0, 1.0))
def correlation(present, scores, weight, *, place: int) -> Floats:
    """correlation of the intensities of the fixed and the warped image, where neither masks nor
    points tell more; what looks alike need not be the same place"""
    return mean_defined(scores[:, place], weight)


def declared(classes: Sequence[str], *, unit: str, points: bool, places: bool) -> dict[str, Metric]:
    """All metrics by name.

    Args:
      classes: the names of the structures; without any there are no overlaps.
      unit: of distances, `mm`, or `vox` where the size of voxels is not known.
      points, places: whether both images have landmarks, and other places that are known.
    """
    at = ScoreColumns(len(classes))
    out: dict[str, Metric] = {}
    if classes:
        out |= {
            "dice": partial(dice, places=at.dice),
            "dice_worst_30": partial(dice_worst_30, places=at.dice),
            f"hd95_{unit}": partial(hd95, places=at.hd95),
        }
    if points:
        out[f"tre_{unit}"] = partial(tre, place=at.tre)
    if places:
        out["field_error_vox"] = partial(field_error, place=at.field_error)
    if not (classes or points or places):
        out["correlation"] = partial(correlation, place=at.correlation)
    out |= {
        "folding": partial(folding, place=at.folding),
        "log_jacobian_sd": partial(log_jacobian_sd, place=at.log_jacobian_sd),
    }
    return out
