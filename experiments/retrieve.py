"""Content-based retrieval: the cases of the training set that look like each other case.

    medjax retrieve
    medjax retrieve MY_IMAGES --code --size=48
    medjax retrieve MY_IMAGES --features=frozen --init_from=RUN --transform=svm

Beside stand random order, pixels and their principal components.
"""

import dataclasses
import time

from medjax import app, experiment
from medjax.config import option, unique_names
from medjax.data.catalogue import KnownSets
from medjax.data.dataset import Dataset
from medjax.data.options import DataOptions
from medjax.ops.augment import Augmentation
from medjax.run_options import AUGMENTATION, FileOptions, ReportOptions
from medjax.tasks.embedding import retrieval, rivals, weighting
from medjax.tasks.embedding.predictor import EmbeddingPredictor, check_classes
from medjax.tasks.embedding.retrieval import TRAINED, RetrievalOptions
from medjax.train.options import FeedOptions, TrainingOptions


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
    retrieval: RetrievalOptions = RetrievalOptions()
    predictor: EmbeddingPredictor = EmbeddingPredictor()
    start: experiment.StartOptions = experiment.StartOptions()
    training: TrainingOptions = TrainingOptions(steps=1000)
    feeding: FeedOptions = FeedOptions()
    augmentation: Augmentation = AUGMENTATION
    report: ReportOptions = ReportOptions()
    files: FileOptions = FileOptions("runs/retrieve")


# --8<-- [start:main]
def main(config: Config, *, dataset: Dataset | None = None) -> experiment.Finished:
    """Trains or takes a network, ranks the training set for each query, and reports.

    Args:
      dataset: of one's own, in place of the one that the settings name.
    """
    retrieval.check_options(
        config.retrieval, start=bool(config.start.init_from), seeds=config.training.seeds
    )
    with experiment.open_run(config, "retrieve", default="brain_planes", dataset=dataset) as run:
        config, options = run.config, run.config.retrieval
        check_classes(run.dataset.info, fewest=2)
        train = run.dataset.splits["train"]
        experiment.check_augmentation(config.augmentation, axes=len(train.image_shape) - 1)
        retrieval.check_images(options, train)
        start = experiment.start_run(run, config.start, model=config.predictor.model)
        fitted = experiment.fit_preprocessing(run, train)
        spec = experiment.describe_model(run, start.scale(fitted, channels=train.image_shape[-1]))
        predictor = dataclasses.replace(
            options.describe(config.predictor),
            image_size=config.data.image_size,
            fit=config.data.fit,
        )
        objective = options.objective(config.augmentation, classes=len(spec.info.classes))
        task = predictor.plain.make_task(spec, objective=objective)
        task = start.begin(task)
        method, began = experiment.Method(predictor, spec, task), time.perf_counter()
        gallery = rivals.Gallery(predictor.plain, spec, train, run.training.batch)
        if options.features == TRAINED:
            learned = experiment.train(
                run, method, train, feeding=config.feeding, score="ap_at_5", higher=True
            )
        else:
            experiment.hold_workdir(run, predictor, spec)
            made = retrieval.take_weights(gallery, task, seed=run.training.seed)
            meta = experiment.untrained(time.perf_counter() - began)
            learned = experiment.Learned(made, meta)
        answering = retrieval.make_answering(gallery, predictor, task, learned.weights)
        if answering.text:
            experiment.say(f"transform: {answering.text}")
        if options.metadata:
            is_test = run.dataset.report_split == "test"
            predictor, chosen = weighting.choose_weights(
                gallery,
                predictor,
                answering.task,
                answering.weights,
                validation=run.dataset.splits["validation"] if is_test else None,
            )
            experiment.say(chosen)
        learned = experiment.keep_weights(run, answering.weights, learned.meta)
        method = experiment.Method(predictor, spec, answering.task)
        evaluation = experiment.evaluate(run, method, train, learned)
        others = weighting.ablate_metadata(
            gallery, predictor, answering.task, learned.weights, run.report_split
        )
        further = rivals.compare_rivals(gallery, evaluation, others)
        if options.metadata:
            further["remarks"] = [chosen, *further["remarks"]]
            weights = zip(predictor.metadata, predictor.metadata_weights, strict=True)
            further["metadata_weights"] = dict(weights)
        return experiment.write_report(
            run,
            method,
            learned,
            evaluation,
            score="ap_at_5",
            further=further,
            show=rivals.show_rivals,
        )


# --8<-- [end:main]
if __name__ == "__main__":
    app.run(main, Config)
