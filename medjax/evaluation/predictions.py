"""What all predictions of a split have in common, whatever a network answers with."""

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from medjax.data.dataset import Split
from medjax.errors import UserError
from medjax.evaluation import stats
from medjax.evaluation.metrics import Metric, evaluate, traits_of
from medjax.evaluation.stats import Comparison, Estimate, bootstrap
from medjax.files import read_table

Kind = TypeVar("Kind", bound="Predictions")
LEVEL = 0.9  # share of further subjects whose error a bound is to hold


class Predictions:
    """Base of the predictions of n cases, beside their reference.

    Attributes:
      case_id, subject_id: `[n]`.
    """

    case_id: list[str]
    subject_id: list[str]

    def __str__(self) -> str:
        columns = ", ".join(vars(self))
        return f"{type(self).__name__} of {len(self.case_id)} cases: {columns}"

    @property
    def table(self) -> tuple[np.ndarray, np.ndarray]:
        """What metrics take: the reference and the answers, `[n, ...]` each."""
        raise NotImplementedError

    def at_worst(self: Kind, split: Split) -> Kind:
        """These as they choose a checkpoint: what was not found counts as if it was found at the
        worst place, so that nothing is gained by finding less."""
        return self

    def write(self, path: Path) -> None:
        """Writes `predictions.csv`."""
        raise NotImplementedError

    def write_files(self, folder: Path) -> tuple[str, ...]:
        """Writes `predictions.csv` and what else there is, of which it gives the names."""
        self.write(folder / "predictions.csv")
        return ()

    @classmethod
    def concatenate(cls: type[Kind], tables: "Sequence[Kind]") -> Kind:
        """The cases of several tables of one kind, one after the other.

        Of a dataclass whose arrays and lists have one entry a case; others have their own.
        """
        first = vars(tables[0])
        joined = {
            name: np.concatenate([vars(t)[name] for t in tables])
            if isinstance(value, np.ndarray)
            else [entry for t in tables for entry in vars(t)[name]]
            if isinstance(value, list)
            else value
            for name, value in first.items()
        }
        return cls(**joined)

    def values(self, metrics: Mapping[str, Metric]) -> dict[str, float]:
        """Each metric without interval."""
        table = self.table
        return {name: evaluate(metric, *table) for name, metric in metrics.items()}

    def judged(self, metrics: Mapping[str, Metric], split: Split) -> dict[str, float]:
        """Each metric as it chooses a checkpoint, by `at_worst`; counts are as they are."""
        worst = self.at_worst(split)
        if worst is self:
            return self.values(metrics)
        counts = {name: m for name, m in metrics.items() if traits_of(m).scale == "count"}
        return {**worst.values(metrics), **self.values(counts)}

    def estimates(self, metrics: Mapping[str, Metric], *, samples: int) -> dict[str, Estimate]:
        """Each metric with its interval over subjects."""
        table = self.table
        return {
            name: bootstrap(metric, *table, self.subject_id, samples=samples)
            for name, metric in metrics.items()
        }

    def compare(self, other: "Predictions", metric: Metric, *, samples: int) -> Comparison:
        """The other's value minus this one's on the same cases: interval and p-value."""
        reference, answers = self.table
        return stats.compare(
            metric, reference, answers, other.table[1], self.subject_id, samples=samples
        )


def read_predictions(path: Path) -> tuple[list[str], list[list[str]]]:
    """The header and the rows of a `predictions.csv`; raises UserError if it cannot be read."""
    try:
        head, *rows = read_table(path)
        return head, rows
    except (OSError, ValueError, UnicodeDecodeError, csv.Error) as e:
        raise UserError(f"{path}: not a readable predictions.csv ({e})") from None


class ConformalBound(NamedTuple):
    """What errors of further subjects stay below, and the share of known errors that it holds for;
    NaN where there are none but those that chose it, or validation has too few for a bound."""

    radius: float
    coverage: float


def conformal_bound(
    error: Callable[[Kind], np.ndarray],
    tuned: Kind,
    predictions: Kind,
    *,
    level: float = LEVEL,
) -> ConformalBound:
    """As of `stats.conformal_radius`, for 90 % of further subjects.

    Args:
      error: of each case of a table, `[n]`.
      tuned: the table on validation, which chooses; predictions: that of the report, which may be
        the same.
    """
    radius = stats.conformal_radius(error(tuned), level=level, subjects=tuned.subject_id)
    if tuned is predictions or not np.isfinite(radius):
        return ConformalBound(radius, np.nan)
    reported = error(predictions)  # NaN is not known, and has no part in it
    held = np.where(np.isnan(reported), np.nan, reported <= radius)
    return ConformalBound(radius, float(stats.nan_mean(held)))
