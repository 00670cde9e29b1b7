"""Cases with their findings and the probability of each."""

import dataclasses

import numpy as np

from medjax.evaluation.value_table import Prefixes, ValuePredictions


@dataclasses.dataclass(eq=False, repr=False)
class FindingPredictions(ValuePredictions):
    """Attributes:
    present: `[n, finding]`, 1 or 0; NaN where it is not known.
    probability: `[n, finding]`; names: of the findings.
    """

    COLUMNS = Prefixes("present_", "p_")

    case_id: list[str]
    subject_id: list[str]
    present: np.ndarray
    probability: np.ndarray
    names: tuple[str, ...]

    @property
    def table(self) -> tuple[np.ndarray, np.ndarray]:
        return self.present, self.probability
