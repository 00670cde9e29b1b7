"""Cases with their quantities and the answer to each."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from medjax.evaluation.intervals import Estimate, bootstrap, without_interval
from medjax.evaluation.metrics import Metric
from medjax.evaluation.value_table import Prefixes, ValuePredictions


@dataclasses.dataclass(eq=False, repr=False)
class QuantityPredictions(ValuePredictions):
    """Attributes:
    reference: `[n, quantity]`, NaN where it is not known.
    answer: `[n, quantity]`; names: of the quantities.
    """

    COLUMNS = Prefixes("reference_", "predicted_")

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
