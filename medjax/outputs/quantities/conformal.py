"""Intervals about quantities that hold for a share of further subjects, by what validation has
shown (split conformal prediction)."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from medjax.evaluation import stats
from medjax.evaluation.predictions import share_within
from medjax.outputs.base import read_number
from medjax.outputs.quantities.predictions import QuantityPredictions
from medjax.typing import JsonView

LEVEL = 0.9  # share of further subjects whose quantity an interval is to hold
LEVELS = tuple(np.round(np.linspace(0.1, 0.9, 9), 1).tolist())


def find_radius(tuned: QuantityPredictions, place: int, *, level: float = LEVEL) -> float:
    """Half of the interval about every answer; infinite where validation is too small.

    Args:
      tuned: predictions of validation; place: of the quantity.
    """
    return stats.conformal_radius(tuned.errors(place), level=level, subjects=tuned.subject_id)


def find_coverage(predictions: QuantityPredictions, place: int, radius: float) -> float:
    """The share of known quantities that the intervals hold; NaN where none is known."""
    return share_within(predictions.errors(place), radius)


def cover_levels(
    tuned: QuantityPredictions, predictions: QuantityPredictions, place: int
) -> np.ndarray:
    """The coverage at each of `LEVELS`, NaN where validation is too small for it."""
    radii = [find_radius(tuned, place, level=level) for level in LEVELS]
    return np.array(
        [find_coverage(predictions, place, r) if np.isfinite(r) else np.nan for r in radii]
    )


def read_radii(report: JsonView, names: tuple[str, ...]) -> dict[str, float]:
    """The radius of each quantity in a report, which may be a stranger's: those that are numbers
    from 0 on."""
    rows: Any = report.get("quantities")
    known = rows if isinstance(rows, Mapping) else {}
    radii = {name: read_number(known.get(name), "conformal_radius") for name in names}
    return {name: radius for name, radius in radii.items() if radius is not None and radius >= 0}
