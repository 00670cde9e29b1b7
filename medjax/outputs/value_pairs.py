"""Two tables of named values of the same cases, to be compared."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from medjax.errors import UserError
from medjax.evaluation import value_table
from medjax.evaluation.metrics import Metric
from medjax.outputs.base import PairedAnswers, match_cases


def read_values(
    first: Path,
    other: Path,
    prefixes: value_table.Prefixes,
    *,
    what: str,
    metrics_of: Callable[[Sequence[str]], Mapping[str, Metric]],
) -> PairedAnswers:
    """Two `predictions.csv`, the second in the order of the first.

    Args:
      what: the values, as `findings`; metrics_of: their metrics, by their names.

    Raises:
      UserError: unless both hold the same cases with the same references.
    """
    a, b = (value_table.read(path, prefixes) for path in (first, other))
    if a.names != b.names:
        raise UserError(f"the {what} differ: {', '.join(a.names)} and {', '.join(b.names)}")
    rows = match_cases(a, b)
    if not np.array_equal(a.reference, b.reference[rows], equal_nan=True):
        raise UserError(f"the {what} of some cases differ; these are not the same data")
    return PairedAnswers(a.reference, a.answer, b.answer[rows], a.subject_id, metrics_of(a.names))
