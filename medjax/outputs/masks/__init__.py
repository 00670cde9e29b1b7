"""Masks: which structure each voxel of an image belongs to."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medjax.data import geometry, images, walk
from medjax.data.dataset import Split
from medjax.data.info import DatasetInfo
from medjax.data.masks.folder import is_mask
from medjax.data.masks.instances import classes_of
from medjax.evaluation import lengths
from medjax.evaluation.metrics import Metric, definitions
from medjax.evaluation.stats import nan_mean
from medjax.outputs import preparing
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
from medjax.outputs.masks import (
    ellipses,
    infer,
    instances,
    metrics,
    pairs,
    plot,
    report,
    serve,
    voxels,
)
from medjax.outputs.masks.report import MaskPredictions
from medjax.typing import Json

_MEAN_SIDE = 48  # of the mean mask of the baseline, along each axis
_MOST_IN_MEAN = 100  # masks
_WORTH_SAYING = 0.001  # of Dice


def describe(info: DatasetInfo) -> Description:
    """What segments images."""
    return Description("segments structures", info.structures)


def tabulate(split: Split, spec: ModelSpec, predicted: Predicted) -> MaskPredictions:
    """Packed masks on the grids of the files, beside the reference where there is one."""
    return report.tabulate(split, spec.info, predicted)


def baseline(train: Split, split: Split, spec: ModelSpec) -> tuple[MaskPredictions, str]:
    """The mean mask of the training, scaled to the size of each image."""
    mean = _mean_mask(train, spec.info)  # [*small, class]
    single, answers = len(spec.info.structures) == 1, []
    for i in range(len(split)):
        row = {k: v[i] for k, v in split.targets.items()}
        probability = images.resize(mean, tuple(map(int, row["size"])))
        reference = classes_of(split.on_demand["reference"](i), spec.info) if single else None
        answers.append(infer.decide(probability, row=row, reference=reference))
    return (
        tabulate(split, spec, infer.stack(answers)),
        "the most frequent structure at each place in the training masks, scaled to one size",
    )


def _mean_mask(train: Split, info: DatasetInfo) -> np.ndarray:
    """How often each class, the background first, is at each place of an image scaled to a cube."""
    chosen = np.unique(np.linspace(0, len(train) - 1, _MOST_IN_MEAN).astype(int))
    ndim = len(train.image_shape) - 1
    total: Any = 0.0
    for i in chosen:
        mask = np.asarray(train.on_demand["mask"](int(i)))
        one_hot = np.eye(len(info.structures) + 1, dtype=np.float32)[classes_of(mask, info)]
        total = total + images.resize(one_hot, (_MEAN_SIDE,) * ndim)
    return total / len(chosen)


def declare_metrics(spec: ModelSpec, measures: Any) -> dict[str, Metric]:
    """Overlaps, distances between surfaces, what was missed, and single things."""
    info = spec.info
    of_things = instances.METRICS if info.instances else {}
    unit = report.unit_of(info)
    return metrics.declared(info.structures, tolerance=report.TOLERANCE, unit=unit) | of_things


def details(evaluation: Evaluation[MaskPredictions]) -> Json:
    """Each structure alone, and how many cases lack it."""
    predictions, declared = evaluation.ensemble, evaluation.metrics
    shown = [name for name in declared if not name.startswith("dice_")]
    rows, unit = {}, report.size_unit(predictions)
    for j, name in enumerate(predictions.names):
        structure = predictions.select_structure(j)
        rows[name] = {
            **structure.values({m: declared[m] for m in shown}),
            "in_reference": int(structure.present.sum()),
            **report.conformal_size(evaluation.tuned, predictions, j, unit=unit),
        }
    out: Json = {"structures": rows, "remarks": _remarks(evaluation)}
    for part in (_of_voxels(evaluation), _of_ellipses(evaluation)):
        out = extend(out, part)
    return out


def _of_ellipses(evaluation: Evaluation[MaskPredictions]) -> Json:
    """Axes and circumferences, where the set has any, and errors of these."""
    info, predictions = evaluation.spec.info, evaluation.ensemble
    if not info.ellipses:
        return {}
    reference = ellipses.measure(info, predictions.axes[:, 1])
    true = lengths.prefer_official(reference, evaluation.split.metadata)
    measured, guess = (
        ellipses.measure(info, table.axes[:, 0]) for table in (predictions, evaluation.baseline)
    )
    subjects, samples = predictions.subject_id, evaluation.samples
    return {
        "metrics": lengths.estimates(true, measured, subjects, samples=samples),
        "baseline": lengths.values(true, guess),
        "definitions": definitions(lengths.METRICS),
    }


def _of_voxels(evaluation: Evaluation[MaskPredictions]) -> Json:
    """AUC and F1 of a single structure."""
    predictions = evaluation.ensemble
    if not predictions.histograms.shape[-1]:
        return {}
    first = voxels.choose_bin(evaluation.tuned.histograms)
    samples, chosen_here = evaluation.samples, evaluation.tuned is predictions
    return {
        "remarks": ["the threshold of f1 is the best one on the very cases of this report"]
        * chosen_here,
        "metrics": voxels.estimates(
            predictions.histograms, first, predictions.subject_id, samples=samples
        ),
        "baseline": voxels.values(evaluation.baseline.histograms, first),
        "definitions": definitions(voxels.declared(first)),
        "threshold": first / voxels.BINS,
    }


def _remarks(evaluation: Evaluation[MaskPredictions]) -> list[str]:
    """Where nothing can be measured, and what would do better on validation."""
    predictions, tuned = evaluation.ensemble, evaluation.tuned
    empty, out = int(np.isnan(predictions.scores[..., 0]).sum()), []
    if empty:
        out.append(
            f"{empty} of {predictions.present.size} structures of cases are neither in the "
            "reference nor predicted: undefined, and counted nowhere"
        )
    gain = nan_mean(tuned.largest_dice - tuned.scores[..., 0], axis=0)
    better = [name for name, g in zip(predictions.names, gain, strict=True) if g > _WORTH_SAYING]
    if better and not evaluation.spec.info.instances:
        most = float(np.nanmax(gain))
        where = "these very cases" if tuned is predictions else "validation"
        out.append(
            f"on {where}, to keep the largest piece alone raises Dice by up to {most:.3f}: "
            f"`largest_component={','.join(better)}` with `eval_only` does so"
        )
    return out


def draw(folder: Path, evaluation: Evaluation[MaskPredictions]) -> list[Picture]:
    """Dice of each structure, and the worst cases."""
    predictions = evaluation.ensemble
    plot.per_structure(folder / "dice_per_structure.png", predictions, evaluation.baseline)
    pictures = [
        Picture(
            "dice_per_structure.png",
            "Dice of each structure: median, quartiles and each case; the baseline beside.",
        )
    ]
    mean = np.nan_to_num(nan_mean(predictions.scores[..., 0], axis=1), nan=np.inf)
    for number, i in enumerate(np.argsort(mean, kind="stable")[:WORST_CASES], start=1):
        pictures.append(_draw_case(folder, f"worst_{number}.png", int(i), evaluation))
    return pictures


def _draw_case(folder: Path, name: str, i: int, evaluation: Evaluation[MaskPredictions]) -> Picture:
    predictions, split = evaluation.ensemble, evaluation.split
    image = np.asarray(split.read(i))
    predicted, reference = (
        geometry.resample_labels(mask, split["to_index"][i], shape=image.shape[:-1])
        for mask in (predictions.mask(i), split.on_demand["reference"](i))
    )
    if evaluation.spec.info.instances:
        predicted, reference = map(plot.in_few_colours, (predicted, reference))
    plot.over(
        folder / name,
        image,
        predictions.names,
        predicted,
        title=predictions.case_id[i],
        reference=reference,
    )
    dice = predictions.scores[i, :, 0]
    if np.isnan(dice).all():
        text, worst = "no structure in the reference, and none predicted", 0
    else:
        worst = int(np.nanargmin(dice))
        missed = " (missed)" if dice[worst] == 0 and predictions.present[i, worst] else ""
        text = (
            f"mean Dice {np.nanmean(dice):.3f}; the smallest {dice[worst]:.3f}, of "
            f"{predictions.names[worst]}{missed}"
        )
    line = i * len(predictions.names) + worst + 2
    return Picture(name, text, True, predictions.case_id[i], line, image.ndim == 4)


def list_images(path: Path, spec: ModelSpec) -> walk.Walk:
    """The images below a folder; masks that lie beside them are left out."""
    files, left_out = preparing.list_without_channels(path, spec)
    images_ = [p for p in files if not is_mask(p)]
    masks = Counter(masks=len(files) - len(images_))
    return walk.Walk(images_, left_out + masks)


def recognises(header: Sequence[str]) -> bool:
    """Whether a table has structures."""
    return "structure" in header


MASKS: Output[MaskPredictions] = Output(
    columns=("mask",),
    describe=describe,
    prepare=preparing.prepare_images(serve.prepare, with_channels=True)._replace(
        list_files=list_images
    ),
    tabulate=tabulate,
    ensemble=mean_over_seeds,
    baseline=baseline,
    metrics=declare_metrics,
    details=details,
    draw=draw,
    answer=serve.answers_of,
    compare=PairReader(recognises, pairs.read_pair),
    infer=infer.infer_masks,
)
