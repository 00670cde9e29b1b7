"""Temporal localisation: the frames that matter in a sequence, by a recurrence over CNN features.

    medjax temporal
    medjax temporal --dataset=brain_sweeps --task=planes --recurrence=bilstm
    medjax temporal MY_SEQUENCES

Measured runs, with their commands: docs/results.md.
"""

import dataclasses
import functools
from pathlib import Path
from typing import Any

from medjax import app, experiment
from medjax.config import option, replace_settings, unique_names
from medjax.data.catalogue import KnownSets
from medjax.data.dataset import Dataset, Split
from medjax.data.sequence_options import SequenceOptions
from medjax.experiment import Learned, Method, Run
from medjax.ops.augment import Augmentation
from medjax.outputs.frames import FrameMeasures
from medjax.outputs.frames.report import SequencePredictions
from medjax.run_options import AUGMENTATION, FileOptions, FoldOptions, ReportOptions
from medjax.tasks.base import with_network
from medjax.tasks.temporal import learning as temporal
from medjax.tasks.temporal import rivals
from medjax.tasks.temporal.learning import TemporalLearning
from medjax.tasks.temporal.predictor import TemporalPredictor
from medjax.tasks.temporal.suggest import suggest
from medjax.train.options import FeedOptions, TrainingOptions


@unique_names
@dataclasses.dataclass(frozen=True)
class Config:
    """The settings of one run; its fields are the flags."""

    dataset: str = option(
        "",
        "the set; empty: what --data_dir is, without it beating_heart",
        choices=KnownSets("frames"),
        common=True,
        group="data",
    )
    data: SequenceOptions = SequenceOptions()
    predictor: TemporalPredictor = TemporalPredictor()
    learning: TemporalLearning = TemporalLearning()
    training: TrainingOptions = TrainingOptions(steps=800, batch=8)
    feeding: FeedOptions = FeedOptions()
    augmentation: Augmentation = AUGMENTATION
    measures: FrameMeasures = FrameMeasures()
    cross_validation: FoldOptions = FoldOptions()
    report: ReportOptions = ReportOptions()
    files: FileOptions = FileOptions("runs/temporal")


@experiment.cross_validated
def main(
    config: Config, *, dataset: Dataset | None = None, network: Any = None
) -> experiment.Finished:
    """Trains, evaluates and reports; `dataset` and `network`, an encoder, are of one's own."""
    config = replace_settings(config, loss=config.predictor.loss_or_default)
    if has_rival(config):
        temporal.check_rival(config.learning)
    given_task = config.predictor.task if "task" in config.files.given else ""
    with experiment.open_run(
        config,
        "temporal",
        default="beating_heart",
        dataset=dataset,
        suggest=functools.partial(suggest, given_task=given_task),
    ) as run:
        config = run.config  # with what was chosen for it
        learning = config.learning
        predictor = with_network(config.predictor, network, "encoder")
        temporal.check_set(run.dataset, predictor, learning, config.measures)
        train = run.dataset.splits["train"]
        experiment.check_augmentation(config.augmentation, axes=2)
        predictor = dataclasses.replace(
            predictor, frame_ms=config.data.frame_ms, augmentation=config.augmentation
        )
        learn = functools.partial(
            train_network,
            train=train,
            feeding=config.feeding,
            measures=config.measures,
        )
        method, learned = learn(run, predictor, learning)
        others: dict[str, SequencePredictions] = {}
        if has_rival(config):
            print("the same encoder without recurrence:", flush=True)
            begun = str(Path(learning.init_from, temporal.RIVAL)) if learning.from_run else ""
            changes = {"recurrence": "none", "init_from": begun or learning.init_from}
            with experiment.open_beside(run, temporal.RIVAL, **changes) as rival:
                alone = dataclasses.replace(predictor, recurrence="none")
                trained = learn(rival, alone, rival.config.learning)
                others = average_best(rival, *trained, higher=predictor.task == "planes")
        evaluation = experiment.evaluate(run, method, train, learned)
        score = next(iter(method.metrics))
        further = rivals.compare_rivals(evaluation, others, score=score)
        return experiment.write_report(
            run,
            method,
            learned,
            evaluation,
            score=score,
            unit="sequences",
            further={**further, "remarks": temporal.note_planes(run.dataset, predictor)},
            show=rivals.show_rivals,
        )


def has_rival(config: Config) -> bool:
    """Whether a network without recurrence is trained beside."""
    return config.learning.rival and config.predictor.recurrence != "none"


def train_network(
    run: Run,
    predictor: TemporalPredictor,
    learning: TemporalLearning,
    *,
    train: Split,
    feeding: FeedOptions,
    measures: FrameMeasures,
) -> tuple[Method, Learned]:
    """Trains one network; the first of its metrics chooses the checkpoint."""
    scaling = temporal.fit_preprocessing(run.dataset.pool or train, init_from=learning.init_from)
    spec = experiment.describe_model(run, scaling)
    task = temporal.make_training_task(predictor, spec, learning, train)
    method = Method(predictor, spec, task, measures)
    learned = experiment.train(
        run,
        method,
        train,
        feeding=feeding,
        score=next(iter(method.metrics)),
        higher=predictor.task == "planes",
        optimizer=temporal.make_temporal_optimizer(
            run.training, task, encoder_rate=learning.encoder_rate
        ),
        by_length=learning.by_length,
    )
    return method, learned


def average_best(
    run: Run, method: Method, learned: Learned, *, higher: bool
) -> dict[str, SequencePredictions]:
    """The network without recurrence, and its scores averaged over frames."""
    _, tuned = experiment.predict(run, method, learned, "validation")
    _, predictions = experiment.predict(run, method, learned, run.dataset.report_split)
    return rivals.best_average(
        tuned,
        run.dataset.splits["validation"],
        predictions,
        run.report_split,
        metric=next(iter(method.metrics.values())),
        higher=higher,
    )


if __name__ == "__main__":
    app.run(main, Config)
