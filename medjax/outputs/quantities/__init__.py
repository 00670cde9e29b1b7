"""Quantities: numbers that are predicted from an image, such as an age (regression)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medjax.data.dataset import Split
from medjax.data.info import DatasetInfo
from medjax.evaluation import report
from medjax.evaluation.metrics import Metric
from medjax.evaluation.predictions import LEVEL
from medjax.outputs import exam_images
from medjax.outputs.base import (
    Description,
    Evaluation,
    ModelSpec,
    Output,
    PairedAnswers,
    PairReader,
    Picture,
    Predicted,
    mean_over_seeds,
)
from medjax.outputs.preparing import prepare_images
from medjax.outputs.quantities import metrics, plot, serve
from medjax.outputs.quantities.conformal import find_bound
from medjax.outputs.quantities.predictions import QuantityPredictions
from medjax.outputs.value_pairs import read_values
from medjax.outputs.worst import draw_worst, find_worst
from medjax.typing import Json


def describe(info: DatasetInfo) -> Description:
    """What such a network does."""
    return Description("estimates quantities from an exam image", info.quantities)


def tabulate(split: Split, spec: ModelSpec, predicted: Predicted) -> QuantityPredictions:
    """Answers `[n, quantity]` beside the reference; of new images this is not known."""
    names = spec.info.quantities
    unknown = np.full((len(split), len(names)), np.nan)
    return QuantityPredictions(
        list(split.case_id),
        list(split.subject_id),
        np.asarray(split.targets.get("quantities", unknown), float),
        np.asarray(predicted["quantity"], float),
        names,
    )


def baseline(train: Split, split: Split, spec: ModelSpec) -> tuple[QuantityPredictions, str]:
    """The same answer for every case."""
    middle = np.nanmedian(train["quantities"], 0)
    constant = {"quantity": np.tile(middle, (len(split), 1))}
    return tabulate(split, spec, constant), "the median of the training set for every case"


def declare_metrics(spec: ModelSpec, measures: Any = None) -> dict[str, Metric]:
    """The metrics of the set's quantities."""
    return metrics.declare_metrics(spec.info.quantities)


def details(evaluation: Evaluation[QuantityPredictions]) -> Json:
    """Each quantity by itself, with the interval that holds for further subjects, and how many
    were not known."""
    p, tuned = evaluation.ensemble, evaluation.tuned
    rows = {}
    for place, name in enumerate(p.names):
        error = {"mae": metrics.declare_metrics(p.names)["mae" + f"_{name}" * (len(p.names) > 1)]}
        bound = find_bound(tuned, p, place)
        rows[name] = {
            **p.estimates(error, samples=evaluation.samples),
            "conformal_radius": bound.radius,
            "coverage": bound.coverage,
            "known": int(np.isfinite(p.reference[:, place]).sum()),
        }
    missing = int(np.isnan(p.reference).sum())
    note = f"{missing} of {p.reference.size} quantities are not known, and are left out"
    return {
        "quantities": rows,
        "tables": [_tabulate(rows, on_same=tuned is p)],
        "remarks": [note] if missing else [],
    }


def _share(value: float) -> str:
    return f"{value:.1%}" if np.isfinite(value) else ""


def _tabulate(rows: Mapping[str, Json], *, on_same: bool) -> Json:
    """A row for each quantity.

    Args:
      on_same: intervals were chosen on the cases of the report, so that what they hold tells
        nothing.
    """
    shown = [
        [
            name,
            report.with_interval(row["mae"]),
            f"± {report.digits(row['conformal_radius'], count=3)}"
            if np.isfinite(row["conformal_radius"])
            else "none",
            *([] if on_same else [_share(row["coverage"])]),
            str(row["known"]),
        ]
        for name, row in rows.items()
    ]
    remark = (
        f"The {LEVEL:.0%} interval about an answer is chosen on validation (split conformal "
        "prediction); none: validation has too few subjects for it"
    )
    return {
        "title": "Each quantity",
        "columns": [
            "quantity",
            "mae [95 % interval]",
            f"{LEVEL:.0%} interval",
            *([] if on_same else ["test cases in it"]),
            "known",
        ],
        "rows": shown,
        "remarks": [remark],
    }


def draw(folder: Path, evaluation: Evaluation[QuantityPredictions]) -> list[Picture]:
    """Agreement, coverage, and the images that were answered worst."""
    predictions, tuned = evaluation.ensemble, evaluation.tuned
    plot.draw_agreement(folder / "agreement.png", predictions, tuned)
    pictures = [Picture("agreement.png", "Answers against the reference, and their intervals.")]
    if tuned is not predictions:
        plot.draw_coverage(folder / "coverage.png", predictions, tuned)
        text = "The share of cases that intervals hold, against the share that they are to hold."
        pictures.append(Picture("coverage.png", text))
    # Furthest off in standard deviations of the training, as units differ.
    spread = np.array([sd for _, sd in evaluation.spec.quantity_scale])
    worst = find_worst(np.abs(predictions.answer - predictions.reference) / spread, least=0.0)
    cases = ((case, _tell_error(predictions, case, place)) for case, place in worst)
    return [*pictures, *draw_worst(folder, evaluation, cases)]


def _tell_error(predictions: QuantityPredictions, case: int, place: int) -> str:
    values = predictions.reference[case, place], predictions.answer[case, place]
    truth, answer = (report.digits(value, count=4) for value in values)
    return f"{predictions.names[place]} {truth}, predicted {answer}"


def read_pair(first: Path, other: Path, settings: Any) -> PairedAnswers:
    """As of `outputs.value_pairs.read_values`."""
    return read_values(
        first,
        other,
        QuantityPredictions.COLUMNS,
        what="quantities",
        metrics_of=metrics.declare_metrics,
    )


QUANTITIES: Output[QuantityPredictions] = Output(
    columns=("quantities",),
    describe=describe,
    prepare=prepare_images(exam_images.prepare, from_array=exam_images.from_array),
    tabulate=tabulate,
    ensemble=mean_over_seeds,
    baseline=baseline,
    metrics=declare_metrics,
    details=details,
    draw=draw,
    answer=serve.answers_of,
    decide=serve.decide,
    compare=PairReader(QuantityPredictions.recognises, read_pair),
)
