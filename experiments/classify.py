"""Exam classification: from images and labels to a trained, evaluated, saved classifier.

    python -m experiments.classify
    python -m experiments.classify --dataset=image_folder --data_dir=MY_IMAGES

PneumoniaMNIST, official test split of 624 images, 5 seeds, settings chosen on validation
(2026-11-23, two cores of an AMD EPYC, jax 0.12.0.1, 59 minutes beside other work, 12 a seed):
mean over seeds AUC 0.988 [0.985, 0.990], accuracy 0.949 [0.945, 0.954]; ensemble 0.990
[0.982, 0.995] and 0.954 [0.936, 0.970]; always the commoner class: 0.500 and 0.625. Intervals
here and below are percentiles of a bootstrap, as of their day.

    python -m experiments.classify --dataset=pneumoniamnist --data_dir=DIR --model=resnet_slim \
      --seeds=5 --steps=1110 --batch=128 --rotate_degrees=15 --scale=0.15 --shear=0.1 \
      --translate=0.1 --contrast=0.3 --brightness=0.2 --gamma=0.4 --noise=0.05 --dropout=0.3 \
      --label_smoothing=0.1 --ema_decay=0.995 --weight_decay=0.05 --workdir=runs/pneumonia

HAM10000, one image a lesion, seven classes, 1,621 to train; validation split of 288 lesions, which
also chose the checkpoint (2026-11-23, same machine, 45 minutes beside other work): balanced
accuracy 0.680 [0.606, 0.755], AUC 0.928 [0.905, 0.950]; a constant guess: 0.143 and 0.500. Half the
steps and one view: 0.662.

    python -m experiments.classify --dataset=image_folder --data_dir=DIR --image_size=112 \
      --fit=stretch --path_column=image_id --path_folder=images --path_suffix=.jpg \
      --label_column=dx --model=resnet_slim_224 --batch=64 --steps=3200 --views=8 \
      --best=balanced_accuracy --class_weights=balanced --flip=0,1 --rotate_degrees=180 \
      --scale=0.2 --translate=0.1 --contrast=0.2 --brightness=0.1 --gamma=0.2 --dropout=0.3 \
      --label_smoothing=0.1 --ema_decay=0.99 --weight_decay=0.05 --workdir=runs/ham10000
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from medjax import app, models, settings
from medjax.config import option, unique_names
from medjax.data import preprocess
from medjax.data.options import DataOptions
from medjax.data.source import Dataset, Split
from medjax.errors import UserError
from medjax.evaluation import metrics, plot, report
from medjax.evaluation.report import Predictions
from medjax.models import pretrained
from medjax.ops.augment import Augmentation
from medjax.ops.preprocess import Preprocessing
from medjax.outputs import base
from medjax.outputs.base import ModelSpec
from medjax.run_options import AUGMENTATION, FileOptions, ReportOptions
from medjax.tasks.classification import predictor as classify
from medjax.tasks.classification import task as classification
from medjax.tasks.predictors import ClassificationPredictor
from medjax.train import mesh, run, state
from medjax.train.options import FeedOptions, TrainingOptions
from medjax.train.record import read_lines
from medjax.typing import Array, Key


@unique_names
@dataclasses.dataclass(frozen=True)
class Config:
    """The settings of one run; its fields are the flags."""

    dataset: str = option(
        "",
        "brain_planes, image_folder, or a set of MedMNIST; empty: what --data_dir is, without it "
        "brain_planes",
    )
    data: DataOptions = DataOptions()
    predictor: ClassificationPredictor = ClassificationPredictor()
    init_from: str = option(
        "", ".safetensors of a published ResNet or DenseNet to start from", path=True
    )
    freeze: bool = option(False, "train the last layer only, on the features of --init_from")
    dropout: float = option(0.2, "before the last layer", least=0, below=1)
    label_smoothing: float = option(
        0.05, "share of the target spread over all classes", least=0, below=1
    )
    class_weights: str = option("none", "of the loss", choices=("none", "balanced"))
    mixup: float = option(0.0, "alpha of mixup; 0 is off", least=0)
    training: TrainingOptions = TrainingOptions()
    feeding: FeedOptions = FeedOptions()
    augmentation: Augmentation = AUGMENTATION
    best: str = option(
        "auc",
        "metric that chooses the checkpoint, on validation",
        choices=(*metrics.CLASSIFICATION, metrics.ORDERED),
    )
    report: ReportOptions = ReportOptions()
    files: FileOptions = FileOptions("runs/classify")


def main(config: Config) -> None:
    if config.freeze and not config.init_from:
        raise UserError("`freeze` trains on the features of published weights; give `init_from`")
    config, dataset, stop = settings.begin(config, "classify", default="brain_planes")
    scaling = preprocess.fit(dataset.splits["train"].images, len(dataset.splits["train"]))
    parts = build(config, dataset, scaling)
    training = plan(config, dataset, parts)
    settings.train_and_report(
        config,
        "classify",
        training,
        parts.how,
        parts.trained,
        lambda weights, meta: finish(config, dataset, parts, weights, meta),
        dataset.digest,
        stop,
    )


class Parts(NamedTuple):
    """What the settings and the set make together."""

    how: ClassificationPredictor
    trained: ModelSpec
    model: Any
    task: classification.ClassificationTask
    optimizer: optax.GradientTransformation
    predict: Callable[[Any, Any, Array], Array]  # for many seeds: [seeds, batch, class]
    frequency: np.ndarray  # of each class in the training split
    metrics: dict[str, metrics.Metric]
    score: str  # chooses the checkpoint, on validation


def build(config: Config, dataset: Dataset, scaling: Preprocessing) -> Parts:
    """Raises UserError for settings that do not fit the set."""
    train, classes = dataset.splits["train"], dataset.info.classes
    varied = settings.augmentation(config, axes=len(train.image_shape) - 1)
    frequency = np.bincount(train["label"], minlength=len(classes)) / len(train)
    smallest = models.smallest_side(config.predictor.model)
    if min(train.image_shape[:-1]) < smallest:
        raise UserError(
            f"`model={config.predictor.model}` needs images of {smallest} voxels a side or more; "
            f"these have {train.image_shape[:-1]}: give `image_size`, or another model"
        )
    balanced = tuple((1 / (len(classes) * frequency)).tolist())
    how = dataclasses.replace(
        config.predictor,
        augmentation=varied,
        image_size=config.data.image_size,
        fit=config.data.fit,
    )
    trained = base.describe_model(dataset, scaling, config)
    model = how.network(trained, dropout=config.dropout)
    task = how.task(
        model,
        trained,
        label_smoothing=config.label_smoothing,
        mixup_alpha=config.mixup,
        frozen=config.freeze,
        class_weights=balanced if config.class_weights == "balanced" else None,
    )
    optimizer = settings.optimizer(config, only=("fc",) if config.freeze else ())
    return Parts(
        how,
        trained,
        model,
        task,
        optimizer,
        classify.program(task),
        frequency,
        measured(config, dataset),
        chosen_by(config, dataset),
    )


def measured(config: Config, dataset: Dataset) -> dict[str, metrics.Metric]:
    """The metrics of the set's classes; raises UserError if --best is none of them."""
    info = dataset.info
    found = metrics.of_classes(info.classes, positive=info.positive, ordered=info.ordered)
    if config.best not in found:
        raise UserError(
            f"`best={config.best}`: the classes of {info.name} have no order; declare "
            "it with `class_order`, or choose another"
        )
    return found


