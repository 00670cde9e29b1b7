"""Cases with their findings and the probability of each."""

import dataclasses
from pathlib import Path

import numpy as np

from medjax.errors import UserError
from medjax.evaluation.predictions import Predictions, read_predictions
from medjax.files import write_table

_PRESENT, _PROBABILITY = "present_", "p_"


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
        header = ["case_id", "subject_id", *(_PRESENT + n for n in self.names)]
        rows = (
            [case, who, *("" if np.isnan(x) else int(x) for x in truth), *p]
            for case, who, truth, p in zip(
                self.case_id, self.subject_id, self.present, self.probability, strict=True
            )
        )
        write_table(path, [*header, *(_PROBABILITY + n for n in self.names)], rows)

    @classmethod
    def read(cls, path: Path) -> "FindingPredictions":
        """Reads what `write` wrote.

        Raises:
          UserError: if the file is not of that form; it names the line.
        """
        head, rows = read_predictions(path)
        names = tuple(h.removeprefix(_PRESENT) for h in head if h.startswith(_PRESENT))
        marks = [prefix + name for prefix in (_PRESENT, _PROBABILITY) for name in names]
        if head != ["case_id", "subject_id", *marks] or not names or not rows:
            raise UserError(
                f"{path}: expected the columns case_id, subject_id, present_NAME and p_NAME of "
                "each finding, and one row a case"
            )
        values = []
        for number, row in enumerate(rows, start=2):
            try:
                values.append([float(v) if v else np.nan for v in row[2:]])
                if len(row) != len(head) or not np.isfinite(values[-1][len(names) :]).all():
                    raise ValueError("a value is missing or not finite")
            except ValueError as e:
                raise UserError(f"{path}, line {number}: {e}") from None
        table = np.array(values)
        present, probability = table[:, : len(names)], table[:, len(names) :]
        return cls([r[0] for r in rows], [r[1] for r in rows], present, probability, names)
