"""Two models' masks of the same cases."""

from pathlib import Path
from typing import Any

import numpy as np

from medjax.errors import UserError
from medjax.outputs.base import PairedAnswers, match_cases
from medjax.outputs.masks import instances, metrics
from medjax.outputs.masks.report import TOLERANCE, MaskPredictions


def read_pair(first: Path, other: Path, settings: Any) -> PairedAnswers:
    """The scores of two `predictions.csv`, the second in the order of the first.

    Raises:
      UserError: unless both hold the same cases with the same structures and references.
    """
    a, b = MaskPredictions.read(first), MaskPredictions.read(other)
    if (a.names, a.unit) != (b.names, b.unit):
        raise UserError("the structures differ, or the unit of their distances")
    rows = match_cases(a, b)
    if not np.allclose(a.sizes[..., 1], b.sizes[rows, :, 1], rtol=1e-4):
        raise UserError("the reference masks of some cases differ; these are not the same data")
    declared = metrics.declared(a.names, tolerance=TOLERANCE, unit=a.unit)
    of_things = instances.METRICS if a.things.shape[1] else {}
    scores = a.table[1], b.table[1][rows]
    return PairedAnswers(a.present, *scores, a.subject_id, declared | of_things)
