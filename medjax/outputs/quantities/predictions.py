"""Cases with their quantities and the answer to each."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medjax.evaluation import value_table
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
