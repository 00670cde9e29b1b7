"""Exam classification: from images and labels to a trained, evaluated, saved classifier.

    medjax classify
    medjax classify MY_IMAGES

Measured runs, with their commands: docs/results.md.
"""

import dataclasses
from typing import Any

import jax
import numpy as np

from medjax import app, experiment, heads, losses
from medjax.config import option, unique_names
from medjax.data.catalogue import KnownSets
from medjax.data.dataset import Dataset, Split
from medjax.data.info import DatasetInfo
from medjax.data.options import DataOptions
from medjax.errors import UserError
from medjax.ops.augment import Augmentation
from medjax.outputs.labels import OperatingOptions, metrics
from medjax.run_options import AUGMENTATION, FileOptions, FoldOptions, ReportOptions
from medjax.tasks.base import with_network
from medjax.tasks.classification.predictor import ClassificationPredictor, RegularisationOptions
from medjax.tasks.classification.suggest import suggest
from medjax.train.options import FeedOptions, TrainingOptions
from medjax.train.plan import make_optimizer
from medjax.train.task import Task

NOT_FINETUNED = experiment.FineTuningOptions()


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
    predictor: ClassificationPredictor = ClassificationPredictor()
    start: experiment.StartOptions = experiment.StartOptions()
    freeze: bool = option(False, "train the last layer only, on the features of --init_from")
    finetuning: experiment.FineTuningOptions = experiment.FineTuningOptions()
    regularisation: RegularisationOptions = RegularisationOptions()
    loss: str = option(
        "cross_entropy",
        "of the training",
        choices=losses.CLASS_LOSSES,
        common=True,
        group="training",
    )
    class_weights: str = option("none", "of the loss", choices=("none", "balanced"))
    mixup: float = option(0.0, "alpha of mixup; 0 is off", least=0)
    training: TrainingOptions = TrainingOptions()
    feeding: FeedOptions = FeedOptions()
    augmentation: Augmentation = AUGMENTATION
    best: str = option(
        "auc",
        "metric that chooses the checkpoint, on validation",
        choices=metrics.NAMES,
        group="training",
    )
    cross_validation: FoldOptions = FoldOptions()
    operating: OperatingOptions = OperatingOptions()
    report: ReportOptions = ReportOptions()
    files: FileOptions = FileOptions("runs/classify")


# --8<-- [start:main]
@experiment.cross_validated
def main(
    config: Config,
    *,
    dataset: Dataset | None = None,
    network: Any = None,
    loss: losses.LossFunction | None = None,
) -> experiment.Finished:
    """Trains, evaluates and reports.

    Args:
      dataset, network, loss: of one's own, in place of those that the settings name.
    """
    if not config.start.init_from and (config.freeze or config.finetuning != NOT_FINETUNED):
        raise UserError(
            "`freeze`, `layer_decay`, `unfreeze_steps` and `keep_statistics` are for weights to "
            "start from; give `init_from`"
        )
    if network is not None and "dropout" in config.files.given:
        raise UserError("`dropout` is for networks of medjax; yours has its own, or none")
    with experiment.open_run(
        config, "classify", default="brain_planes", dataset=dataset, suggest=suggest
    ) as run:
        config = run.config  # with what was chosen for it
        train, validation = (run.dataset.splits[name] for name in ("train", "validation"))
        experiment.check_augmentation(config.augmentation, axes=len(train.image_shape) - 1)
        start = experiment.start_run(run, config.start, model=config.predictor.model, once=True)
        fitted = experiment.fit_preprocessing(run, train)
        spec = experiment.describe_model(run, start.scale(fitted, channels=train.image_shape[-1]))
        predictor = dataclasses.replace(
            with_network(config.predictor, network),
            head=heads.name_head(spec.info, config.predictor.head),
            augmentation=config.augmentation,
            image_size=config.data.image_size,
            fit=config.data.fit,
        )
        loss_function = choose_loss(config, predictor.head, loss, spec.info)
        task = predictor.make_task(
            spec,
            **dataclasses.asdict(config.regularisation),
            mixup_alpha=config.mixup,
            frozen=config.freeze,
            keep_statistics=config.finetuning.keep_statistics,
            loss_function=loss_function,
            class_weights=None if config.class_weights == "none" else balance(train, spec.info),
        )
        check_frozen(task)
        task = start.begin(task)
        method = experiment.Method(predictor, spec, task, config.operating)
        score = predictor.choose_score(config.best, validation, spec.info)
        layers = config.finetuning.rates(predictor.make_network(spec), spec.image_shape)
        learned = experiment.train(
            run,
            method,
            train,
            feeding=config.feeding,
            optimizer=make_optimizer(run.training, only=task.trainable, layers=layers),
            score=score,
            own=loss is not None or config.loss not in losses.BUILT_IN,
            higher=metrics.is_higher_better(score),
        )
        evaluation = experiment.evaluate(run, method, train, learned)
        return experiment.write_report(run, method, learned, evaluation, score=score)


# --8<-- [end:main]
def choose_loss(
    config: Config, head: str, given: losses.LossFunction | None, info: DatasetInfo
) -> losses.LossFunction | None:
    """The loss of the classes: the one that is given, or the one that the settings name; None
    where the head has its own."""
    if head != heads.CLASSES:
        if given is not None or "loss" in config.files.given:
            raise UserError(f"`loss` is for `head=classes`; `head={head}` has its own")
        return None
    loss_function = given or losses.class_loss(config.loss)
    losses.check_loss(loss_function, shape=(len(info.classes),))
    return loss_function


def balance(train: Split, info: DatasetInfo) -> tuple[float, ...]:
    """Weights with which all classes count alike."""
    if not info.classes:
        raise UserError("`class_weights` is for classes; the set has findings or quantities")
    classes = len(info.classes)
    count = np.bincount(train["label"], minlength=classes)
    # A class that no training image has is in no loss, whatever its weight; infinity would be.
    return tuple(np.divide(len(train), classes * count, where=count > 0, out=np.zeros(classes)))


def check_frozen(task: Task) -> None:
    """Raises UserError if nothing would be trained."""
    layers = jax.eval_shape(task.init, jax.random.key(0))[0]
    lacking = [name for name in task.trainable if name not in layers]
    if lacking:
        raise UserError(
            f"`freeze` trains the last layer alone, by the name {lacking[0]}, and this network has "
            f"{', '.join(layers)}: leave it out"
        )


if __name__ == "__main__":
    app.run(main, Config)
