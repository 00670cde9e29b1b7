"""Displacement fields: where each voxel of a fixed image is in a moving one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medjax.data import images
from medjax.data.dataset import Split
from medjax.data.info import DatasetInfo
from medjax.evaluation.metrics import Metric
from medjax.evaluation.stats import nan_mean
from medjax.outputs.base import (
    WORST_CASES,
    Description,
    Evaluation,
    ModelSpec,
    Output,
    PairReader,
    Picture,
    Predicted,
    Preparation,
    mean_over_seeds,
)
from medjax.outputs.fields import metrics, pairs, plot, predictions, serve
from medjax.outputs.fields.predictions import FieldPredictions
from medjax.outputs.preparing import list_images
from medjax.typing import Json


def describe(info: DatasetInfo) -> Description:
    """What registers images."""
    return Description("registers pairs of images", info.structures)


def tabulate(split: Split, spec: ModelSpec, predicted: Predicted) -> FieldPredictions:
    """Transforms in mm, and their scores."""
    return predictions.tabulate(split, spec.info, predicted)


def baseline(train: Split, split: Split, spec: ModelSpec) -> tuple[FieldPredictions, str]:
    """The pairs as they lie at first."""
    space = split.image_shape[:-1]
    still = np.zeros((len(split), *(-(-n // 2) for n in space), len(space)), np.float32)
    before = tabulate(split, spec, {"displacement": still, "matrix": split["initial"]})
    return before, "before registration, the images as they lie at first"


def declare_metrics(spec: ModelSpec, measures: Any) -> dict[str, Metric]:
    """Overlaps and distances of masks, errors of points, folds."""
    return metrics.declared(
        spec.info.structures,
        unit=predictions.unit_of(spec.info),
        points=bool(spec.info.landmarks),
        places=bool(spec.info.known_places),
    )


def details(evaluation: Evaluation[FieldPredictions]) -> Json:
    """Each structure alone, before and after."""
    after, before = evaluation.ensemble, evaluation.baseline
    at = after.columns
    rows = {
        name: {
            "dice": float(nan_mean(after.scores[:, j])),
            "dice_before": float(nan_mean(before.scores[:, j])),
            f"hd95_{after.unit}": float(nan_mean(after.scores[:, at.hd95][:, j])),
        }
        for j, name in enumerate(after.names)
    }
    structures = {"structures": rows} if rows else {}
    return {**structures, "remarks": _remarks(evaluation)}


def _remarks(evaluation: Evaluation[FieldPredictions]) -> list[str]:
    after, before = evaluation.ensemble, evaluation.baseline
    out = []
    images_ = {*after.fixed, *after.moving}
    if len(images_) < 2 * len(after.case_id):
        side = "moving" if len(set(after.fixed)) == 1 else "fixed"  # whose subjects are counted
        out.append(
            f"{len(after.case_id)} pairs of {len(images_)} images: an image is in several pairs, "
            f"and intervals are over the {side} ones"
        )
    without = int(np.isnan(after.dice).all(1).sum()) if after.names else 0
    if without:
        out.append(f"{without} of {len(after.case_id)} pairs lack a mask: no overlap is known")
    worse = int((nan_mean(after.dice, axis=1) < nan_mean(before.dice, axis=1)).sum())
    if after.names and worse:
        out.append(f"{worse} of {len(after.case_id)} pairs overlap less than before")
    return out


def draw(folder: Path, evaluation: Evaluation[FieldPredictions]) -> list[Picture]:
    """Overlaps before and after, and the worst pairs."""
    after, shown = evaluation.ensemble, []
    if after.names:
        plot.before_and_after(folder / "before_and_after.png", after, evaluation.baseline)
        text = "Dice of each pair before and after registration."
        shown.append(Picture("before_and_after.png", text))
    for number, i in enumerate(_worst_first(after)[:WORST_CASES], start=1):
        shown.append(_draw_pair(folder, f"worst_{number}.png", int(i), evaluation))
    return shown


def _worst_first(after: FieldPredictions) -> np.ndarray:
    """Pairs by their Dice, else by the error of points, else by their correlation."""
    if after.names:
        return np.argsort(np.nan_to_num(nan_mean(after.dice, axis=1), nan=np.inf), kind="stable")
    at, scores = after.columns, after.scores
    badness = scores[:, at.tre] if after.has_points else -scores[:, at.correlation]
    return np.argsort(-np.nan_to_num(badness), kind="stable")


def _draw_pair(
    folder: Path, name: str, i: int, evaluation: Evaluation[FieldPredictions]
) -> Picture:
    after, at = evaluation.ensemble, evaluation.ensemble.columns
    pair = after.pairs[i]
    plot.draw_pair(folder / name, *pair.show(), pair.transform, title=after.case_id[i])
    parts = []
    if after.names:
        before = nan_mean(evaluation.baseline.dice[i])
        parts.append(f"mean Dice {nan_mean(after.dice[i]):.3f}, before {before:.3f}")
    if after.has_points:
        parts.append(f"target registration error {after.scores[i, at.tre]:.2f} {after.unit}")
    if not (after.names or after.has_points):
        parts.append(f"correlation {after.scores[i, at.correlation]:.3f}")
    parts.append(f"{after.scores[i, at.folding]:.2%} of the voxels fold")
    return Picture(name, "; ".join(parts), True, after.case_id[i], i + 2, True)


def recognises(header: Sequence[str]) -> bool:
    """Whether a table has pairs."""
    return "fixed" in header and "moving" in header


FIELDS: Output[FieldPredictions] = Output(
    columns=("initial", "fixed_voxel_mm", "mask"),
    describe=describe,
    prepare=Preparation(
        inputs=serve.list_inputs,
        list_files=list_images,
        suffixes=images.SUFFIXES,
        noun="images",
        read=serve.read,
        from_array=serve.from_array,
    ),
    tabulate=tabulate,
    ensemble=mean_over_seeds,
    baseline=baseline,
    metrics=declare_metrics,
    details=details,
    draw=draw,
    answer=serve.answers_of,
    compare=PairReader(recognises, pairs.read_pair),
)
