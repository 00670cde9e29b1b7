"""Landmarks by heatmap regression: from images and points to coordinates in millimetres.

    python -m experiments.heatmap
    python -m experiments.heatmap --ndim=3
    python -m experiments.heatmap --dataset=landmark_folder --data_dir=MY_IMAGES

The default, ten points in slices of the deformed template (synthetic), grid of 2 mm; test split, 58
subjects (2026-11-26, two cores of an Intel Xeon, 12 minutes beside other work): 1.29 mm [1.09,
1.59]; the mean shape: 5.93 mm. With --ndim=3: 32 points in volumes, 4 mm voxels, the same subjects
(20 minutes beside other work): 5.15 mm [4.84, 6.71], which is 1.29 voxels; the mean shape: 8.20.

Intervals of the runs below are percentiles of a bootstrap, as of their day.

HC18, published split, 609 images to train; validation split of 128, which also chose the checkpoint
(2026-11-24, two cores of an AMD EPYC, 112 minutes beside other work): BPD NME 0.017 [0.013, 0.022],
OFD NME 0.021 [0.016, 0.029] (mean of |found - true| / true), head circumference 2.4 mm [1.9, 3.1]
off the official one; the median length as a guess: 0.30, 0.31, 44 mm. With --steps=1500: 0.023,
0.024, 2.8 mm. The ends of an axis have no order: the loss takes the better of the two, and so does
the report.

    python -m experiments.heatmap --dataset=hc18 --data_dir=DIR --levels=5 --steps=5000 --sigma=2 \
      --coordinate_weight=0.05 --decoder=soft_argmax --flip=0,1 --rotate_degrees=30 --scale=0.15 \
      --translate=0.08 --elastic=0.2 --contrast=0.3 --gamma=0.3 --eval_every=250 \
      --ema_decay=0.995 --workdir=runs/hc18

Hippocampus, five points derived from masks; 30 validation cases, which also chose the checkpoint
(same day and machine, 6 minutes beside other work): 1.46 mm [1.24, 1.69]; the mean shape: 2.72 mm.

    python -m experiments.heatmap --dataset=hippocampus --data_dir=DIR --image_shape=32,40,32 \
      --grid_mm=1.5 --width=8 --batch=4 --steps=600 --learning_rate=3e-3 --sigma=1.2 \
      --elastic=0.3 --scale=0.15 --workdir=runs/hippocampus

Heads of mice in any pose, 45 points, 20 volumes to train, 4 to validate, which also chose the
checkpoint (2026-11-24, same machine, 54 and 23 minutes beside other work). First in the pose they
have: 2.26 mm, median 0.94 (left and right change places); each at its mean: 4.65. Then all turned
into one pose by what the first run found: 0.232 mm, 1.6 voxels of the files; the mean shape in that
pose: 0.39 mm.

    python -m experiments.heatmap --dataset=mouse_skull --data_dir=DIR --image_shape=48,48,48 \
      --grid_mm=0.56 --width=8 --batch=4 --steps=1200 --learning_rate=3e-3 --sigma=1.5 \
      --coordinate_weight=0.05 --rotate_degrees=180 --elastic=0.2 --translate=0.1 \
      --workdir=runs/mouse_raw
    python -m experiments.heatmap --dataset=mouse_skull --data_dir=DIR --pose_from=runs/mouse_raw \
      --image_shape=56,40,64 --grid_mm=0.36 --width=8 --batch=2 --steps=500 --learning_rate=3e-3 \
      --sigma=1.5 --coordinate_weight=0.05 --scale=0.05 --elastic=0.2 --translate=0.03 \
      --ema_decay=0.98 --workdir=runs/mouse
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import optax

from medjax import app, models, settings
from medjax.config import option, replace_settings, unique_names
from medjax.data import preprocess
from medjax.data.landmarks.folder import unpaired
from medjax.data.options import LandmarkOptions
from medjax.data.source import Dataset, Split
from medjax.errors import UserError
from medjax.evaluation import metrics, plot, report
from medjax.ops.augment import Augmentation
from medjax.ops.preprocess import Preprocessing
from medjax.outputs import base
from medjax.outputs.base import ModelSpec
from medjax.outputs.landmarks import biometry
from medjax.outputs.landmarks import metrics as landmark_metrics
from medjax.outputs.landmarks import plot as landmark_plot
from medjax.outputs.landmarks import report as landmark_report
from medjax.outputs.landmarks.report import LandmarkPredictions
from medjax.run_options import AUGMENTATION, FileOptions, ReportOptions
from medjax.tasks.heatmap import predictor as heatmap
from medjax.tasks.heatmap import task as tasks
from medjax.tasks.predictors import HeatmapPredictor
from medjax.train import mesh, state
from medjax.train.options import FeedOptions, TrainingOptions
from medjax.train.record import read_lines
from medjax.typing import Array, Key


@unique_names
@dataclasses.dataclass(frozen=True)
class Config:
    """The settings of one run; its fields are the flags."""

    dataset: str = option(
        "",
        "brain_landmarks, landmark_folder, hc18, mouse_skull, hippocampus, afids, isbi2015, "
        "hand_xray or synthetic_hand; empty: landmark_folder with --data_dir, else brain_landmarks",
    )
    data: LandmarkOptions = LandmarkOptions()
    train_cases: int = option(0, "train on so many cases only; 0: on all", least=0)
    predictor: HeatmapPredictor = HeatmapPredictor()
    learn_sigma: float = option(
        0.0, "weight of |sigma|^2 where sigma is learned; 0: it is not", least=0
    )
    coordinate_weight: float = option(
        0.0, "in the loss, of the distance of the soft-arg-max", least=0
    )
    training: TrainingOptions = TrainingOptions(steps=600, batch=0)
    feeding: FeedOptions = FeedOptions()
    augmentation: Augmentation = AUGMENTATION
    best: str = option(
        "error_mm",
        "metric that chooses the checkpoint, on validation",
        choices=("error_mm", "error_mm_median", "loss"),
    )
    radii_mm: tuple[float, ...] = option(
        (2.0, 2.5, 3.0, 4.0, 10.0), "of the success rates", item=float
    )
    level: float = option(0.9, "share of points that the conformal radius is to hold")
    report: ReportOptions = ReportOptions()
    files: FileOptions = FileOptions("runs/heatmap")


def main(config: Config) -> None:
    check(config)
    config, dataset, stop = settings.begin(config, "heatmap", default="brain_landmarks")
    given, config = config, sized(config, dataset)
    train = trained_on(config, dataset)
    scaling = preprocess.fit(train.images, len(train))
    parts = build(config, dataset, scaling)
    training = settings.plan(
        config,
        train,
        columns=("landmarks",),
        loss=parts.task.loss,
        optimizer=parts.optimizer,
        init=lambda key: start(key, train, parts),
        score=config.best,
        higher=False,
        evaluate=lambda s: validate(config, dataset, parts, s),
    )
    settings.train_and_report(
        given,
        "heatmap",
        training,
        parts.how,
        parts.trained,
        lambda weights, meta: finish(config, dataset, parts, weights, meta),
        dataset.digest,
        stop,
    )


def sized(config: Config, dataset: Dataset) -> Config:
    """The settings with a width and a batch that two cores train in minutes."""
    volumes = len(dataset.splits["train"].image_shape) == 4
    width, batch = (8, 2) if volumes else (16, 8)
    return replace_settings(
        config, width=config.predictor.width or width, batch=config.training.batch or batch
    )


def trained_on(config: Config, dataset: Dataset) -> Split:
    return dataset.splits["train"].first(config.train_cases)


def check(config: Config) -> None:
    """Raises UserError for values that no run can have."""
    if config.predictor.sigma <= 0:
        raise UserError(f"`sigma={config.predictor.sigma}`: must be positive")
    if not 0 < config.level < 1:
        raise UserError(f"`level={config.level}`: must lie between 0 and 1")
    if min(config.radii_mm, default=0.0) <= 0:
        raise UserError("`radii_mm`: give one or more positive radii")
    if config.predictor.loss == "l2" and (
        config.coordinate_weight or config.predictor.decoder == "soft_argmax"
    ):
        raise UserError(
            "`coordinate_weight` and `decoder=soft_argmax` are for `loss=cross_entropy`"
        )
    if config.predictor.patch and (
        config.predictor.loss != "l2" or min(config.predictor.patch) < 1
    ):
        raise UserError(
            "`patch`: give positive sides, and `loss=l2`; probabilities over a window "
            "are none over the image"
        )
    if config.learn_sigma and config.predictor.loss != "l2":
        raise UserError("`learn_sigma` is for `loss=l2`")


class Parts(NamedTuple):
    """What the settings and the set make together."""

    how: HeatmapPredictor
    trained: ModelSpec
    task: tasks.HeatmapTask
    optimizer: optax.GradientTransformation
    predict: Callable[..., tuple[tasks.LocatedPoints, Array]]  # leading seed axis
    unordered: tuple[tuple[int, int], ...]


def build(config: Config, dataset: Dataset, scaling: Preprocessing) -> Parts:
    """Raises UserError for settings that do not fit the set."""
    info, shape = dataset.info, dataset.splits["train"].image_shape[:-1]
    divisor = models.divisor(config.predictor.model, levels=config.predictor.levels)
    patch = config.predictor.patch or None
    if patch and (len(patch) != len(shape) or (np.array(patch) > shape).any()):
        raise UserError(f"`patch={','.join(map(str, patch))}` does not fit into images of {shape}")
    if any(n % divisor for n in patch or shape):
        raise UserError(
            f"`model={config.predictor.model}` needs sides that divide by {divisor}; the images "
            f"or windows have {patch or shape}: give `image_shape`, or fewer "
            "`levels`"
        )
    alone = [name for name in unpaired(info.landmarks) if name not in sum(info.mirrored, ())]
    if config.augmentation.flip and alone:
        raise UserError(
            f"`flip`: the landmark {alone[0]!r} has a side, but no partner on the "
            "other: a mirror image would call it wrong; name both sides alike, or "
            "leave `flip` out"
        )
    unordered = info.pairs(info.unordered)
    how, trained = (
        config.predictor,
        base.describe_model(dataset, scaling, config),
    )
    task = how.task(
        trained,
        augmentation=settings.augmentation(config, axes=len(shape)),
        learn_sigma=config.learn_sigma,
        coordinate_weight=config.coordinate_weight,
        mirrored=info.pairs(info.mirrored),
        unordered=unordered,
    )
    return Parts(how, trained, task, settings.optimizer(config), heatmap.program(task), unordered)


def start(key: Key, train: Split, parts: Parts) -> state.TrainState:
    params, stats = parts.task.init(key, jnp.zeros(train.image_shape))
    return state.create(params, stats, parts.optimizer)


def predict(
    config: Config, dataset: Dataset, name: str, parts: Parts, weights: Any
) -> tuple[list[LandmarkPredictions], np.ndarray]:
    """Every case of a split once, in order: the predictions of each seed, and their losses."""
    return heatmap.located(
        parts.predict,
        weights,
        dataset.splits[name],
        dataset.info.landmarks,
        batch=config.training.batch,
        absent_below=config.predictor.absent_below,
        unordered=parts.unordered,
    )


def validate(config: Config, dataset: Dataset, parts: Parts, weights: Any) -> dict[str, float]:
    """Loss and metrics on validation, the mean over seeds."""
    each, losses = predict(config, dataset, "validation", parts, weights)
    each = [landmark_report.turned(e, parts.unordered) for e in each]
    declared = landmark_metrics.declared(config.radii_mm)
    values = [e.values(declared) for e in each]
    return {
        "loss": float(losses.mean()),
        **{name: float(np.mean([v[name] for v in values])) for name in declared},
    }


def mean_shape(config: Config, dataset: Dataset, name: str, parts: Parts) -> LandmarkPredictions:
    """The trivial baseline: each landmark at its mean position in the training images."""
    mean = np.nanmean(trained_on(config, dataset)["landmarks"], 0)
    points = np.tile(mean, (len(dataset.splits[name]), 1, 1))
    return landmark_report.turned(
        landmark_report.from_voxels(
            dataset.splits[name], dataset.info.landmarks, points, np.full(points.shape[:2], np.inf)
        ),
        parts.unordered,
    )


def finish(config: Config, dataset: Dataset, parts: Parts, weights: Any, meta: dict) -> None:
    """Reports the best checkpoint on test where there is one, else on validation."""
    workdir = Path(config.files.workdir)
    each, _ = predict(config, dataset, dataset.report_split, parts, weights)
    whole = landmark_report.turned(heatmap.ensemble(each), parts.unordered)
    tuned = (
        whole
        if dataset.report_split == "validation"
        else landmark_report.turned(
            heatmap.ensemble(predict(config, dataset, "validation", parts, weights)[0]),
            parts.unordered,
        )
    )
    each = [landmark_report.turned(e, parts.unordered) for e in each]
    if not mesh.is_first():
        return
    baseline = mean_shape(config, dataset, dataset.report_split, parts)
    whole.write(workdir / "predictions.csv")
    volumes = whole.points_px.shape[-1] == 3
    if volumes:
        whole.write_lists(workdir / "landmarks")
    result = {
        **settings.facts(config, "heatmap", dataset, weights, meta, workdir),
        **results(config, dataset, each, whole, tuned, baseline),
    }
    report.write(workdir / "report.json", result)
    draw(config, dataset, whole, baseline, workdir)
    report.show_result(result, workdir, wrote=("landmarks/",) if volumes else ())


def results(
    config: Config,
    dataset: Dataset,
    each: list[LandmarkPredictions],
    whole: LandmarkPredictions,
    tuned: LandmarkPredictions,
    baseline: LandmarkPredictions,
) -> dict[str, Any]:
    """The numbers of the report; `tuned` are the predictions on validation."""
    info, split = dataset.info, dataset.splits[dataset.report_split]
    declared = landmark_metrics.declared(config.radii_mm)
    regions = landmark_report.conformal(tuned, whole, level=config.level)
    true = biometry.truth(info, split)
    guess = biometry.constant(true, biometry.truth(info, trained_on(config, dataset)))
    lengths = biometry.estimates(
        true,
        biometry.measure(info, whole.points_mm),
        whole.subject_id,
        samples=config.report.bootstrap,
    )
    return {
        "metrics": {**whole.estimates(declared, samples=config.report.bootstrap), **lengths},
        "baseline": {**baseline.values(declared), **guess},
        "baseline_is": "each landmark at its mean position in the training images"
        + (", each length at its median there" if guess else ""),
        "definitions": metrics.definitions(declared | (biometry.METRICS if guess else {})),
        "missing_in_reference": int((~whole.present).sum()),
        "conformal": {k: v for k, v in regions.items() if k != "landmarks"},
        "landmarks": {
            name: {**whole.select_landmark(i).values(declared), **regions["landmarks"][name]}
            for i, name in enumerate(whole.names)
        },
        "raters": rater_error(split),
        "seeds": settings.by_seed(config, [e.values(declared) for e in each]),
    }


def rater_error(split: Split) -> dict[str, float] | None:
    """The distance between two raters, where the set has them: its mean over points, mm."""
    rows = [m["rater_error_mm"].split() for m in split.metadata if "rater_error_mm" in m]
    return {"error_mm": float(np.array(rows, float).mean())} if rows else None


def draw(
    config: Config,
    dataset: Dataset,
    found: LandmarkPredictions,
    baseline: LandmarkPredictions,
    workdir: Path,
) -> None:
    """The figures."""
    folder = workdir / "figures"
    folder.mkdir(exist_ok=True)
    plot.learning_curve(
        folder / "learning_curve.png",
        read_lines(workdir / "metrics.jsonl"),
        score=config.best,
        unit="loss",
    )
    landmark_plot.cumulative(folder / "cumulative_error.png", found, baseline)
    landmark_plot.per_landmark(folder / "error_per_landmark.png", found)
    split = dataset.splits[dataset.report_split]
    landmark_plot.worst(folder / "worst_cases.png", found, split)
    measured = biometry.measure(dataset.info, found.points_mm)
    for name, true in biometry.truth(dataset.info, split).items():
        landmark_plot.agreement(folder / f"agreement_{name}.png", name, true, measured[name])


if __name__ == "__main__":
    app.run(main, Config)
