"""Paired comparison of models on the same cases.

    medjax compare A/predictions.csv B/predictions.csv [C/predictions.csv ...]

The files are those of `medjax classify` or `medjax heatmap`, or the folders of such runs. Prints
each metric of A and B, the difference B - A with its 95 % interval over subjects and the p-value of
a paired permutation test, also corrected for the number of tests (Holm 1979); `--output=FILE`
writes them as JSON, `--html=FILE` as a page. The test's hypothesis is that the answers of two
models are exchangeable, subject by subject.
"""

import csv
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medjax import page
from medjax.config import option
from medjax.errors import UserError
from medjax.evaluation import report, stats
from medjax.evaluation.metrics import Metric
from medjax.outputs.base import PairedAnswers
from medjax.tasks.families import known_outputs
from medjax.train.record import write_json
from medjax.typing import Json


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings of one comparison; its fields are the flags."""

    files: tuple[str, ...] = option(
        (), "predictions.csv of A, B, ... or the folders of their runs", positional=True
    )
    samples: int = option(2000, "exchanges of the paired tests", least=1)
    seed: int = option(0, "of them", least=0)
    radii_mm: tuple[float, ...] = option(
        (2.0, 2.5, 3.0, 4.0, 10.0), "of the success rates of landmarks", item=float
    )
    positive_class: str = option(
        "", "of two classes the one that is looked for; empty: that of A's report, or the second"
    )
    class_order: tuple[str, ...] = option((), "classes in their order, where they have one")
    output: str = option("", "write the numbers here as JSON", path=True)
    html: str = option("", "write a page of the comparison here", path=True)


def main(config: Config) -> Json:
    """Prints the comparison, and gives what `output` holds."""
    if len(config.files) < 2:
        raise UserError(
            "name two predictions.csv files or more, or the work directories that hold them"
        )
    first, *others = (_file(name) for name in config.files)
    compared = [_compare(config, read_pair(config, first, other)) for other in others]
    tests = [row for rows in compared for row in rows]
    corrected = iter(stats.holm([c.p_value for _, c in tests]))
    written, pages = {}, []
    for name, other, rows in zip(config.files[1:], others, compared, strict=True):
        holm = [next(corrected) for _ in rows]
        pages.append(
            [
                page.Compared(metric, c.a, c.b, c.difference, c.p_value, p)
                for (metric, c), p in zip(rows, holm, strict=True)
            ]
        )
        written[name] = _show(config, read_pair(config, first, other), name, rows, holm)
    if config.html:
        answers = read_pair(config, first, others[0])
        page.write_comparison(
            Path(config.html),
            names=[_describe_run(name, short=True) for name in config.files],
            population=_population(answers),
            rows=pages,
        )
        print(f"wrote {config.html}")
    result = written if len(others) > 1 else next(iter(written.values()))
    if config.output:
        write_json(Path(config.output), result)
    return result


Row = tuple[str, stats.Comparison]


def _compare(config: Config, answers: PairedAnswers) -> list[Row]:
    """Each metric; of metrics of found points also with a far distance for those not found."""

    def compare_metric(metric: Metric, a: np.ndarray, b: np.ndarray) -> stats.Comparison:
        return stats.compare(
            metric,
            answers.reference,
            a,
            b,
            answers.subject_id,
            samples=config.samples,
            seed=config.seed,
        )

    rows = [
        (name, compare_metric(metric, answers.a, answers.b))
        for name, metric in answers.metrics.items()
    ]
    lost = any(c.common < c.points for _, c in rows)
    if lost and "error_mm" in answers.metrics:
        far = float(np.nanmax([answers.a, answers.b]))
        a, b = (np.where(np.isnan(x) & answers.reference, far, x) for x in (answers.a, answers.b))
        rows.append(
            (f"error_mm, not found as {far:.3g}", compare_metric(answers.metrics["error_mm"], a, b))
        )
    return rows


def _population(answers: PairedAnswers) -> str:
    count, subjects = len(answers.reference), len(set(answers.subject_id))
    return (
        f"{count} cases, each its own subject"
        if count == subjects
        else (f"{count} cases of {subjects} subjects")
    )


def _show(
    config: Config, answers: PairedAnswers, name: str, rows: Sequence[Row], holm: Sequence[float]
) -> Json:
    """Prints the table; what is written of it."""
    shown = [
        (
            metric,
            f"{c.a:.4f}",
            f"{c.b:.4f}",
            f"{c.difference.value:+.4f}"
            + (
                ""
                if np.isnan(c.difference.low)
                else f" [{c.difference.low:+.4f}, {c.difference.high:+.4f}]"
            ),
            f"{c.p_value:.4f}",
            f"{p:.4f}",
        )
        for (metric, c), p in zip(rows, holm, strict=True)
    ]
    partial = next((c for _, c in rows if c.common < c.points), None)
    report.show(
        _population(answers),
        ("metric", "A", "B", "B - A [95 % interval]", "p", "p (Holm)"),
        shown,
        [
            f"A: {_describe_run(config.files[0])}",
            f"B: {_describe_run(name)}",
            *(
                [
                    f"distances are of the {partial.common} of {partial.points} points that "
                    "both have found"
                ]
                if partial
                else []
            ),
            *report.reasons({metric: c.difference for metric, c in rows}),
            "p: of exchanging the answers of A and B, subject by subject; corrected for "
            "all tests shown by Holm's method",
        ],
    )
    return {
        metric: {
            "a": c.a,
            "b": c.b,
            "difference": report.estimate_to_dict(c.difference),
            "p_value": c.p_value,
            "p_holm": p,
        }
        for (metric, c), p in zip(rows, holm, strict=True)
    }


def _describe_run(name: str, *, short: bool = False) -> str:
    """The name of a run, in short without the folders it lies in, and what was trained there."""
    shown = Path(name).name if short else name
    try:
        r = json.loads(Path(name, "report.json").read_text())
        return f"{shown} ({r['model']}, best step {report.best_steps(r)}, {r['date']})"
    except (OSError, ValueError, KeyError, TypeError):  # of a table alone, or an older run
        return shown


def _file(name: str) -> Path:
    path = Path(name)
    if path.is_dir():  # of a search one answer a volume, where each start has a row else
        names = ("consensus.csv", "predictions.csv")
        path = next((path / n for n in names if (path / n).exists()), path / names[-1])
    if not path.exists():
        raise UserError(f"{path}: no such file")
    return path


def read_pair(config: Config, first: Path, other: Path) -> PairedAnswers:
    """The answers of two files, which whoever recognises the first one's header reads.

    Raises:
      UserError: unless both files hold the same cases.
    """
    with first.open(errors="replace", newline="") as f:
        header = next(csv.reader(f), [])
    kinds = [output.compare for output in known_outputs()]
    known = next((c for c in kinds if c and c.recognises(header)), None)
    if known is None:
        raise UserError(f"{first}: no predictions.csv of a kind that is compared")
    others, plain = {name for c in kinds if c for name in c.settings} - {*known.settings}, Config()
    idle = next((n for n in sorted(others) if getattr(config, n) != getattr(plain, n)), None)
    if idle is not None:
        raise UserError(f"`{idle}`: says nothing of {first}; leave it out")
    return known.read_pair(first, other, config)
