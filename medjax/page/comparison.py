"""The page of several runs on the same cases."""

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import medjax
from medjax.evaluation import report
from medjax.evaluation.stats import Estimate
from medjax.files import write_bytes
from medjax.page.parts import draw_bar, load_template
from medjax.typing import Json


class Compared(NamedTuple):
    """A metric of two runs.

    Attributes:
      metric: its name; a, b: its values.
      difference: b - a, with its interval; p_value, p_holm: of the paired test.
    """

    metric: str
    a: float
    b: float
    difference: Estimate
    p_value: float
    p_holm: float


def write_comparison(
    path: Path, *, names: Sequence[str], population: str, rows: Sequence[Sequence[Compared]]
) -> None:
    """Writes the page of several runs: the first against each of the others.

    Args:
      names: of the runs, A first; population: what was compared, in words.
      rows: for each other run, its metrics.
    """
    letters = [_letter(i) for i in range(len(names))]
    pairs = [
        {
            "letter": letter,
            "rows": [_compared_row(row) for row in part],
            "notes": report.reasons({row.metric: row.difference for row in part}),
        }
        for letter, part in zip(letters[1:], rows, strict=True)
    ]
    page = load_template("comparison.html.j2").render(
        version=medjax.__version__,
        date=time.strftime("%Y-%m-%d"),
        names=list(zip(letters, names, strict=True)),
        population=population,
        pairs=pairs,
        tests=sum(map(len, rows)),
    )
    write_bytes(path, page.encode())


def _letter(index: int) -> str:
    """A to Z, then 27, 28, ..."""
    return chr(ord("A") + index) if index < 26 else str(index + 1)


def _compared_row(row: Compared) -> Json:
    low, high = row.difference.low, row.difference.high
    interval = "" if math.isnan(low) else f" [{low:+.4f}, {high:+.4f}]"
    return {
        "name": row.metric,
        "a": f"{row.a:.4f}",
        "b": f"{row.b:.4f}",
        "difference": f"{row.difference.value:+.4f}{interval}",
        "p": f"{row.p_value:.4f}",
        "p_holm": f"{row.p_holm:.4f}",
        "bar": draw_bar(row.difference, around_zero=True),
    }
