"""Landmarks: named points of each image."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from medjax.config import option
from medjax.data.dataset import Split
from medjax.data.info import DatasetInfo
from medjax.errors import UserError
from medjax.evaluation import lengths
from medjax.evaluation.metrics import Metric, definitions
from medjax.ops.consensus import in_one_order
from medjax.outputs.base import (
    WORST_CASES,
    Description,
    Evaluation,
    ModelSpec,
    Output,
    PairReader,
    Picture,
    Predicted,
)
from medjax.outputs.landmarks import biometry, metrics, pairs, plot, report, serve
from medjax.outputs.landmarks.report import LandmarkPredictions
from medjax.outputs.preparing import prepare_images
from medjax.typing import Json


@dataclasses.dataclass(frozen=True)
class LandmarkMeasures:
    """Where success is counted."""

    radii_mm: tuple[float, ...] = option(
        (2.0, 2.5, 3.0, 4.0, 10.0), "of the success rates", item=float
    )
    level: float = option(0.9, "share of points that the conformal radius is to hold")

    def __post_init__(self) -> None:
        if not 0 < self.level < 1:
            raise UserError(f"`level={self.level}`: must lie between 0 and 1")
        metrics.check_radii(self.radii_mm)


def describe(info: DatasetInfo) -> Description:
    """What finds landmarks."""
    return Description("finds landmarks", info.landmarks)


def tabulate(split: Split, spec: ModelSpec, predicted: Predicted) -> LandmarkPredictions:
    """Points `[n, landmark, ndim]` in voxels of the prepared images, and their confidence, beside
    the reference; pairs without an order stand in the one that is nearer to it."""
    info = spec.info
    predictions = report.from_voxels(
        split, info.landmarks, predicted["points"], predicted["confidence"]
    )
    return report.turned(predictions, info.pairs(info.unordered))


def ensemble(predicted: Predicted, spec: ModelSpec) -> Predicted:
    """The mean of the seeds' points, where most seeds found one.

    Pairs without an order of their own are named as the first seed names them.
    """
    points, confidence = predicted["points"], predicted["confidence"]  # [seed, n, landmark, ...]
    if len(points) == 1:
        return {"points": points[0], "confidence": confidence[0]}
    pairs_of = spec.info.pairs(spec.info.unordered)
    points, confidence = in_one_order(points, confidence, pairs=pairs_of)
    missing = jnp.isnan(points).any(-1, keepdims=True).mean(0)
    return {
        "points": jnp.where(missing <= 0.5, jnp.nanmean(points, 0), jnp.nan),
        "confidence": confidence.mean(0),
    }


def baseline(train: Split, split: Split, spec: ModelSpec) -> tuple[LandmarkPredictions, str]:
    """Each landmark at its mean position."""
    points = np.tile(np.nanmean(train["landmarks"], 0), (len(split), 1, 1))
    mean = {"points": points, "confidence": np.full(points.shape[:2], np.inf)}
    lengths = ", each length at its median there" if spec.info.lengths else ""
    return (
        tabulate(split, spec, mean),
        f"each landmark at its mean position in the training images{lengths}",
    )


def declare_metrics(spec: ModelSpec, measures: LandmarkMeasures) -> dict[str, Metric]:
    """Distances, and success rates at the radii."""
    return metrics.declared(measures.radii_mm)


def details(evaluation: Evaluation[LandmarkPredictions]) -> Json:
    """Each landmark alone, conformal radii, lengths between landmarks, and how raters differ."""
    info, split, predictions = evaluation.spec.info, evaluation.split, evaluation.ensemble
    declared = dict(evaluation.metrics)
    regions = report.conformal(evaluation.tuned, predictions, level=evaluation.measures.level)
    return {
        **_with_lengths(evaluation),
        "missing_in_reference": int((~predictions.present).sum()),
        "conformal": {k: v for k, v in regions.items() if k != "landmarks"},
        "landmarks": {
            name: {**predictions.select_landmark(i).values(declared), **regions["landmarks"][name]}
            for i, name in enumerate(info.landmarks)
        },
        "raters": report.rater_error(split),
    }


def _with_lengths(evaluation: Evaluation[LandmarkPredictions]) -> Json:
    """Metrics of lengths and circumferences, where the set has any."""
    info, predictions = evaluation.spec.info, evaluation.ensemble
    true = biometry.truth(info, evaluation.split)
    if not true:
        return {}
    measured = biometry.measure(info, predictions.points_mm)
    subjects, samples = predictions.subject_id, evaluation.samples
    return {
        "metrics": lengths.estimates(true, measured, subjects, samples=samples),
        "baseline": biometry.constant(true, biometry.truth(info, evaluation.train)),
        "definitions": definitions(lengths.METRICS),
    }


def draw(folder: Path, evaluation: Evaluation[LandmarkPredictions]) -> list[Picture]:
    """Errors over all points, of each landmark, the worst cases, and agreement of lengths."""
    predictions, split, info = evaluation.ensemble, evaluation.split, evaluation.spec.info
    plot.cumulative(folder / "cumulative_error.png", predictions, evaluation.baseline)
    plot.per_landmark(folder / "error_per_landmark.png", predictions)
    plot.worst(folder / "worst_cases.png", predictions, split)
    pictures = [
        Picture(
            "cumulative_error.png",
            "Share of landmarks that were found nearer than a distance; the mean shape beside.",
        ),
        Picture("error_per_landmark.png", "Errors of each landmark: median, quartiles, outliers."),
    ]
    measured = biometry.measure(info, predictions.points_mm)
    for name, true in biometry.truth(info, split).items():
        plot.agreement(folder / f"agreement_{name}.png", name, true, measured[name])
        text = f"Agreement of {name} between network and reference (Bland and Altman)."
        pictures.append(Picture(f"agreement_{name}.png", text))
    return [*pictures, *plot.draw_worst(folder, predictions, split, most=WORST_CASES)]


def recognises(header: Sequence[str]) -> bool:
    """Whether a table has landmarks."""
    return "landmark" in header


LANDMARKS: Output[LandmarkPredictions] = Output(
    columns=("landmarks",),
    describe=describe,
    prepare=prepare_images(serve.prepare),
    tabulate=tabulate,
    ensemble=ensemble,
    baseline=baseline,
    metrics=declare_metrics,
    details=details,
    draw=draw,
    answer=serve.answers_of,
    compare=PairReader(recognises, pairs.read_pair, ("radii_mm",)),
)
