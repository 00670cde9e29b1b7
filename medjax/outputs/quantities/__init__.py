"""Quantities: numbers that an image stands for, as an age or a density (regression)."""

from pathlib import Path
from typing import Any

import numpy as np

from medjax.data.dataset import Split
from medjax.data.info import DatasetInfo
from medjax.evaluation import report, stats
from medjax.evaluation.metrics import Metric
from medjax.evaluation.plot import save_image
from medjax.outputs import exam_images
from medjax.outputs.base import (
    WORST_CASES,
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
from medjax.outputs.quantities.conformal import LEVEL, find_coverage, find_radius
from medjax.outputs.quantities.predictions import COLUMNS, QuantityPredictions, recognises
from medjax.outputs.value_pairs import read_values
from medjax.typing import Json


def describe(info: DatasetInfo) -> Description:
    """What such a network does."""
    return Description("tells quantities of an exam image", info.quantities)


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
    return metrics.declared(spec.info.quantities)


def details(evaluation: Evaluation[QuantityPredictions]) -> Json:
    """Each quantity by itself, with the interval that holds for further subjects, and how many
    were not known."""
    p, tuned, samples = evaluation.ensemble, evaluation.tuned, evaluation.samples
    rows, shown = {}, []
    for place, name in enumerate(p.names):
        known, radius = np.isfinite(p.reference[:, place]), find_radius(tuned, place)
        absolute = metrics.declared(p.names)["mae" if len(p.names) == 1 else f"mae_{name}"]
        error = stats.bootstrap(absolute, *p.table, p.subject_id, samples=samples)
        held = np.nan if tuned is p else find_coverage(p, place, radius)
        rows[name] = {
            "mae": error,
            "conformal_radius": radius,
            "coverage": held,
            "known": int(known.sum()),
        }
        shown.append(
            [name, report.with_interval(error), f"± {radius:.4g}", f"{held:.1%}", str(known.sum())]
        )
    missing = int(np.isnan(p.reference).sum())
    note = f"{missing} of {p.reference.size} quantities are not known, and are left out"
    return {
        "quantities": rows,
        "tables": [_tabulate(shown)],
        "remarks": [note] if missing else [],
    }


def _tabulate(rows: list[list[str]]) -> Json:
    columns = ["quantity", "mae [95 % interval]", f"{LEVEL:.0%} interval", "held", "known"]
    remark = (
        f"The {LEVEL:.0%} interval about an answer is chosen on validation (split conformal "
        "prediction); held: the share of the cases of this table that it holds."
    )
    return {"title": "Each quantity", "columns": columns, "rows": rows, "remarks": [remark]}


def draw(folder: Path, evaluation: Evaluation[QuantityPredictions]) -> list[Picture]:
    """Agreement, coverage, and the images that were answered worst."""
    predictions, tuned = evaluation.ensemble, evaluation.tuned
    plot.draw_agreement(folder / "agreement.png", predictions, tuned)
    pictures = [Picture("agreement.png", "Answers against the reference, and their intervals.")]
    if tuned is not predictions:
        plot.draw_coverage(folder / "coverage.png", predictions, tuned)
        text = "The share of cases that intervals hold, against the share that they are to hold."
        pictures.append(Picture("coverage.png", text))
    return pictures + _draw_worst(folder, evaluation)


def _draw_worst(folder: Path, evaluation: Evaluation[QuantityPredictions]) -> list[Picture]:
    """The cases that are furthest off, errors in standard deviations of the training."""
    p = evaluation.ensemble
    spread = np.array([sd for _, sd in evaluation.spec.quantity_scale])
    off = np.nan_to_num(np.abs(p.answer - p.reference) / spread, nan=-1.0)
    order = np.argsort(-off.max(1), kind="stable")[:WORST_CASES]
    pictures = []
    for number, case in enumerate(order[off[order].max(1) >= 0].tolist(), start=1):
        place, file = int(off[case].argmax()), f"worst_{number}.png"
        save_image(folder / file, evaluation.split.read(case))
        truth, answer = p.reference[case, place], p.answer[case, place]
        text = f"{p.names[place]} {truth:.4g}, told as {answer:.4g}"
        pictures.append(Picture(file, text, True, p.case_id[case], case + 2))
    return pictures


def read_pair(first: Path, other: Path, settings: Any) -> PairedAnswers:
    """As of `outputs.value_pairs.read_values`."""
    return read_values(first, other, COLUMNS, what="quantities", metrics_of=metrics.declared)


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
    compare=PairReader(recognises, read_pair),
)
