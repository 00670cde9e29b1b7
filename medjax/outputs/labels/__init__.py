"""Labels: one of several classes for each image."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medjax.data import exams
from medjax.data.dataset import Split
from medjax.data.info import DatasetInfo
from medjax.evaluation import report
from medjax.evaluation.metrics import Metric
from medjax.outputs import exam_images
from medjax.outputs.base import (
    WORST_CASES,
    Description,
    Evaluation,
    ModelSpec,
    Output,
    PairReader,
    Picture,
    Predicted,
    extend,
    mean_over_seeds,
)
from medjax.outputs.labels import metrics, operating, pairs, plot, serve
from medjax.outputs.labels.operating import OperatingOptions
from medjax.outputs.labels.predictions import LabelPredictions
from medjax.outputs.preparing import prepare_images
from medjax.outputs.worst import draw_worst
from medjax.typing import Json


def describe(info: DatasetInfo) -> Description:
    """What a classifier does."""
    return Description("names the class of an exam image", info.classes)


def tabulate(split: Split, spec: ModelSpec, predicted: Predicted) -> LabelPredictions:
    """Probabilities `[n, class]` beside the labels; of new images, which have none, the first."""
    return LabelPredictions(
        split.case_id,
        split.subject_id,
        split.targets.get("label", np.zeros(len(split), int)),
        predicted["probability"],
        spec.info.classes,
        split.metadata,
        spec.info.groups,
    )


def baseline(train: Split, split: Split, spec: ModelSpec) -> tuple[LabelPredictions, str]:
    """The same probabilities for every case."""
    frequency = np.bincount(train["label"], minlength=len(spec.info.classes)) / len(train)
    constant = {"probability": np.tile(frequency, (len(split), 1))}
    return (
        tabulate(split, spec, constant),
        "the training set's class frequencies for every case",
    )


def declare_metrics(spec: ModelSpec, measures: Any = None) -> dict[str, Metric]:
    """The metrics of the set's classes."""
    info = spec.info
    return metrics.of_classes(info.classes, positive=info.positive, ordered=info.ordered)


def details(evaluation: Evaluation[LabelPredictions]) -> Json:
    """The positive class, and each class against the rest."""
    info, predictions = evaluation.spec.info, evaluation.ensemble
    return {
        **extend(_operating(evaluation), _coarse(evaluation)),
        "positive": info.positive,
        "remarks": _remark_noise(evaluation),
        "classes": metrics.by_class(predictions.label, predictions.probability, info.classes),
        "class_intervals": metrics.class_intervals(
            predictions.label, predictions.probability, info.classes, predictions.subject_id
        ),
    }


def _coarse(evaluation: Evaluation[LabelPredictions]) -> Json:
    """The metrics of the coarse classes, where there are some."""
    if not evaluation.spec.info.groups:
        return {}
    predictions = evaluation.ensemble.coarse()
    names = predictions.classes
    declared = metrics.of_classes(names, positive=exams.positive_of(names, ""))
    estimates = predictions.estimates(declared, samples=evaluation.samples)
    trivial = evaluation.baseline.coarse().values(declared)
    rows = [[k, report.with_interval(v), f"{trivial[k]:.3f}"] for k, v in estimates.items()]
    return {
        "coarse": {"classes": names, "metrics": estimates, "baseline": trivial},
        "tables": [
            {
                "title": f"Coarse classes: {', '.join(names)}",
                "columns": ["metric", "value [95 % interval]", "baseline"],
                "rows": rows,
                "remarks": ["the probability of a coarse class is the sum of those of its classes"],
            }
        ],
    }


def _operating(evaluation: Evaluation[LabelPredictions]) -> Json:
    """Temperature and, of two classes, thresholds: of validation, applied to what is reported."""
    tuned, predictions, info = evaluation.tuned, evaluation.ensemble, evaluation.spec.info
    ece = {"ece": evaluation.metrics["ece"]}
    calibration = operating.describe_temperature(
        tuned, predictions, lambda table: table.values(ece)["ece"]
    )
    if not info.positive:
        return {"calibration": calibration}
    number, options = info.classes.index(info.positive), evaluation.measures or OperatingOptions()
    chosen = operating.choose_points(tuned, number, options)
    points = [operating.describe_point(point, predictions, number) for point in chosen]
    same = tuned is predictions
    table = operating.tabulate_points(points, positive=info.positive, on_same=same)
    return {
        "calibration": calibration,
        "operating_points": points,
        "tables": [table] if points else [],
    }


def _remark_noise(evaluation: Evaluation[LabelPredictions]) -> list[str]:
    """That one metric is corrected where it has an interval, and what it is otherwise."""
    ece = {"ece": evaluation.metrics["ece"]}
    predictions = evaluation.ensemble
    corrected = predictions.estimates(ece, samples=evaluation.samples)["ece"]
    if np.isnan(corrected.low):
        return []
    return [
        f"ece: without what noise alone would add; with it {predictions.values(ece)['ece']:.3f}, "
        "which figures, baseline and comparisons show"
    ]


def draw(folder: Path, evaluation: Evaluation[LabelPredictions]) -> list[Picture]:
    """Curves, confusion, reliability and mistakes."""
    plot.curves(folder / "roc_pr.png", evaluation.ensemble)
    plot.confusion(folder / "confusion.png", evaluation.ensemble)
    plot.reliability(folder / "reliability.png", evaluation.ensemble)
    plot.mistakes(folder / "mistakes.png", evaluation.ensemble, evaluation.split.read)
    return [
        Picture("roc_pr.png", "Receiver operating characteristic, and precision against recall."),
        Picture("confusion.png", "Confusion matrix: true class by predicted class, in cases."),
        Picture(
            "reliability.png",
            "Reliability: accuracy against confidence in bins, and the cases in each bin.",
        ),
        *draw_worst(folder, evaluation, _tell_mistakes(evaluation.ensemble)),
    ]


def _tell_mistakes(predictions: LabelPredictions) -> Iterator[tuple[int, str]]:
    """The wrong answers that were given with most confidence, in words."""
    for i in map(int, plot.find_mistakes(predictions)[:WORST_CASES]):
        guess = int(predictions.probability[i].argmax())
        true = predictions.classes[predictions.label[i]]
        share = predictions.probability[i, guess]
        yield i, f"{true}, taken for {predictions.classes[guess]} at {share:.0%}"


def recognises(header: Sequence[str]) -> bool:
    """Whether a table has labels."""
    return "label" in header


LABELS: Output[LabelPredictions] = Output(
    columns=("label",),
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
    compare=PairReader(recognises, pairs.read_pair, ("positive_class", "class_order")),
)
