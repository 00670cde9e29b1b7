"""Operating points of two classes, and the temperature of probabilities: chosen on validation."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from medjax.config import option
from medjax.evaluation import report
from medjax.outputs.base import read_number
from medjax.outputs.labels.metrics import rate_of
from medjax.outputs.labels.predictions import LabelPredictions
from medjax.typing import Json

_LEAST = 1e-12  # probability, of which a logarithm is taken
_TEMPERATURES = (1 / 20, 20.0)


@dataclasses.dataclass(frozen=True)
class OperatingOptions:
    """What operating points are to hold, on validation."""

    least_sensitivity: float = option(
        0.95,
        "two classes, findings: of the operating point with most specificity",
        least=0,
        below=1,
    )
    least_specificity: float = option(
        0.95,
        "two classes, findings: of the operating point with most sensitivity",
        least=0,
        below=1,
    )
    miss_cost: float = option(
        1.0,
        "two classes, findings: of a missed case against a false alarm, of the cheapest point",
        least=0,
    )


class OperatingPoint(NamedTuple):
    """A case is called positive from this probability on.

    Attributes:
      name: what it is chosen by; threshold: of the positive class.
    """

    name: str
    threshold: float


def choose_points(
    predictions: LabelPredictions, positive: int, options: OperatingOptions
) -> list[OperatingPoint]:
    """The thresholds of two classes; none where one of them has no case.

    Between two probabilities that occur the threshold is in their middle, so that a case like
    neither is not decided by rounding. Youden, Index for rating diagnostic tests (Cancer 1950):
    sensitivity plus specificity.

    Args:
      predictions: of validation.
      positive: the number of the class that is looked for.
    """
    true, score = predictions.label == positive, predictions.probability[:, positive]
    if not 0 < true.sum() < len(true):
        return []
    values = np.unique(score)
    # Above the last one nothing is called, though a probability may be 1 exactly.
    nothing = np.nextafter(1.0, 2.0)
    thresholds = np.concatenate([[0.0], (values[1:] + values[:-1]) / 2, [nothing]])
    # Below each threshold; by order, as a table of thresholds by cases grows with their square.
    misses, rejected = (
        np.searchsorted(np.sort(score[side]), thresholds, side="left") for side in (true, ~true)
    )
    alarms = (~true).sum() - rejected
    sensitivity, specificity = 1 - misses / true.sum(), rejected / (~true).sum()

    def best(name: str, gain: np.ndarray) -> OperatingPoint:
        # Of equal ones the middle one: as far from either side as can be.
        ties = np.flatnonzero(gain == gain.max())
        return OperatingPoint(name, float(thresholds[ties[len(ties) // 2]]))

    enough = options.least_sensitivity, options.least_specificity
    return [
        best("Youden", sensitivity + specificity),
        best(
            f"sensitivity >= {enough[0]:g}",
            np.where(sensitivity >= enough[0], specificity, -1.0),
        ),
        best(
            f"specificity >= {enough[1]:g}",
            np.where(specificity >= enough[1], sensitivity, -1.0),
        ),
        best(
            f"a miss costs {options.miss_cost:g} x an alarm", -(options.miss_cost * misses + alarms)
        ),
    ]


def read_thresholds(points: Any) -> dict[str, float]:
    """The thresholds of points in a report, which may be a stranger's, by what chose them; those
    that are no numbers are left out."""
    return {
        str(point["chosen_by"]): threshold
        for point in (points if isinstance(points, list) else ())
        if (threshold := read_number(point, "threshold")) is not None and "chosen_by" in point
    }


def describe_point(point: OperatingPoint, predictions: LabelPredictions, positive: int) -> Json:
    """What a point does to cases that had no part in it, with intervals over subjects."""
    true = predictions.label == positive
    called = predictions.probability[:, positive] >= point.threshold
    return {
        "chosen_by": point.name,
        "threshold": point.threshold,
        "sensitivity": rate_of(called, true, predictions.subject_id),
        "specificity": rate_of(~called, ~true, predictions.subject_id),
        "positive_predictive_value": rate_of(true, called, predictions.subject_id),
        "negative_predictive_value": rate_of(~true, ~called, predictions.subject_id),
    }


def fit_temperature(predictions: LabelPredictions) -> float:
    """The temperature at which probabilities have the least cross-entropy.

    Guo et al., On calibration of modern neural networks (ICML 2017), section 4.2; of answers of an
    ensemble, whose logits are taken to be the logarithms of its probabilities.

    Args:
      predictions: of validation.
    """
    from scipy.optimize import minimize_scalar  # here, as it takes a quarter of a second to load

    bounds = tuple(np.log(_TEMPERATURES))

    def loss(log_temperature: float) -> float:
        return cross_entropy(cool(predictions, float(np.exp(log_temperature))))

    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x))


def cool(predictions: LabelPredictions, temperature: float) -> LabelPredictions:
    """The same with their logits divided by a temperature; order and most probable class stay."""
    return predictions.with_probability(soften(predictions.probability, temperature))


def soften(probability: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities `[n, class]` whose logits are divided by a temperature."""
    logits = np.log(np.maximum(probability, _LEAST)) / temperature
    exponential = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(exponential / exponential.sum(1, keepdims=True))


def cross_entropy(predictions: LabelPredictions) -> float:
    """The mean over cases of `-log p` of the true class, nats."""
    p = predictions.probability[np.arange(len(predictions.label)), predictions.label]
    return float(-np.log(np.maximum(p, _LEAST)).mean())


def describe_temperature(
    tuned: LabelPredictions,
    predictions: LabelPredictions,
    ece: Callable[[LabelPredictions], float],
) -> Json:
    """The temperature of validation, and what it changes on the cases of the report.

    Args:
      ece: the expected calibration error of predictions.
    """
    temperature = fit_temperature(tuned)
    cooled = cool(predictions, temperature)
    return {
        "temperature": temperature,
        "cross_entropy": cross_entropy(predictions),
        "cross_entropy_after": cross_entropy(cooled),
        "ece": ece(predictions),
        "ece_after": ece(cooled),
    }


def tabulate_points(points: list[Json], *, positive: str, on_same: bool) -> Json:
    """A row for each point.

    Args:
      on_same: they were chosen on the cases that they are shown for.
    """
    shown = ("sensitivity", "specificity", "positive_predictive_value", "negative_predictive_value")
    rows = [
        [
            point["chosen_by"],
            f"{point['threshold']:.3f}",
            *(report.with_interval(point[name]) for name in shown),
        ]
        for point in points
    ]
    same = "; on the very cases that are reported, so these are optimistic" * on_same
    return {
        "title": f"Operating points of {positive}",
        "columns": ["chosen by", "threshold", "sensitivity", "specificity", "PPV", "NPV"],
        "rows": rows,
        "remarks": [f"thresholds are chosen on validation{same}"],
    }