def chosen_by(config: Config, dataset: Dataset) -> str:
    """What chooses the checkpoint: --best, or the loss where validation lacks a class it needs."""
    there = set(dataset.splits["validation"]["label"].tolist())
    lacking = [c for i, c in enumerate(dataset.info.classes) if i not in there]
    if not lacking or config.best not in metrics.NEEDS_EVERY_CLASS:
        return config.best
    print(
        f"note: {config.best} is undefined on validation, which has no {', '.join(lacking)}: the "
        "loss chooses the checkpoint"
    )
    return "loss"


def plan(config: Config, dataset: Dataset, parts: Parts) -> run.Plan:
    """The training run."""
    train = dataset.splits["train"]
    tensors = pretrained.read(Path(config.init_from)) if config.init_from else {}

    def init(key: Key) -> state.TrainState:
        blank = jnp.zeros((1, *train.image_shape))
        variables = parts.model.init(key, blank, train=False)
        if tensors:
            variables = pretrained.from_torch(variables, tensors, head=False)
        return state.create(variables["params"], variables.get("batch_stats", {}), parts.optimizer)

    return settings.plan(
        config,
        train,
        columns=("label",),
        init=init,
        loss=parts.task.loss,
        optimizer=parts.optimizer,
        score=parts.score,
        higher=parts.score not in (*metrics.LOWER_IS_BETTER, "loss"),
        evaluate=lambda s: validate(config, dataset.splits["validation"], parts, s),
    )


