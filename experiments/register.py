"""Registration: from pairs of images to the transforms between them.

    medjax register
    medjax register MY_IMAGES --pairs=consecutive
    medjax register MY_IMAGES --method=optimise

Measured runs, with their commands: docs/results.md.
"""

import dataclasses
import time
from typing import Any

import jax

from medjax import app, experiment
from medjax.config import option, unique_names
from medjax.data import catalogue
from medjax.data.catalogue import KnownSets
from medjax.data.dataset import Dataset
from medjax.data.pair_options import PairOptions
from medjax.errors import UserError
from medjax.ops.augment import Augmentation
from medjax.run_options import FileOptions, ReportOptions
from medjax.tasks.base import with_network
from medjax.tasks.registration.method import AlignmentOptions
from medjax.tasks.registration.predictor import RegistrationPredictor
from medjax.tasks.registration.suggest import suggest
from medjax.tasks.registration.task import RegistrationLoss
from medjax.train.options import FeedOptions, TrainingOptions

OWN_SET = catalogue.kind_of(PairOptions()).folder_set


@unique_names
@dataclasses.dataclass(frozen=True)
class Config:
    """The settings of one run; its fields are the flags."""

    dataset: str = option(
        "",
        "the set; empty: what --data_dir is, without it brain_pairs",
        choices=KnownSets("pairs"),
        common=True,
        group="data",
    )
    data: PairOptions = PairOptions()
    alignment: AlignmentOptions = AlignmentOptions()
    predictor: RegistrationPredictor = RegistrationPredictor()
    start: experiment.TrainedStartOptions = experiment.TrainedStartOptions()
    losses: RegistrationLoss = RegistrationLoss()
    training: TrainingOptions = TrainingOptions(steps=400, batch=0, learning_rate=1e-3)
    feeding: FeedOptions = FeedOptions()
    augmentation: Augmentation = Augmentation()
    best: str = option(
        "",
        "what chooses the checkpoint, on validation; empty: dice where there are masks, else loss",
        choices=("", "dice", "loss"),
        group="training",
    )
    report: ReportOptions = ReportOptions()
    files: FileOptions = FileOptions("runs/register")


def main(
    config: Config, *, dataset: Dataset | None = None, network: Any = None
) -> experiment.Finished:
    """Trains where there is a network, registers, and reports.

    Args:
      dataset, network: of one's own, in place of those that the settings name.
    """
    own = config.data.data_dir and not catalogue.is_named(config.data)
    if config.training.seeds > 1 and not config.alignment.is_trained:
        raise UserError("`seeds`: of trained networks; with `method=optimise` leave it out")
    varied = config.augmentation != Augmentation()
    trained = varied or config.losses != RegistrationLoss() or config.start.init_from
    if trained and not config.alignment.is_trained:
        raise UserError(
            "`dice_weight`, `shapes`, `inverse_weight`, `init_from` and augmentation are for "
            "`method=network`"
        )
    if config.losses.shapes and varied:
        raise UserError("`shapes` are deformed and painted anew each time: leave augmentation out")
    if config.data.unsplit and config.alignment.is_trained:
        raise UserError("`unsplit`: all pairs are reported on; give `method=optimise`")
    if own and not config.alignment.is_trained and config.dataset in ("", OWN_SET):
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, unsplit=True))
    with experiment.open_run(
        config,
        "register",
        default="brain_pairs",
        dataset=dataset,
        suggest=suggest if config.alignment.is_trained else None,
    ) as opened:
        config, train = opened.config, opened.dataset.splits["train"]
        axes = len(train.image_shape) - 1
        experiment.check_augmentation(config.augmentation, axes=axes)
        if config.augmentation.flip:
            raise UserError("`flip` would mirror one image of a pair alone; leave it out")
        width, batch = (16, 8) if axes == 2 else (8, 1)  # what two cores train in minutes
        batch = batch if config.alignment.is_trained else 1  # else each pair is by itself anyway
        if config.losses.dice_weight and not (
            config.losses.shapes or opened.dataset.info.structures
        ):
            raise UserError("`dice_weight`: of masks, and the set has none; leave it out")
        run = opened.with_training(batch=config.training.batch or batch)
        predictor = dataclasses.replace(
            with_network(config.predictor, network),
            alignment=config.alignment,
            width=config.predictor.width or width,
            augmentation=config.augmentation,
        )
        spec = experiment.describe_model(run, experiment.fit_preprocessing(run, train.first(20)))
        task = experiment.start_run(run, config.start, once=True).begin(
            predictor.make_task(spec, weights=config.losses)
        )
        method, began = experiment.Method(predictor, spec, task), time.perf_counter()
        score = config.best or ("dice" if spec.info.structures else "loss")
        if config.alignment.is_trained:
            learned = experiment.train(
                run, method, train, feeding=config.feeding, score=score, higher=score == "dice"
            )
        else:
            experiment.hold_workdir(run, predictor, spec)
            empty = jax.tree.map(lambda x: x[None], task.init(jax.random.key(0)))
            meta = experiment.untrained(time.perf_counter() - began)
            learned = experiment.keep_weights(run, empty, meta)
        evaluation = experiment.evaluate(run, method, train, learned)
        return experiment.write_report(run, method, learned, evaluation, score=score)


if __name__ == "__main__":
    app.run(main, Config)
