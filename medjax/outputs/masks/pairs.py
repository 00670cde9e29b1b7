"""Two models' masks of the same cases."""

import functools
from pathlib import Path
from typing import Any

import numpy as np

from medjax.errors import UserError
from medjax.evaluation.metrics import Metric
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
    rows = match_cases(a.case_id, b.case_id)
    if not np.allclose(a.sizes[..., 1], b.sizes[rows, :, 1], rtol=1e-4):
        raise UserError("the reference masks of some cases differ; these are not the same data")
    declared = metrics.declared(a.names, tolerance=TOLERANCE, unit=a.unit)
    if not a.things.shape[1]:
        return PairedAnswers(a.present, a.scores, b.scores[rows], a.subject_id, declared)
    of_things = {name: _of_things(metric) for name, metric in instances.METRICS.items()}
    scores = [np.concatenate([x.scores, x.things[:, None]], -1) for x in (a, b)]
    every = {**declared, **of_things}
    return PairedAnswers(a.present, scores[0], scores[1][rows], a.subject_id, every)


def _of_things(metric: Metric) -> Metric:
    """A metric of single things, of scores behind those of their structure."""

    @functools.wraps(metric)
    def behind(present, scores, weight):
        return metric(scores[:, 0, len(metrics.MEASURES) :], present, weight)

    return behind
