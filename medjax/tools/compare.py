"""Paired comparison of models on the same cases.

    python -m experiments.compare A/predictions.csv B/predictions.csv [C/predictions.csv ...]

The files are those of `experiments.classify`, or of `experiments.heatmap`. Prints each metric of A
and B, the difference B - A with its 95 % interval over subjects and the p-value of a paired
permutation test, also corrected for the number of tests (Holm 1979); `--output=FILE` writes them as
JSON. The test's hypothesis is that the answers of two models are exchangeable, subject by subject.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from medjax.config import option
from medjax.data import exams
from medjax.errors import UserError
from medjax.evaluation import metrics, report, stats
from medjax.evaluation.metrics import Metric
from medjax.evaluation.report import Predictions
from medjax.outputs.landmarks import metrics as landmark_metrics
from medjax.outputs.landmarks.report import LandmarkPredictions
from medjax.train.record import write_json


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings of one comparison; its fields are the flags."""

    files: tuple[str, ...] = option((), "predictions.csv of A, B, ... or the folders of their runs")
    samples: int = option(2000, "exchanges of the paired tests")
    seed: int = option(0, "of them")
    radii_mm: tuple[float, ...] = option(
        (2.0, 2.5, 3.0, 4.0, 10.0), "of the success rates of landmarks", item=float
    )
    positive_class: str = option(
        "", "of two classes the one that is looked for; empty: that of A's report, or the second"
    )
    class_order: tuple[str, ...] = option((), "classes in their order, where they have one")
    output: str = option("", "write the numbers here as JSON", path=True)


def main(config: Config) -> None:
    if len(config.files) < 2:
        raise UserError(
            "name two predictions.csv files or more, or the work directories that hold them"
        )
    if config.samples < 1:
        raise UserError(f"`samples={config.samples}`: must be at least 1")
    if min(config.radii_mm, default=0.0) <= 0:
        raise UserError("`radii_mm`: give one or more positive radii")
    first, *others = (_file(name) for name in config.files)
    compared = [_compare(config, read(config, first, other)) for other in others]
    tests = [row for rows in compared for row in rows]
    corrected = iter(stats.holm([c.p_value for _, c in tests]))
    written = {}
    for name, other, rows in zip(config.files[1:], others, compared, strict=True):
        written[name] = _show(config, read(config, first, other), name, rows, corrected)
    if config.output:
        write_json(
            Path(config.output), written if len(others) > 1 else next(iter(written.values()))
        )


Row = tuple[str, stats.Comparison]


