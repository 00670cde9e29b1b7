"""The metrics of findings: several labels an image, each present, absent or not known.

Each takes `present` `[n, finding]` of 1, 0 and NaN where it is not known, `probability`
`[n, finding]` and `weight` `[b, n]`, and returns `[b]`. What is not known has no part in it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from medjax.data.dataset import Split
from medjax.data.info import DatasetInfo
from medjax.errors import UserError
from medjax.evaluation.intervals import bootstrap, without_interval
from medjax.evaluation.metrics import (
    Floats,
    Metric,
    auc,
    binary_auc,
    by_order,
    marked,
    of_finite,
    ratio,
)
from medjax.evaluation.metrics import binary_average_precision as binary_precision

Array = np.ndarray
Binary = Callable[[Array, Array, Array], Floats]
_CALLED = 0.5  # a finding is called present from this probability on


def _over_findings(metric: Binary, present: Array, probability: Array, weight: Array) -> Floats:
    """The mean over findings of `metric(score, present, weight)`; undefined where one is."""
    by_finding = []
    for truth, score in zip(present.T, probability.T, strict=True):
        known = np.isfinite(truth)
        by_finding.append(metric(score[known], truth[known], weight[:, known]))
    return np.mean(by_finding, axis=0)


@marked(bounds=(0.0, 1.0), by_class=True, ranks=by_order)
@of_finite
def macro_auc(present: Array, probability: Array, weight: Array) -> Floats:
    """area under the ROC curve, mean over findings"""
    return _over_findings(binary_auc, present, probability, weight)


@marked(bounds=(0.0, 1.0), by_class=True, ranks=by_order)
@of_finite
def macro_average_precision(present: Array, probability: Array, weight: Array) -> Floats:
    """area under precision over recall, mean over findings"""
    return _over_findings(binary_precision, present, probability, weight)


@marked(bounds=(0.0, 1.0), by_class=True)
@of_finite
def macro_f1(present: Array, probability: Array, weight: Array) -> Floats:
    """2 TP / (2 TP + FP + FN) from a probability of 0.5 on, mean over findings"""

    def f1(score: Array, truth: Array, weight: Array) -> Floats:
        called = score >= _CALLED
        hits = weight @ (called * truth)
        return ratio(2 * hits, weight @ called + weight @ truth)

    return _over_findings(f1, present, probability, weight)


def _over_known(value: Array, present: Array, weight: Array) -> Floats:
    """The mean of `[n, finding]` over all that is known."""
    known = np.isfinite(present)
    return ratio(weight @ np.where(known, value, 0.0).sum(1), weight @ known.sum(1))


@marked(bounds=(0.0, 1.0))
@of_finite
def accuracy(present: Array, probability: Array, weight: Array) -> Floats:
    """share of known findings that are called right from a probability of 0.5 on"""
    return _over_known((probability >= _CALLED) == (present == 1), present, weight)


@marked(bounds=(0.0, 1.0))
@of_finite
def brier(present: Array, probability: Array, weight: Array) -> Floats:
    """mean squared difference of probability and finding, over known findings"""
    return _over_known((probability - present) ** 2, present, weight)


METRICS: dict[str, Metric] = {
    "auc": macro_auc,
    "average_precision": macro_average_precision,
    "f1": macro_f1,
    "accuracy": accuracy,
    "brier": brier,
}


NEED_BOTH = ("auc", "average_precision")


def choose_score(wish: str, validation: Split, info: DatasetInfo) -> str:
    """The metric that chooses the checkpoint: the one that is wished for, or the loss where
    validation lacks cases that it needs.

    Raises:
      UserError: for one of classes alone.
    """
    if wish not in METRICS:
        raise UserError(f"`best={wish}`: of several findings an image: {', '.join(METRICS)}")
    present = validation["findings"]
    both = ((present == 1).any(0) & (present == 0).any(0)).all()
    if both or wish not in NEED_BOTH:
        return wish
    lacking = [n for n, x in zip(info.findings, present.T, strict=True) if {0, 1} - set(x)]
    print(
        f"note: {wish} is undefined on validation, which has {', '.join(lacking)} never or always: "
        "the loss chooses the checkpoint"
    )
    return "loss"


def by_finding(
    present: Array, probability: Array, names: Sequence[str], subjects: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """AUC with its interval, average precision, how many have it, and of how many it is known."""
    out: dict[str, dict[str, Any]] = {}
    for name, truth, score in zip(names, present.T, probability.T, strict=True):
        known = np.isfinite(truth)
        who = np.asarray(subjects)[known].tolist()
        both = np.stack([1 - score[known], score[known]], 1)
        weight = np.ones((1, int(known.sum())))
        area = (
            bootstrap(auc, truth[known].astype(int), both, who)
            if known.any()
            else without_interval(np.nan, "no such case")
        )
        out[name] = {
            "auc": area,
            "average_precision": float(binary_precision(score[known], truth[known], weight)[0]),
            "present": int(truth[known].sum()),
            "known": int(known.sum()),
        }
    return out
