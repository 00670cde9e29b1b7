"""Segmentation: from images and masks to masks on the grids of the files.

    medjax segment
    medjax segment --ndim=3
    medjax segment MY_VOLUMES

Measured runs, with their commands: docs/results.md.
"""

import dataclasses
import functools
from typing import Any

import numpy as np

from medjax import app, experiment
from medjax.config import option, unique_names
from medjax.data.catalogue import KnownSets
from medjax.data.dataset import Dataset, Split
from medjax.data.options import MaskOptions
from medjax.data.patches import draw_patches
from medjax.errors import UserError
from medjax.ops.augment import Augmentation
from medjax.run_options import AUGMENTATION, FileOptions, FoldOptions, ReportOptions
from medjax.tasks.base import with_network
from medjax.tasks.segmentation.predictor import SegmentationPredictor
from medjax.tasks.segmentation.suggest import suggest
from medjax.tasks.segmentation.task import LossWeights
from medjax.train.options import FeedOptions, TrainingOptions

PATCHES_A_CASE = 1000  # of an epoch, where images are larger than a patch


@unique_names
@dataclasses.dataclass(frozen=True)
class Config:
    """The settings of one run; its fields are the flags."""

    dataset: str = option(
        "",
        "the set; empty: what --data_dir is, without it brain_tissue",
        choices=KnownSets("masks"),
        common=True,
        group="data",
    )
    data: MaskOptions = MaskOptions()
    train_cases: int = option(0, "train on so many cases only; 0: on all", least=0, group="data")
    structure_share: float = option(
        0.5, "of the patches, that is drawn upon a structure", least=0, group="data"
    )
    predictor: SegmentationPredictor = SegmentationPredictor()
    start: experiment.TrainedStartOptions = experiment.TrainedStartOptions()
    losses: LossWeights = LossWeights()
    training: TrainingOptions = TrainingOptions(steps=400, batch=0)
    feeding: FeedOptions = FeedOptions()
    augmentation: Augmentation = AUGMENTATION
    best: str = option(
        "dice",
        "metric that chooses the checkpoint, on validation",
        choices=("dice", "ap_50"),
        group="training",
    )
    cross_validation: FoldOptions = FoldOptions()
    report: ReportOptions = ReportOptions()
    files: FileOptions = FileOptions("runs/segment")

    def __post_init__(self) -> None:
        if self.structure_share > 1:
            raise UserError(f"`structure_share={self.structure_share}`: is at most 1")


@experiment.cross_validated
def main(
    config: Config, *, dataset: Dataset | None = None, network: Any = None
) -> experiment.Finished:
    """Trains, evaluates and reports.

    Args:
      dataset, network: of one's own, in place of those that the settings name.
    """
    with experiment.open_run(
        config,
        "segment",
        default="brain_tissue",
        dataset=dataset,
        suggest=functools.partial(suggest, levels=config.predictor.levels),
    ) as opened:
        config = opened.config  # with what was chosen for it
        run = opened.with_first(config.train_cases)
        train = run.dataset.splits["train"]
        if config.best == "ap_50" and not opened.dataset.info.instances:
            raise UserError("`best=ap_50`: of single things alone; give `instances`")
        predictor = with_network(config.predictor, network)
        patch = check_patch(predictor.patch, train, divisor=predictor.divisor)
        axes = sum(n > 1 for n in patch)
        experiment.check_augmentation(config.augmentation, axes=axes)
        width, batch = (16, 8) if axes == 2 else (8, 2)  # what two cores train in minutes
        run = run.with_training(batch=config.training.batch or batch)
        predictor = dataclasses.replace(
            predictor, width=predictor.width or width, augmentation=config.augmentation
        )
        fits = bool((train["size"] <= patch).all())
        draw = functools.partial(
            draw_patches,
            patch=patch,
            a_case=1 if fits else PATCHES_A_CASE,
            structure_share=config.structure_share,
            structures=len(run.dataset.info.structures),
            seed=config.training.seed,
            things=run.dataset.info.instances,
        )
        patches = draw(train)
        feeding = config.feeding
        if not fits and feeding.feed == "auto":  # patches are never drawn twice
            feeding = dataclasses.replace(feeding, feed="stream")
        start = experiment.start_run(run, config.start, once=True)
        fitted = experiment.fit_preprocessing(run, train, draw=draw)
        spec = experiment.describe_model(run, start.scale(fitted, channels=train.image_shape[-1]))
        spec = dataclasses.replace(spec, image_shape=patches.image_shape)
        task = start.begin(predictor.make_task(spec, weights=config.losses))
        method = experiment.Method(predictor, spec, task)
        learned = experiment.train(
            run, method, patches, feeding=feeding, score=config.best, higher=True
        )
        evaluation = experiment.evaluate(run, method, train, learned)
        return experiment.write_report(run, method, learned, evaluation, score=config.best)


def check_patch(patch: tuple[int, ...], train: Split, *, divisor: int) -> tuple[int, ...]:
    """The sides of a patch, by default what holds the largest image.

    Raises:
      UserError: if it has other axes than the images, or none to speak of.
    """
    largest = np.array(train.image_shape[:-1])
    holds = tuple(int(n) for n in -(-largest // divisor) * divisor)
    if not patch:
        return holds
    if len(patch) != len(largest):
        raise UserError(f"`patch`: give {len(largest)} sides, as the images have")
    if sum(n > 1 for n in patch) < 2:
        raise UserError("`patch`: give at least two sides of more than 1")
    if any(side > enough for side, enough in zip(patch, holds, strict=True)):
        experiment.say(
            f"note: {' x '.join(map(str, holds))} holds the largest image; the patch is larger, "
            "and what lies outside is not learned from"
        )
    return patch


if __name__ == "__main__":
    app.run(main, Config)
