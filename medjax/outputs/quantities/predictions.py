"""Cases with their quantities and the answer to each."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medjax.evaluation import value_table
from medjax.evaluation.intervals import Estimate, bootstrap, without_interval
from medjax.evaluation.metrics import Metric
from medjax.evaluation.predictions import Predictions

COLUMNS = value_table.Prefixes("reference_", "predicted_")


@dataclasses.dataclass(eq=False, repr=False)
class QuantityPredictions(Predictions):
    """Attributes:
    reference: `[n, quantity]`, NaN where it is not known.
    answer: `[n, quantity]`; names: of the quantities.
    """

    case_id: list[str]
    subject_id: list[str]
    reference: np.ndarray
    answer: np.ndarray
    names: tuple[str, ...]

    @property
    def table(self) -> tuple[np.ndarray, np.ndarray]:
        return self.reference, self.answer

    def estimates(self, metrics: Mapping[str, Metric], *, samples: int) -> dict[str, Estimate]:
        """Each metric with its interval over the subjects whose quantities it looks at."""
        return {name: self._estimate(metric, samples) for name, metric in metrics.items()}

    def _estimate(self, metric: Any, samples: int) -> Estimate:
        places = list(metric.keywords["places"])
        known = np.flatnonzero(np.isfinite(self.reference[:, places]).any(1))
        if not len(known):
            return without_interval(np.nan, "no such case")
        who = [self.subject_id[i] for i in known]
        return bootstrap(metric, self.reference[known], self.answer[known], who, samples=samples)

    def errors(self, place: int) -> np.ndarray:
        """How far the answers to one quantity are off, `[n]`; NaN where it is not known."""
        return np.abs(self.answer - self.reference)[:, place]

    def write(self, path: Path) -> None:
        """One row a case: case_id, subject_id, `reference_NAME` (empty: not known) and
        `predicted_NAME`."""
        table = value_table.ValueTable(*(getattr(self, f.name) for f in dataclasses.fields(self)))
        value_table.write(path, table, COLUMNS)

    @classmethod
    def read(cls, path: Path) -> "QuantityPredictions":
        """Reads what `write` wrote; raises UserError if the file is not of that form."""
        return cls(*value_table.read(path, COLUMNS))


def recognises(header: Sequence[str]) -> bool:
    """Whether a table has quantities."""
    return any(name.startswith(COLUMNS.reference) for name in header)
