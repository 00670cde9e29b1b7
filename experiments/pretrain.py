"""Pre-training without labels: a network whose features other trainings start from.

    medjax pretrain MY_IMAGES
    medjax classify MY_IMAGES --model=resnet_slim --init_from=runs/pretrain

Labels are not learned from; where a set has them, the report says how well images of one class find
one another.
"""

import dataclasses

from medjax import app, experiment
from medjax.config import option, unique_names
from medjax.data.catalogue import KnownSets
from medjax.data.dataset import Dataset
from medjax.data.options import DataOptions
from medjax.errors import UserError
from medjax.ops.augment import Augmentation
from medjax.run_options import FileOptions, ReportOptions
from medjax.tasks.embedding import objectives, retrieval, rivals
from medjax.tasks.embedding.predictor import EmbeddingPredictor, check_classes
from medjax.train.options import FeedOptions, TrainingOptions
from medjax.typing import Json

SIMCLR, MAE = "simclr", "mae"


@unique_names
@dataclasses.dataclass(frozen=True)
class Config:
    """The settings of one run; its fields are the flags."""

    dataset: str = option(
        "",
        "the set; empty: what --data_dir is, without it brain_planes",
        choices=KnownSets("labels"),
        common=True,
        group="data",
    )
    data: DataOptions = DataOptions()
    predictor: EmbeddingPredictor = EmbeddingPredictor()
    start: experiment.StartOptions = experiment.StartOptions()
    method: str = option(
        SIMCLR,
        "simclr: two views of an image are alike; mae: hidden patches are filled in",
        choices=(SIMCLR, MAE),
        common=True,
        group="training",
    )
    temperature: float = option(0.2, "of simclr", group="training")
    mask_ratio: float = option(0.6, "of mae: the share that is hidden", least=0.01, below=1)
    training: TrainingOptions = TrainingOptions(steps=1000)
    feeding: FeedOptions = FeedOptions()
    augmentation: Augmentation = Augmentation(
        rotate_degrees=10.0, crop=0.6, contrast=0.4, brightness=0.2, gamma=0.3
    )
    report: ReportOptions = ReportOptions()
    files: FileOptions = FileOptions("runs/pretrain")

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise UserError("`temperature`: give a number above 0")


# --8<-- [start:main]
def main(config: Config, *, dataset: Dataset | None = None) -> experiment.Finished:
    """Trains, evaluates and reports.

    Args:
      dataset: of one's own, in place of the one that the settings name.
    """
    with experiment.open_run(config, "pretrain", default="brain_planes", dataset=dataset) as run:
        config = run.config
        check_classes(run.dataset.info, fewest=1)
        train = run.dataset.splits["train"]
        experiment.check_augmentation(config.augmentation, axes=len(train.image_shape) - 1)
        start = experiment.start_run(run, config.start, model=config.predictor.model)
        fitted = experiment.fit_preprocessing(run, train)
        spec = experiment.describe_model(run, start.scale(fitted, channels=train.image_shape[-1]))
        predictor = dataclasses.replace(
            config.predictor, image_size=config.data.image_size, fit=config.data.fit
        )
        task = predictor.make_task(spec, objective=choose_objective(config, train.image_shape))
        task = start.begin(task)
        method = experiment.Method(predictor, spec, task)
        learned = experiment.train(run, method, train, feeding=config.feeding, score="loss")
        gallery = rivals.Gallery(predictor, spec, train, run.training.batch)
        answering = retrieval.make_answering(gallery, predictor, task, learned.weights)
        learned = experiment.keep_weights(run, answering.weights, learned.meta)
        method = method._replace(task=answering.task)
        evaluation = experiment.evaluate(run, method, train, learned)
        further: Json = {}
        if spec.info.has_labels:
            fresh = rivals.init_weights(task, seed=run.training.seed)
            untrained = rivals.answer_queries(gallery, predictor, task, fresh, run.report_split)
            further = rivals.compare_rivals(gallery, evaluation, {"before training": untrained})
        return experiment.write_report(
            run,
            method,
            learned,
            evaluation,
            score="loss",
            further=further,
            show=rivals.show_rivals,
        )


# --8<-- [end:main]
def choose_objective(config: Config, image_shape: tuple[int, ...]) -> objectives.Objective:
    """What is learned without labels."""
    if config.method == SIMCLR:
        return objectives.learn_views(config.augmentation, heat=config.temperature)
    return objectives.fill_masks(
        config.augmentation, mask_ratio=config.mask_ratio, image_shape=image_shape
    )


if __name__ == "__main__":
    app.run(main, Config)
