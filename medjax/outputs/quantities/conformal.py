"""Intervals about quantities that hold for a share of further subjects, by what validation has
shown (split conformal prediction)."""

import numpy as np

from medjax.evaluation.predictions import LEVEL, ConformalBound, conformal_bound
from medjax.outputs.base import read_number
from medjax.outputs.quantities.predictions import QuantityPredictions
from medjax.typing import JsonView

LEVELS = tuple(np.round(np.linspace(0.1, 0.9, 9), 1).tolist())


def find_bound(
    tuned: QuantityPredictions,
    predictions: QuantityPredictions,
    place: int,
    *,
    level: float = LEVEL,
) -> ConformalBound:
    """Half of the interval about every answer, infinite where validation is too small for the
    level, and the share of the cases of the report that it holds.

    Args:
      tuned: predictions of validation; place: of the quantity.
    """
    return conformal_bound(lambda table: table.errors(place), tuned, predictions, level=level)


def read_radii(report: JsonView, names: tuple[str, ...]) -> dict[str, float]:
    """The radius of each quantity in a report, which may be a stranger's: those that are numbers
    from 0 on."""
    radii = {name: read_number(report, "quantities", name, "conformal_radius") for name in names}
    return {name: radius for name, radius in radii.items() if radius is not None and radius >= 0}
