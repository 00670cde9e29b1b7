"""What all predictions of a split have in common, whatever a network answers with."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from medjax.evaluation import stats
from medjax.evaluation.metrics import Metric, evaluate
from medjax.evaluation.stats import Comparison, Estimate, bootstrap


class Predictions:
    """Base of the predictions of n cases, beside their reference.

    Attributes:
      case_id, subject_id: `[n]`.
    """

    case_id: list[str]
    subject_id: list[str]

    @property
    def table(self) -> tuple[np.ndarray, np.ndarray]:
        """What metrics take: the reference and the answers, `[n, ...]` each."""
        raise NotImplementedError

    def write(self, path: Path) -> None:
        """Writes `predictions.csv`."""
        raise NotImplementedError

    def write_files(self, folder: Path) -> tuple[str, ...]:
        """Writes `predictions.csv` and what else there is, of which it gives the names."""
        self.write(folder / "predictions.csv")
        return ()

    def values(self, metrics: Mapping[str, Metric]) -> dict[str, float]:
        """Each metric without interval."""
        table = self.table
        return {name: evaluate(metric, *table) for name, metric in metrics.items()}

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
