"""Two models' transforms of the same pairs."""

from pathlib import Path
from typing import Any

from medjax.errors import UserError
from medjax.outputs.base import PairedAnswers, match_cases
from medjax.outputs.fields import metrics
from medjax.outputs.fields.predictions import FieldPredictions


def read_pair(first: Path, other: Path, settings: Any) -> PairedAnswers:
    """The scores of two `predictions.csv`, the second in the order of the first.

    Raises:
      UserError: unless both hold the same pairs with the same structures.
    """
    a, b = FieldPredictions.read(first), FieldPredictions.read(other)
    if (a.names, a.unit) != (b.names, b.unit):
        raise UserError("the structures differ, or the unit of their distances")
    rows = match_cases(a, b)
    declared = metrics.declared(
        a.names,
        unit=a.unit,
        points=a.has_points and b.has_points,
        places=a.has_places and b.has_places,
    )
    return PairedAnswers(a.present, a.scores, b.scores[rows], a.subject_id, declared)
