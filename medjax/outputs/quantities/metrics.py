"""The metrics of quantities: numbers that are predicted from an image, such as an age.

Each takes `reference` `[n, quantity]`, NaN where it is not known, `answer` `[n, quantity]` and
`weight` `[b, n]`, and returns `[b]`. What is not known has no part in it.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np

from medjax.data.dataset import Split
from medjax.data.info import DatasetInfo
from medjax.errors import UserError
from medjax.evaluation.metrics import Floats, Metric, marked, mean_defined, ratio

Array = np.ndarray
_DEFAULT_SCORE = "auc"  # what `best` is where it is not given


@marked(bounds=(0.0, np.inf))
def mae(reference: Array, answer: Array, weight: Array, *, places: Sequence[int]) -> Floats:
    """mean absolute error, in the unit of the quantity"""
    return _mean_of_known(np.abs(answer - reference)[:, places], reference[:, places], weight)


@marked(bounds=(0.0, np.inf))
def mse(reference: Array, answer: Array, weight: Array, *, places: Sequence[int]) -> Floats:
    """mean squared error"""
    return _mean_of_known(((answer - reference) ** 2)[:, places], reference[:, places], weight)


def _mean_of_known(error: Array, reference: Array, weight: Array) -> Floats:
    """The mean of errors, NaN where a case with weight has a reference and no answer."""
    bad = (np.isnan(error) & ~np.isnan(reference)).any(1)
    return np.where(weight @ bad > 0, np.nan, mean_defined(error, weight))


@marked(bounds=(-np.inf, 1.0))
def r2(reference: Array, answer: Array, weight: Array, *, places: Sequence[int]) -> Floats:
    """coefficient of determination: 1 minus the squared errors over those of the mean of the cases
    themselves; of several quantities the mean"""
    return np.mean([_r2_of_one(reference[:, j], answer[:, j], weight) for j in places], 0)


def _r2_of_one(reference: Array, answer: Array, weight: Array) -> Floats:
    known = np.isfinite(reference)
    truth, weights = reference[known], weight[:, known]
    error = weights @ (answer[known] - truth) ** 2
    centre = ratio(weights @ truth, weights.sum(1))
    spread = (weights * (truth - centre[:, None]) ** 2).sum(1)
    return 1.0 - ratio(error, spread)


def declare_metrics(names: Sequence[str]) -> dict[str, Metric]:
    """All metrics by name: of one quantity `mae`, `mse` and `r2`; of several, which have units of
    their own, those of each, and the mean of all R2."""
    kinds = {"mae": mae, "mse": mse, "r2": r2}
    if len(names) == 1:
        return {name: partial(metric, places=[0]) for name, metric in kinds.items()}
    out: dict[str, Metric] = {"r2": partial(r2, places=range(len(names)))}
    for place, name in enumerate(names):
        out |= {f"{kind}_{name}": partial(m, places=[place]) for kind, m in kinds.items()}
    return out


def choose_score(wish: str, validation: Split, info: DatasetInfo) -> str:
    """The metric that chooses the checkpoint; the loss where none of quantities is wished for.

    Raises:
      UserError: for a metric of classes.
    """
    if wish in declare_metrics(info.quantities):
        return wish
    if wish != _DEFAULT_SCORE:
        raise UserError(
            f"`best={wish}` is for classes; with one quantity give mae or mse, or leave it out: "
            "the loss chooses the checkpoint"
        )
    return "loss"
