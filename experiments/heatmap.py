"""Landmarks by heatmap regression: from images and points to coordinates in millimetres.

    medjax heatmap
    medjax heatmap --ndim=3
    medjax heatmap MY_IMAGES

Measured runs, with their commands: docs/results.md.
"""

import dataclasses
import functools
from typing import Any

from medjax import app, experiment
from medjax.config import option, unique_names
from medjax.data.catalogue import KnownSets
from medjax.data.dataset import Dataset
from medjax.data.landmarks.folder import check_mirror
from medjax.data.landmarks.missing import check_learnable
from medjax.data.landmarks.pose import check_pose
from medjax.data.options import LandmarkOptions
from medjax.errors import UserError
from medjax.losses import LossFunction, check_loss
from medjax.ops.augment import Augmentation
from medjax.outputs.landmarks import LandmarkMeasures
from medjax.run_options import AUGMENTATION, FileOptions, FoldOptions, ReportOptions
from medjax.tasks.base import with_network
from medjax.tasks.heatmap.predictor import HeatmapPredictor
from medjax.tasks.heatmap.suggest import suggest
from medjax.train.options import FeedOptions, TrainingOptions

WIDTHS = ("params/log_sigma",)  # of the maps, in voxels of this run: no weights


@unique_names
@dataclasses.dataclass(frozen=True)
class Config:
    """The settings of one run; its fields are the flags."""

    dataset: str = option(
        "",
        "the set; empty: what --data_dir is, without it brain_landmarks",
        choices=KnownSets("landmarks"),
        common=True,
        group="data",
    )
    data: LandmarkOptions = LandmarkOptions()
    train_cases: int = option(0, "train on so many cases only; 0: on all", least=0, group="data")
    predictor: HeatmapPredictor = HeatmapPredictor()
    start: experiment.TrainedStartOptions = experiment.TrainedStartOptions()
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
        group="training",
    )
    measures: LandmarkMeasures = LandmarkMeasures()
    cross_validation: FoldOptions = FoldOptions()
    report: ReportOptions = ReportOptions()
    files: FileOptions = FileOptions("runs/heatmap")

    def __post_init__(self) -> None:
        check_pose(self.data, folds=self.cross_validation.folds)
        if self.predictor.loss == "l2" and self.coordinate_weight:
            raise UserError("`coordinate_weight` is for `loss=cross_entropy`")
        if self.predictor.loss != "l2" and self.learn_sigma:
            raise UserError("`learn_sigma` is for `loss=l2`")


@experiment.cross_validated
def main(
    config: Config,
    *,
    dataset: Dataset | None = None,
    network: Any = None,
    loss: LossFunction | None = None,
) -> experiment.Finished:
    """Trains, evaluates and reports.

    Args:
      dataset, network, loss: of one's own, in place of those that the settings name.
    """
    with experiment.open_run(
        config,
        "heatmap",
        default="brain_landmarks",
        dataset=dataset,
        suggest=functools.partial(suggest, model=config.predictor.model),
    ) as opened:
        config = opened.config  # with what was chosen for it
        run = opened.with_first(config.train_cases)
        train = run.dataset.splits["train"]
        check_learnable(run.dataset.info.name, run.dataset.info.landmarks, train)
        axes = len(train.image_shape) - 1
        experiment.check_augmentation(config.augmentation, axes=axes)
        if config.augmentation.flip:
            check_mirror(opened.dataset.info)
        width, batch = (16, 8) if axes == 2 else (8, 2)  # what two cores train in minutes
        run = run.with_training(batch=config.training.batch or batch)
        predictor = dataclasses.replace(
            with_network(config.predictor, network),
            width=config.predictor.width or width,
            augmentation=config.augmentation,
        )
        start = experiment.start_run(run, config.start, own=WIDTHS, once=True)
        fitted = experiment.fit_preprocessing(run, train)
        spec = experiment.describe_model(run, start.scale(fitted, channels=train.image_shape[-1]))
        if loss:
            check_loss(loss, shape=train.image_shape[:-1])
        task = predictor.make_task(
            spec,
            learn_sigma=config.learn_sigma,
            coordinate_weight=config.coordinate_weight,
            own_loss=loss,
        )
        task = start.begin(task)
        method = experiment.Method(predictor, spec, task, config.measures)
        learned = experiment.train(
            run, method, train, feeding=config.feeding, score=config.best, own=loss is not None
        )
        evaluation = experiment.evaluate(run, method, train, learned)
        return experiment.write_report(run, method, learned, evaluation, score=config.best)


if __name__ == "__main__":
    app.run(main, Config)