def _compare(config: Config, answers: "Answers") -> list[Row]:
    """Each metric; of metrics of found points also with a far distance for those not found."""

    def compare_metric(metric: Metric, a: np.ndarray, b: np.ndarray) -> stats.Comparison:
        return stats.compare(
            metric,
            answers.truth,
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
        a, b = (np.where(np.isnan(x) & answers.truth, far, x) for x in (answers.a, answers.b))
        rows.append(
            (f"error_mm, not found as {far:.3g}", compare_metric(answers.metrics["error_mm"], a, b))
        )
    return rows


def _show(
    config: Config, answers: "Answers", name: str, rows: Sequence[Row], corrected: Any
) -> dict[str, Any]:
    """Prints the table; what is written of it."""
    holm = [next(corrected) for _ in rows]
    shown = [
        (
            metric,
            f"{c.a:.4f}",
            f"{c.b:.4f}",
            f"{c.difference.value:+.4f}",
            ""
            if np.isnan(c.difference.low)
            else f"[{c.difference.low:+.4f}, {c.difference.high:+.4f}]",
            f"{c.p_value:.4f}",
            f"{p:.4f}",
        )
        for (metric, c), p in zip(rows, holm, strict=True)
    ]
    partial = next((c for _, c in rows if c.common < c.points), None)
    report.show(
        f"{len(answers.truth)} cases of {len(set(answers.subject_id))} subjects",
        ("metric", "A", "B", "B - A", "95 % interval", "p", "p (Holm)"),
        shown,
        [
            f"A: {config.files[0]}",
            f"B: {name}",
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


def _file(name: str) -> Path:
    path = Path(name)
    path = path / "predictions.csv" if path.is_dir() else path
    if not path.exists():
        raise UserError(f"{path}: no such file")
    return path


class Answers(NamedTuple):
    """What two models answered to the same cases, as the metrics take it."""

    truth: np.ndarray
    a: np.ndarray
    b: np.ndarray
    subject_id: list[str]
    metrics: dict[str, Metric]


def read(config: Config, first: Path, other: Path) -> Answers:
    """Of classes, or of landmarks where the first file has a column `landmark`.

    Raises:
      UserError: unless both files hold the same cases.
    """
    with first.open(errors="replace") as f:
        landmarks = "landmark" in f.readline().strip().split(",")
    if landmarks:
        p, q = LandmarkPredictions.read(first), LandmarkPredictions.read(other)
        q = align_landmarks(p, q)
        return Answers(
            p.present,
            p.error_mm,
            q.error_mm,
            p.subject_id,
            landmark_metrics.declared(config.radii_mm),
        )
    a, b = Predictions.read(first), Predictions.read(other)
    b = align(a, b)
    wish = config.positive_class or _reported(first.with_name("report.json"))
    positive = exams.positive_of(a.classes, wish)
    if config.class_order:  # in it, so that the distance of two classes is that of their places
        order, _ = exams.order_classes(a.classes, config.class_order)
        a, b = in_order(a, order), in_order(b, order)
    return Answers(
        a.label,
        a.probability,
        b.probability,
        a.subject_id,
        metrics.of_classes(a.classes, positive=positive, ordered=bool(config.class_order)),
    )


def _reported(path: Path) -> str:
    """The positive class of the run that the predictions are of, where it says so."""
    try:
        return str(json.loads(path.read_text()).get("positive") or "")
    except (OSError, ValueError, AttributeError):
        return ""


def in_order(predictions: Predictions, classes: Sequence[str]) -> Predictions:
    """The same with the classes in another order."""
    place = [predictions.classes.index(name) for name in classes]
    return Predictions(
        predictions.case_id,
        predictions.subject_id,
        np.argsort(place)[predictions.label],
        predictions.probability[:, place],
        classes,
    )


def order(a: list[str], b: list[str]) -> list[int]:
    """Where the cases of `a` stand in `b`; raises UserError unless both hold the same."""
    place = {case: i for i, case in enumerate(b)}
    odd = set(a) ^ set(b)
    if odd:
        raise UserError(f"{len(odd)} cases are in one file only, such as {min(odd)!r}")
    if len(place) != len(b) or len(a) != len(b):
        raise UserError("a case stands more than once in a file")
    return [place[case] for case in a]


def align_landmarks(a: LandmarkPredictions, b: LandmarkPredictions) -> LandmarkPredictions:
    """`b` in the order of `a`.

    Raises:
      UserError: unless both hold the same cases with the same landmarks at the same places.
    """
    if a.names != b.names:
        raise UserError("the landmarks differ")
    rows = order(a.case_id, b.case_id)
    if not np.allclose(a.true_mm, b.true_mm[rows], atol=1e-3, equal_nan=True):
        raise UserError("the reference points of some cases differ; these are not the same data")
    return LandmarkPredictions(
        a.case_id,
        a.subject_id,
        a.names,
        b.points_px[rows],
        b.true_px[rows],
        b.points_mm[rows],
        b.true_mm[rows],
        b.confidence[rows],
    )


def align(a: Predictions, b: Predictions) -> Predictions:
    """`b` in the order of `a`.

    Raises:
      UserError: unless both hold the same cases with the same labels and classes.
    """
    if a.classes != b.classes:
        raise UserError(f"the classes differ: {', '.join(a.classes)} and {', '.join(b.classes)}")
    rows = order(a.case_id, b.case_id)
    if (b.label[rows] != a.label).any():
        raise UserError("the labels of some cases differ; these are not the same data")
    return Predictions(a.case_id, a.subject_id, a.label, np.asarray(b.probability)[rows], a.classes)