def predict(config: Config, split: Split, parts: Parts, weights: Any) -> np.ndarray:
    """The probabilities of every case once, in order: `[seeds, cases, class]`."""
    return classify.probabilities(parts.predict, weights, split, batch=config.training.batch)


def validate(config: Config, split: Split, parts: Parts, weights: Any) -> dict[str, float]:
    """Loss and metrics on validation, the mean over seeds."""
    each = []
    for probability in predict(config, split, parts, weights).astype(np.float64):
        scores = jax.vmap(parts.task.score)(jnp.asarray(probability), jnp.asarray(split["label"]))
        total, weight = (float(x.sum()) for x in scores["loss"])
        each.append(
            {
                "loss": total / weight,
                **{
                    name: metrics.evaluate(m, split["label"], probability)
                    for name, m in parts.metrics.items()
                },
            }
        )
    return {name: float(np.mean([e[name] for e in each])) for name in each[0]}


def finish(config: Config, dataset: Dataset, parts: Parts, weights: Any, meta: dict) -> None:
    """Reports the best checkpoint on test where there is one, else on validation."""
    workdir = Path(config.files.workdir)
    split = dataset.splits[dataset.report_split]
    classes = dataset.info.classes
    each = [
        Predictions(split.case_id, split.subject_id, split["label"], p, classes)
        for p in predict(config, split, parts, weights)
    ]
    if not mesh.is_first():
        return
    whole = Predictions(
        split.case_id,
        split.subject_id,
        split["label"],
        np.mean([e.probability for e in each], axis=0),
        classes,
        split.metadata,
    )
    whole.write(workdir / "predictions.csv")
    if len(each) > 1:
        (workdir / "seeds").mkdir(exist_ok=True)
        for s, one in enumerate(each, start=config.training.seed):
            one.write(workdir / "seeds" / f"predictions_{s}.csv")
    values = [one.values(parts.metrics) for one in each]
    result = {
        **settings.facts(config, "classify", dataset, weights, meta, workdir),
        "metrics": whole.estimates(parts.metrics, samples=config.report.bootstrap),
        "baseline": whole.constant(parts.frequency).values(parts.metrics),
        "baseline_is": "the training set's class frequencies for every case",
        "definitions": metrics.definitions(parts.metrics),
        "positive": dataset.info.positive,
        "classes": metrics.by_class(whole.label, whole.probability, classes),
        "seeds": settings.by_seed(config, values),
    }
    report.write(workdir / "report.json", result)
    draw(parts, split, whole, read_lines(workdir / "metrics.jsonl"), workdir)
    report.show_classes(result)
    report.show_result(result, workdir)


def draw(parts: Parts, split: Split, found: Predictions, lines: list[dict], workdir: Path) -> None:
    """The five figures."""
    folder = workdir / "figures"
    folder.mkdir(exist_ok=True)
    plot.learning_curve(folder / "learning_curve.png", lines, score=parts.score)
    plot.curves(folder / "roc_pr.png", found)
    plot.confusion(folder / "confusion.png", found)
    plot.reliability(folder / "reliability.png", found)
    plot.mistakes(folder / "mistakes.png", found, split.read)


if __name__ == "__main__":
    app.run(main, Config)
