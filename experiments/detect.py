"""Detection: from images and boxes to boxes with scores.

    medjax detect
    medjax detect --ndim=3
    medjax detect MY_IMAGES

Measured runs, with their commands: docs/results.md.
"""

import dataclasses

from medjax import app, experiment
from medjax.config import option, unique_names
from medjax.data.catalogue import KnownSets
from medjax.data.dataset import Dataset
from medjax.data.options import BoxOptions
from medjax.ops.augment import Augmentation
from medjax.outputs.boxes import BoxMeasures
from medjax.run_options import AUGMENTATION, FileOptions, FoldOptions, ReportOptions
from medjax.tasks.detection.predictor import DetectionPredictor
from medjax.tasks.detection.suggest import suggest
from medjax.train.options import FeedOptions, TrainingOptions


@unique_names
@dataclasses.dataclass(frozen=True)
class Config:
    """The settings of one run; its fields are the flags."""

    dataset: str = option(
        "",
        "the set; empty: what --data_dir is, without it drawn_cells",
        choices=KnownSets("boxes"),
        common=True,
        group="data",
    )
    data: BoxOptions = BoxOptions()
    train_cases: int = option(0, "train on so many cases only; 0: on all", least=0, group="data")
    predictor: DetectionPredictor = DetectionPredictor()
    start: experiment.TrainedStartOptions = experiment.TrainedStartOptions()
    box_weight: float = option(1.0, "in the loss, of the boxes beside the peaks", least=0)
    training: TrainingOptions = TrainingOptions(steps=400, batch=0)
    feeding: FeedOptions = FeedOptions()
    augmentation: Augmentation = dataclasses.replace(AUGMENTATION, rotate_degrees=0.0, flip=(0, 1))
    best: str = option(
        "map_50",
        "metric that chooses the checkpoint, on validation",
        choices=("map_50", "map_50_95", "froc"),
        group="training",
    )
    measures: BoxMeasures = BoxMeasures()
    cross_validation: FoldOptions = FoldOptions()
    report: ReportOptions = ReportOptions()
    files: FileOptions = FileOptions("runs/detect")


@experiment.cross_validated
def main(config: Config, *, dataset: Dataset | None = None) -> experiment.Finished:
    """Trains, evaluates and reports.

    Args:
      dataset: of one's own, in place of the one that the settings name.
    """
    with experiment.open_run(
        config, "detect", default="drawn_cells", dataset=dataset, suggest=suggest
    ) as opened:
        config = opened.config  # with what was chosen for it
        run = opened.with_first(config.train_cases)
        train = run.dataset.splits["train"]
        axes = len(train.image_shape) - 1
        experiment.check_augmentation(config.augmentation, axes=axes)
        width, batch = (16, 8) if axes == 2 else (8, 2)  # what two cores train in minutes
        run = run.with_training(batch=config.training.batch or batch)
        predictor = dataclasses.replace(
            config.predictor,
            width=config.predictor.width or width,
            augmentation=config.augmentation,
        )
        start = experiment.start_run(run, config.start, once=True)
        fitted = experiment.fit_preprocessing(run, train)
        spec = experiment.describe_model(run, start.scale(fitted, channels=train.image_shape[-1]))
        task = start.begin(predictor.make_task(spec, box_weight=config.box_weight))
        method = experiment.Method(predictor, spec, task, config.measures)
        learned = experiment.train(
            run, method, train, feeding=config.feeding, score=config.best, higher=True
        )
        evaluation = experiment.evaluate(run, method, train, learned)
        return experiment.write_report(run, method, learned, evaluation, score=config.best)


if __name__ == "__main__":
    app.run(main, Config)
