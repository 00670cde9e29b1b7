"""The metrics of classes, by name."""

import functools
from collections.abc import Mapping, Sequence

import numpy as np

from medjax.data.dataset import Split
from medjax.data.info import DatasetInfo
from medjax.errors import UserError
from medjax.evaluation import metrics
from medjax.evaluation.intervals import Estimate, bootstrap, without_interval
from medjax.evaluation.metrics import Metric, ratio
from medjax.evaluation.predictions import Predictions

CLASSIFICATION: dict[str, Metric] = {
    "auc": metrics.auc,
    "accuracy": metrics.accuracy,
    "balanced_accuracy": metrics.balanced_accuracy,
    "f1": metrics.f1,
    "average_precision": metrics.average_precision,
    "kappa": metrics.kappa,
    "ece": metrics.ece,
    "brier": metrics.brier,
}


# What classes without an order do not have.
ORDERED: dict[str, Metric] = {
    "kappa_quadratic": metrics.kappa_quadratic,
    "mae": metrics.mae,
    "mse": metrics.mse,
}


LOWER_IS_BETTER = ("ece", "brier", "mae", "mse")


NEEDS_EVERY_CLASS = ("auc", "average_precision", "balanced_accuracy", "f1")


NAMES = (*CLASSIFICATION, *ORDERED)


def choose_score(wish: str, validation: Split, info: DatasetInfo) -> str:
    """The metric that chooses the checkpoint: the one that is wished for, or the loss where
    validation lacks a class that it needs.

    Raises:
      UserError: if it is for classes with an order, and these have none.
    """
    if wish not in of_classes(info.classes, positive=info.positive, ordered=info.ordered):
        raise UserError(
            f"`best={wish}`: the classes of {info.name} have no order; declare it with "
            "`class_order`, or choose another"
        )
    there = set(validation["label"].tolist())
    lacking = [c for i, c in enumerate(info.classes) if i not in there]
    if not lacking or wish not in NEEDS_EVERY_CLASS:
        return wish
    print(
        f"note: {wish} is undefined on validation, which has no {', '.join(lacking)}: the loss "
        "chooses the checkpoint"
    )
    return "loss"


def is_higher_better(score: str) -> bool:
    """Whether more of what chooses a checkpoint, a metric or the loss, is better."""
    return score not in (*LOWER_IS_BETTER, "loss")


def find_best(tables: Sequence[Predictions], declared: Mapping[str, Metric], name: str) -> int:
    """The number of the table with the best value of a metric; undefined is worse than any."""
    sign = 1 if is_higher_better(name) else -1
    values = [sign * table.values({name: declared[name]})[name] for table in tables]
    return int(np.argmax(np.nan_to_num(values, nan=-np.inf)))


def of_classes(
    classes: Sequence[str], *, positive: str = "", ordered: bool = False
) -> dict[str, Metric]:
    """The metrics of these classes by name.

    Args:
      positive: of two classes the one of which F1 and average precision are; empty: the second.
      ordered: the classes have an order, which the metrics of grades use.
    """
    declared: dict[str, Metric] = {}
    for name, metric in CLASSIFICATION.items():
        declared[name] = metric
        if name == "kappa" and ordered:
            declared |= ORDERED
    if len(classes) == 2 and positive:
        number = list(classes).index(positive)
        declared |= {
            "f1": functools.partial(metrics.f1, positive=number),
            "average_precision": functools.partial(metrics.average_precision, positive=number),
        }
    return declared


@metrics.marked(scale="rate")
def share_of_hits(hit: np.ndarray, _: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """share of cases that are hits"""
    return ratio(weight @ hit, weight.sum(1))


def rate_of(hit: np.ndarray, counted: np.ndarray, subjects: Sequence[str]) -> Estimate:
    """The share of hits among the cases that are counted, `[n]` each, with its interval."""
    if not counted.any():
        return without_interval(np.nan, "no such case")
    who = np.asarray(subjects)[counted].tolist()
    return bootstrap(share_of_hits, hit[counted], hit[counted], who)


def class_intervals(
    label: np.ndarray, probability: np.ndarray, classes: Sequence[str], subjects: Sequence[str]
) -> dict[str, dict[str, Estimate]]:
    """Sensitivity, specificity, predictive values and AUC of each class with their intervals over
    subjects; each rate is over the cases that it is a share of."""
    guess, out = probability.argmax(1), {}
    for c, name in enumerate(classes):
        true, predicted = label == c, guess == c
        against_rest = np.stack([1 - probability[:, c], probability[:, c]], 1)
        out[name] = {
            "sensitivity": rate_of(predicted, true, subjects),
            "specificity": rate_of(~predicted, ~true, subjects),
            "positive_predictive_value": rate_of(true, predicted, subjects),
            "negative_predictive_value": rate_of(~true, ~predicted, subjects),
            "auc": bootstrap(metrics.auc, true.astype(int), against_rest, subjects),
        }
    return out


def by_class(
    label: np.ndarray, probability: np.ndarray, classes: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Sensitivity, specificity, positive predictive value, AUC and support of each class; NaN where
    undefined."""
    unit_weight = np.ones((1, len(label)))
    table = metrics.confusion(label, probability, unit_weight)[0]
    out = {}
    for c, name in enumerate(classes):
        hit, true, predicted = table[c, c], table[c].sum(), table[:, c].sum()
        other = table.sum() - true
        out[name] = {
            "sensitivity": float(ratio(hit, true)),
            "specificity": float(ratio(other - predicted + hit, other)),
            "positive_predictive_value": float(ratio(hit, predicted)),
            "auc": float(
                metrics.binary_auc(probability[:, c], (label == c).astype(float), unit_weight)[0]
            ),
            "support": int(true),
        }
    return out
