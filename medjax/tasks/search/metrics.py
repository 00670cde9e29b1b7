"""Metrics of landmark search, each declared here once; `outputs.landmarks.metrics` has those of a
point's error.

Each takes `present` `[n, agent]` (the reference has the point), `found` `[n, agent, 3]` (error in
mm, NaN where the agent has left the volume; steps; status of `environment`), where an agent
is a search for one landmark from one start, and `weight` `[b, n]`, and returns `[b]`.
"""

from collections.abc import Callable, Sequence

import numpy as np

from medjax.evaluation.metrics import Floats, Metric, marked, mean_defined, traits_of
from medjax.evaluation.stats import nan_mean
from medjax.outputs.landmarks import metrics as landmark_metrics
from medjax.tasks.search.environment import LEFT, RESTED


def steps_to_rest(present, outcomes, weight) -> Floats:
    """mean number of moves of the searches that came to rest"""
    rested = present & (outcomes[..., 2] == RESTED)
    return mean_defined(np.where(rested, outcomes[..., 1], np.nan), weight)


@marked(scale="rate")
def left_volume(present, outcomes, weight) -> Floats:
    """share of searches that left the volume: they declare the landmark absent"""
    return mean_defined(np.where(present, outcomes[..., 2] == LEFT, np.nan), weight)


@marked(scale="rate")
def never_rested(present, outcomes, weight) -> Floats:
    """share of searches that were cut off before they came to rest"""
    ended = np.isin(outcomes[..., 2], (RESTED, LEFT))
    return mean_defined(np.where(present, ~ended, np.nan), weight)


def of_error(metric: Metric) -> Metric:
    """A metric of `landmark_metrics`, of each search."""

    @marked(**traits_of(metric)._replace(of_found=False)._asdict())
    def metric_of_error(present, outcomes, weight) -> Floats:
        return metric(present, outcomes[..., 0], weight)

    metric_of_error.__doc__ = getattr(metric, "func", metric).__doc__
    return metric_of_error


def declared(radii_mm: Sequence[float]) -> dict[str, Callable]:
    """All metrics by name, the success rates at these radii."""
    points = landmark_metrics.declared(radii_mm)
    of_points = ("error_mm", "error_mm_median", "error_mm_sd", *(f"sdr_{r:g}mm" for r in radii_mm))
    return {
        **{name: of_error(points[name]) for name in of_points},
        "steps_to_rest": steps_to_rest,
        "left_volume": left_volume,
        "never_rested": never_rested,
    }


def variance_shares(error_mm: np.ndarray) -> dict[str, float]:
    """How much of the variance of errors `[n, landmark, seed, start]` comes from where.

    The sums of squares of a nested analysis of variance, over their total: `volume` between the
    means of volumes and landmarks, `seed` between the means of seeds within those, `start` between
    the starts within a seed. Errors that are undefined count nowhere.
    """
    known = ~np.isnan(error_mm)
    cell = _mean(error_mm, 3)
    place = _mean(error_mm, (2, 3))
    parts = {
        "volume": place - _mean(error_mm, (0, 1, 2, 3)),
        "seed": cell - place,
        "start": error_mm - cell,
    }
    squares = {name: float(np.where(known, part**2, 0.0).sum()) for name, part in parts.items()}
    total = sum(squares.values())
    return {name: s / total if total else np.nan for name, s in squares.items()}


def nan_mean_of_volumes(error_mm: np.ndarray) -> np.ndarray:
    """The mean error of each volume, `[n]`, of errors `[n, landmark, seed, start]`."""
    return nan_mean(error_mm.reshape(len(error_mm), -1), axis=1)


def _mean(values: np.ndarray, axis: int | tuple[int, ...]) -> np.ndarray:
    known = ~np.isnan(values)
    count = np.maximum(known.sum(axis, keepdims=True), 1)
    return np.where(known, values, 0.0).sum(axis, keepdims=True) / count
