"""Frames: those that matter in a sequence."""

import dataclasses
import functools
from pathlib import Path

import numpy as np

from medjax.config import option
from medjax.data.dataset import Split
from medjax.data.info import DatasetInfo
from medjax.data.sequences import files
from medjax.evaluation.metrics import Metric
from medjax.outputs.base import (
    WORST_CASES,
    Description,
    Evaluation,
    ModelSpec,
    Output,
    Picture,
    Predicted,
    Preparation,
    mean_over_seeds,
)
from medjax.outputs.frames import metrics, plot, report, serve
from medjax.outputs.frames.report import SequencePredictions
from medjax.typing import Json


@dataclasses.dataclass(frozen=True)
class FrameMeasures:
    """What distances are counted in."""

    units: str = option("ms", "report milliseconds too, or frames only", choices=("ms", "frames"))
    hit_frames: int = option(2, "planes: a hit is at most so many frames off", least=0)


def describe(info: DatasetInfo) -> Description:
    """What finds frames."""
    return Description("finds the frames that matter in a sequence", info.frames)


def tabulate_as(
    task: str, split: Split, spec: ModelSpec, predicted: Predicted
) -> SequencePredictions:
    """Scores `[n, time, name]` beside the true frames."""
    return report.of_split(
        split, spec.info.frames, predicted["score"], task=task, cyclic=spec.info.cyclic
    )


def baseline_as(
    task: str, train: Split, split: Split, spec: ModelSpec
) -> tuple[SequencePredictions, str]:
    """Each frame at its mean place."""
    score = report.at_mean(train, split, cyclic=spec.info.cyclic)
    return (
        tabulate_as(task, split, spec, {"score": score}),
        "each frame where it lies in the training sequences in the mean",
    )


def metrics_of_frames(spec: ModelSpec, measures: FrameMeasures) -> dict[str, Metric]:
    """Distances from the true frame."""
    return metrics.of_frames(spec.info.frames, milliseconds=measures.units == "ms")


def metrics_of_planes(spec: ModelSpec, measures: FrameMeasures) -> dict[str, Metric]:
    """Detection of frames that bear a name."""
    info = spec.info
    return metrics.of_planes(info.frames, frames=measures.hit_frames, cyclic=info.cyclic)


def details(evaluation: Evaluation[SequencePredictions]) -> Json:
    """How many sequences lack a frame."""
    return {"missing_in_reference": int(np.isnan(evaluation.ensemble.off).sum())}


def draw(
    folder: Path, evaluation: Evaluation[SequencePredictions], *, curve: bool = False
) -> list[Picture]:
    """Scores over time, the frames themselves, and their distances; `curve`: beside the curve of
    volumes that scores stand for."""
    plot.curves(folder / "curves.png", evaluation.ensemble, curve=curve)
    plot.thumbnails(folder / "frames.png", evaluation.ensemble, evaluation.split)
    plot.differences(folder / "differences.png", evaluation.ensemble)
    worst = plot.draw_worst(folder, evaluation.ensemble, evaluation.split, most=WORST_CASES)
    return [
        Picture("curves.png", "Scores over time of some sequences, from the best to the worst."),
        Picture("frames.png", "True and found frames of some sequences.", shows_images=True),
        Picture("differences.png", "How many sequences lie how many frames off."),
        *worst,
    ]


FRAMES: Output[SequencePredictions] = Output(
    columns=("marks", "length"),
    describe=describe,
    prepare=Preparation(
        inputs=serve.inputs,
        list_files=serve.list_files,
        suffixes=files.SUFFIXES,
        noun="sequences",
        read=serve.read,
        from_array=serve.from_array,
    ),
    tabulate=functools.partial(tabulate_as, "frames"),
    ensemble=mean_over_seeds,
    baseline=functools.partial(baseline_as, "frames"),
    metrics=metrics_of_frames,
    details=details,
    draw=draw,
    answer=serve.answers_of,
)
VOLUME_CURVE = FRAMES._replace(draw=functools.partial(draw, curve=True))
PLANES = FRAMES._replace(
    tabulate=functools.partial(tabulate_as, "planes"),
    baseline=functools.partial(baseline_as, "planes"),
    metrics=metrics_of_planes,
)
