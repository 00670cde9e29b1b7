"""Tables with a column of reference and one of answers for each of several names."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from medjax.errors import UserError
from medjax.evaluation.predictions import Predictions, read_predictions
from medjax.files import write_table


class ValueTable(NamedTuple):
    """Attributes:
    case_id, subject_id: `[n]`.
    reference: `[n, name]`, NaN where it is not known; answer: `[n, name]`; names: of both.
    """

    case_id: list[str]
    subject_id: list[str]
    reference: np.ndarray
    answer: np.ndarray
    names: tuple[str, ...]


class Prefixes(NamedTuple):
    """What stands before a name in the header: of the reference, and of the answer."""

    reference: str
    answer: str

    def header(self, names: Sequence[str]) -> list[str]:
        """The columns of a table."""
        return ["case_id", "subject_id", *(prefix + name for prefix in self for name in names)]


def write(path: Path, values: ValueTable, prefixes: Prefixes) -> None:
    """One row a case; what is not known is empty, whole numbers of the reference have no point."""
    rows = (
        [case, who, *map(_shown, truth), *answer]
        for case, who, truth, answer in zip(*values[:4], strict=True)
    )
    write_table(path, prefixes.header(values.names), rows)


def _shown(value: float) -> str | float:
    if np.isnan(value):
        return ""
    return int(value) if float(value).is_integer() else float(value)


def read(path: Path, prefixes: Prefixes) -> ValueTable:
    """Reads what `write` wrote.

    Raises:
      UserError: if the file is not of that form; it names the line.
    """
    head, rows = read_predictions(path)
    first = prefixes.reference
    names = tuple(h.removeprefix(first) for h in head if h.startswith(first))
    if head != prefixes.header(names) or not names or not rows:
        raise UserError(
            f"{path}: expected the columns case_id, subject_id, {first}NAME and "
            f"{prefixes.answer}NAME of each name, and one row a case"
        )
    values = []
    for number, row in enumerate(rows, start=2):
        try:
            values.append([float(v) if v else np.nan for v in row[2:]])
            answers = values[-1][len(names) :]
            if (
                len(row) != len(head)
                or not np.isfinite(answers).all()
                or np.isinf(values[-1]).any()
            ):
                raise ValueError("a value is missing or not finite")
        except ValueError as e:
            raise UserError(f"{path}, line {number}: {e}") from None
    reference, answer = np.split(np.array(values), 2, 1)
    return ValueTable([r[0] for r in rows], [r[1] for r in rows], reference, answer, names)


class ValuePredictions(Predictions):
    """Base of dataclasses whose fields are those of a `ValueTable`, in its order, by names of their
    own."""

    COLUMNS: ClassVar[Prefixes]

    def write(self, path: Path) -> None:
        """One row a case: case_id, subject_id, the reference of each name (empty: not known), and
        each answer."""
        write(path, ValueTable(*vars(self).values()), self.COLUMNS)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads what `write` wrote; raises UserError if the file is not of that form."""
        make: Any = cls  # a dataclass, which this base is not
        made: Self = make(*read(path, cls.COLUMNS))
        return made

    @classmethod
    def recognises(cls, header: Sequence[str]) -> bool:
        """Whether a table is one of these."""
        return any(name.startswith(cls.COLUMNS.reference) for name in header)
