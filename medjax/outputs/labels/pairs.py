"""Two classifiers' answers to the same cases."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from medjax.data import exams
from medjax.errors import UserError
from medjax.outputs.base import PairedAnswers, match_cases
from medjax.outputs.labels import metrics
from medjax.outputs.labels.predictions import LabelPredictions


class ClassSettings(Protocol):
    """What a comparison may say of classes.

    Attributes:
      positive_class: of two classes the one that is looked for; empty: that of the first report.
      class_order: classes in their order, where they have one.
    """

    @property
    def positive_class(self) -> str: ...

    @property
    def class_order(self) -> tuple[str, ...]: ...


def read_pair(first: Path, other: Path, settings: ClassSettings) -> PairedAnswers:
    """Two `predictions.csv`, the second in the order of the first; errors as of `align`."""
    a, b = LabelPredictions.read(first), LabelPredictions.read(other)
    b = align(a, b)
    wish = settings.positive_class or _reported(first.with_name("report.json"))
    positive = exams.positive_of(a.classes, wish)
    if settings.class_order:  # in it, so that the distance of two classes is that of their places
        order, _ = exams.order_classes(a.classes, settings.class_order)
        a, b = in_order(a, order), in_order(b, order)
    declared = metrics.of_classes(a.classes, positive=positive, ordered=bool(settings.class_order))
    return PairedAnswers(a.label, a.probability, b.probability, a.subject_id, declared)


def _reported(path: Path) -> str:
    """The positive class of the run that the predictions are of, where it says so."""
    try:
        return str(json.loads(path.read_text()).get("positive") or "")
    except (OSError, ValueError, AttributeError):
        return ""


def in_order(predictions: LabelPredictions, classes: Sequence[str]) -> LabelPredictions:
    """The same with the classes in another order."""
    place = [predictions.classes.index(name) for name in classes]
    return LabelPredictions(
        predictions.case_id,
        predictions.subject_id,
        np.argsort(place)[predictions.label],
        predictions.probability[:, place],
        classes,
    )


def align(a: LabelPredictions, b: LabelPredictions) -> LabelPredictions:
    """`b` with cases and classes in the order of `a`.

    Raises:
      UserError: unless both hold the same cases with the same labels and classes.
    """
    if set(a.classes) != set(b.classes):
        raise UserError(f"the classes differ: {', '.join(a.classes)} and {', '.join(b.classes)}")
    b = in_order(b, a.classes)
    rows = match_cases(a, b)
    if (b.label[rows] != a.label).any():
        raise UserError("the labels of some cases differ; these are not the same data")
    return LabelPredictions(
        a.case_id, a.subject_id, a.label, np.asarray(b.probability)[rows], a.classes
    )
