"""Two models' landmarks on the same cases."""

from pathlib import Path
from typing import Protocol

import numpy as np

from medjax.errors import UserError
from medjax.outputs.base import PairedAnswers, match_cases
from medjax.outputs.landmarks import metrics
from medjax.outputs.landmarks.report import LandmarkPredictions


class Radii(Protocol):
    """What a comparison may say of landmarks: the radii of the success rates, mm."""

    @property
    def radii_mm(self) -> tuple[float, ...]: ...


def read_pair(first: Path, other: Path, settings: Radii) -> PairedAnswers:
    """Two `predictions.csv`, the second in the order of the first; errors as of `align`."""
    metrics.check_radii(settings.radii_mm)
    a, b = LandmarkPredictions.read(first), LandmarkPredictions.read(other)
    b = align(a, b)
    declared = metrics.declared(settings.radii_mm)
    return PairedAnswers(a.present, a.error_mm, b.error_mm, a.subject_id, declared)


def align(a: LandmarkPredictions, b: LandmarkPredictions) -> LandmarkPredictions:
    """`b` in the order of `a`.

    Raises:
      UserError: unless both hold the same cases with the same landmarks at the same places.
    """
    if a.names != b.names:
        raise UserError("the landmarks differ")
    rows = match_cases(a, b)
    if not np.allclose(a.true_mm, b.true_mm[rows], atol=1e-3, equal_nan=True):
        raise UserError("the reference points of some cases differ; these are not the same data")
    return LandmarkPredictions(
        a.case_id,
        a.subject_id,
        a.names,
        b.points_px[rows],
        b.true_px[rows],
        b.points_mm[rows],
        b.true_mm[rows],
        b.confidence[rows],
    )
