"""Cases with their findings and the probability of each."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medjax.evaluation import value_table
from medjax.evaluation.predictions import Predictions

COLUMNS = value_table.Prefixes("present_", "p_")


@dataclasses.dataclass(eq=False, repr=False)
class FindingPredictions(Predictions):
    """Attributes:
    present: `[n, finding]`, 1 or 0; NaN where it is not known.
    probability: `[n, finding]`; names: of the findings.
    """

    case_id: list[str]
    subject_id: list[str]
    present: np.ndarray
    probability: np.ndarray
    names: tuple[str, ...]

    @property
    def table(self) -> tuple[np.ndarray, np.ndarray]:
        return self.present, self.probability

    def write(self, path: Path) -> None:
        """One row a case: case_id, subject_id, `present_NAME` (empty: not known) and `p_NAME`."""
        table = value_table.ValueTable(*(getattr(self, f.name) for f in dataclasses.fields(self)))
        value_table.write(path, table, COLUMNS)

    @classmethod
    def read(cls, path: Path) -> "FindingPredictions":
        """Reads what `write` wrote; raises UserError if the file is not of that form."""
        return cls(*value_table.read(path, COLUMNS))


def recognises(header: Sequence[str]) -> bool:
    """Whether a table has findings."""
    return any(name.startswith(COLUMNS.reference) for name in header)
