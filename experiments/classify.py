"""Exam classification: from images and labels to a trained, evaluated, saved classifier.

    python -m experiments.classify
    python -m experiments.classify --dataset=image_folder --data_dir=MY_IMAGES

PneumoniaMNIST, official test split of 624 images, 5 seeds, settings chosen on validation
(2026-11-23, two cores of an AMD EPYC, jax 0.12.0.1, 59 minutes beside other work, 12 a seed):
mean over seeds AUC 0.988 [0.985, 0.990], accuracy 0.949 [0.945, 0.954]; ensemble 0.990
[0.982, 0.995] and 0.954 [0.936, 0.970]; always the commoner class: 0.500 and 0.625.

    python -m experiments.classify --dataset=pneumoniamnist --data_dir=DIR --model=resnet_slim \
      --seeds=5 --steps=1110 --batch=128 --rotate_degrees=15 --scale=0.15 --shear=0.1 \
      --translate=0.1 --contrast=0.3 --brightness=0.2 --gamma=0.4 --noise=0.05 --dropout=0.3 \
      --label_smoothing=0.1 --ema_decay=0.995 --weight_decay=0.05 --workdir=runs/pneumonia

HAM10000, one image a lesion, seven classes, 1,621 to train; validation split of 288 lesions, which
also chose the checkpoint (2026-11-23, same machine, 25 minutes): balanced accuracy 0.662
[0.585, 0.740], AUC 0.930 [0.909, 0.949]; a constant guess: 0.143 and 0.500.

    python -m experiments.classify --dataset=image_folder --data_dir=DIR --image_size=112 \
      --path_column=image_id --path_folder=images --path_suffix=.jpg --label_column=dx \
      --model=resnet_slim_224 --batch=64 --steps=1600 --best=balanced_accuracy \
      --class_weights=balanced --flip=0,1 --rotate_degrees=180 --scale=0.2 --translate=0.1 \
      --contrast=0.2 --brightness=0.1 --gamma=0.2 --dropout=0.3 --label_smoothing=0.1 \
      --ema_decay=0.99 --weight_decay=0.05 --workdir=runs/ham10000
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from medjax import app, metrics, models, plot, report, stats
from medjax.data import preprocess, source
from medjax.data.options import DataOptions
from medjax.data.source import Dataset, Split
from medjax.errors import UserError
from medjax.models import pretrained
from medjax.ops.augment import Augmentation
from medjax.ops.preprocess import Preprocessing
from medjax.report import Predictions
from medjax.tasks import classification
from medjax.train import feed as feeds
from medjax.train import mesh, optim, run, state, step
from medjax.train.checkpoint import Checkpoints
from medjax.train.feed import Pick
from medjax.train.record import read_lines
from medjax.typing import Array, Key

option = app.option
RESIDENT_BYTES = 4 * 10**9  # larger sets are streamed


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings of one run; its fields are the flags."""

    dataset: str = option("brain_planes", "brain_planes, image_folder, or a set of MedMNIST")
    data_dir: str = option("", "folder or .npz file of the set; empty: made or downloaded",
                           free=True)
    workdir: str = option("runs/classify", "where everything is written", free=True)
    cache_dir: str = option("~/.cache/medjax", "prepared sets and compiled programs", free=True)
    image_size: int = option(0, "resize every side to this many voxels; 0 keeps the size")
    path_column: str = option("path", "metadata.csv: column of the file names")
    label_column: str = option("label", "metadata.csv: column of the classes")
    split_column: str = option("split", "metadata.csv: column of train, val, test")
    subject_column: str = option("subject", "metadata.csv: column of the subjects")
    metadata_columns: tuple[str, ...] = option((), "metadata.csv: further columns to keep")
    path_folder: str = option("", "metadata.csv: folder put before each file name")
    path_suffix: str = option("", "metadata.csv: suffix put after each file name")
    subject_block: int = option(1, "folders: so many files in a row are one subject")
    split_seed: int = option(0, "draws the splits where the set has none")
    subjects: int = option(300, "brain_planes: how many subjects to generate")

    model: str = option("cnn", "the network", choices=tuple(models.CLASSIFIERS))
    init_from: str = option("", ".safetensors of a published ResNet or DenseNet to start from")
    freeze: bool = option(False, "train the last layer only, on the features of --init_from")
    dropout: float = option(0.2, "before the last layer")
    dtype: str = option("float32", "of the computation", choices=("float32", "bfloat16"))
    steps: int = option(1000, "updates")
    batch: int = option(64, "examples an update")
    seed: int = option(0, "of weights, order and augmentation; the first of --seeds")
    seeds: int = option(1, "so many models, trained as one program")
    optimizer: str = option("adamw", "AdamW, or SGD with Nesterov momentum",
                           choices=optim.OPTIMIZERS)
    learning_rate: float = option(2e-3, "its peak")
    schedule: str = option("cosine", "of the learning rate", choices=optim.SCHEDULES)
    warmup_steps: int = option(50, "updates until the peak")
    weight_decay: float = option(0.01, "decoupled, on kernels only")
    momentum: float = option(0.9, "of SGD; first moment of AdamW")
    clip_norm: float = option(1.0, "longest gradient; 0 is off")
    ema_decay: float = option(0.99, "moving average of the weights; 0 is off")
    label_smoothing: float = option(0.05, "share of the target spread over all classes")
    class_weights: str = option("none", "of the loss", choices=("none", "balanced"))
    mixup: float = option(0.0, "alpha of mixup; 0 is off")

    flip: tuple[int, ...] = option((), "axes mirrored at random, comma-separated", item=int)
    rotate_degrees: float = option(10.0, "random rotation, at most")
    scale: float = option(0.1, "random size, at most this much more or less")
    stretch: float = option(0.0, "the same for each axis alone")
    shear: float = option(0.0, "random shear, at most")
    translate: float = option(0.05, "random shift, at most this share of a side")
    crop: float = option(0.0, "random window, at least this share of a side; 0 is off")
    contrast: float = option(0.2, "random contrast, at most")
    brightness: float = option(0.1, "random brightness, at most")
    gamma: float = option(0.2, "random gamma, at most")
    noise: float = option(0.0, "random noise, at most")
    erase: float = option(0.0, "random erased box, at most this share of a side")
    views: int = option(1, "predictions are the mean over so many random views")

    best: str = option("auc", "metric that chooses the checkpoint, on validation",
                       choices=tuple(metrics.CLASSIFICATION))
    eval_every: int = option(0, "updates between evaluations and checkpoints; 0: a tenth of all")
    log_every: int = option(50, "updates between lines of metrics.jsonl", free=True)
    keep: int = option(2, "newest checkpoints kept, beside the best", free=True)
    feed: str = option("auto", "auto keeps sets below 4 GB on the device; streamed seeds share "
                       "one order",
                       choices=("auto", "resident", "stream"))
    bootstrap: int = option(2000, "samples for the intervals", free=True)
    eval_only: bool = option(False, "read the best checkpoint and report", free=True)


def main(config: Config) -> None:
    cache, workdir = Path(config.cache_dir).expanduser(), Path(config.workdir)
    check(config)
    app.check_workdir(workdir, "classify", config)
    app.setup(cache)
    stop = app.StopSignal()
    if config.eval_only and not (workdir / "config.json").exists():
        raise UserError(f"--workdir={workdir}: no run in it to evaluate; train first")
    dataset = source.load(config.dataset, options=pick(DataOptions, config), cache_dir=cache,
                          say=print)
    describe(dataset)
    scaling = preprocess.fit(dataset.splits["train"].images, len(dataset.splits["train"]))
    parts = build(config, dataset, scaling)
    training = plan(config, dataset, parts)
    facts = {"data_sha1": dataset.digest, "preprocessing": dataclasses.asdict(scaling)}
    with app.open_workdir(workdir, "classify", config, **facts):
        if not config.eval_only:
            run.train(training, workdir, stop=stop, say=print)
        if stop():
            print(f"stopped by SIGTERM; the same command goes on from {workdir}/checkpoints")
            return
        finish(config, dataset, parts, training.abstract(), workdir)


def check(config: Config) -> None:
    """Raises UserError for values that no run can have."""
    for name in ("steps", "batch", "seeds", "log_every", "keep", "views", "bootstrap", "subjects",
                 "subject_block"):
        if getattr(config, name) < 1:
            raise UserError(f"--{name}={getattr(config, name)}: must be at least 1")
    for name in ("learning_rate", "warmup_steps", "weight_decay", "clip_norm", "image_size", "seed",
                 "mixup", "eval_every", "rotate_degrees", "scale", "stretch", "shear",
                 "translate", "contrast", "brightness", "gamma", "noise"):
        value = getattr(config, name)
        if not 0 <= value < (2**31 if isinstance(value, int) else np.inf):
            raise UserError(f"--{name}={value}: must not be negative, and finite")
    if config.freeze and not config.init_from:
        raise UserError("--freeze trains on the features of published weights; give --init_from")
    inside = Path(config.workdir).resolve().parents
    if config.data_dir and Path(config.data_dir).resolve() in inside:
        raise UserError(f"--workdir={config.workdir} lies in --data_dir, where its figures would "
                        "be taken for images; choose another")
    for name in ("dropout", "ema_decay", "label_smoothing", "crop", "erase", "momentum"):
        if not 0 <= getattr(config, name) < 1:
            raise UserError(f"--{name}={getattr(config, name)}: must be from 0 to below 1")


def pick(kind: type, config: Config) -> Any:
    """A `kind`, its fields taken from the config's fields of the same names."""
    return kind(**{f.name: getattr(config, f.name) for f in dataclasses.fields(kind)})


def describe(dataset: Dataset) -> None:
    sizes = ", ".join(f"{len(s)} {name}" for name, s in dataset.splits.items())
    kind = "synthetic, " if dataset.info.synthetic else ""
    print(f"{dataset.info.name}: {kind}{dataset.info.modality}; {len(dataset.info.classes)} "
          f"classes; {sizes}", flush=True)
    for note in dataset.notes:
        print(f"note: {note}")


class Parts(NamedTuple):
    """What the settings and the set make together."""

    model: Any
    task: classification.Classification
    optimizer: optax.GradientTransformation
    predict: Callable[[Any, Any, Array], Array]  # for many seeds: [seeds, batch, class]
    frequency: np.ndarray                         # of each class in the training split


def build(config: Config, dataset: Dataset, scaling: Preprocessing) -> Parts:
    """Raises UserError for settings that do not fit the set."""
    train, classes = dataset.splits["train"], dataset.info.classes
    axes = len(train.image_shape) - 1
    if any(not 0 <= axis < axes for axis in config.flip):
        raise UserError(f"--flip={','.join(map(str, config.flip))}: the images have the axes 0 to "
                        f"{axes - 1}")
    frequency = np.bincount(train.label, minlength=len(classes)) / len(train)
    smallest = models.smallest_side(config.model)
    if min(train.image_shape[:-1]) < smallest:
        raise UserError(f"--model={config.model} needs images of {smallest} voxels a side or more; "
                        f"these have {train.image_shape[:-1]}: give --image_size, or another model")
    balanced = tuple((1 / (len(classes) * frequency)).tolist())
    model = models.classifier(
        config.model, num_classes=len(classes), dropout=config.dropout, dtype=config.dtype)
    task = classification.make(
        model, num_classes=len(classes),
        preprocessing=scaling, augmentation=pick(Augmentation, config),
        label_smoothing=config.label_smoothing, mixup_alpha=config.mixup,
        views=config.views, frozen=config.freeze,
        class_weights=balanced if config.class_weights == "balanced" else None)
    optimizer = optim.make(
        config.optimizer, learning_rate=config.learning_rate, steps=config.steps,
        warmup_steps=config.warmup_steps, schedule=config.schedule, momentum=config.momentum,
        weight_decay=config.weight_decay, clip_norm=config.clip_norm,
        only=("fc",) if config.freeze else ())
    predict = jax.jit(step.over_seeds(task.predict, (0, 0, None)))
    return Parts(model, task, optimizer, predict, frequency)


def plan(config: Config, dataset: Dataset, parts: Parts) -> run.Plan:
    """The training run: every leaf of its state has a leading seed axis."""
    train, devices = dataset.splits["train"], mesh.make()
    mesh.check_batch(config.batch, mesh=devices)
    keys = jax.vmap(jax.random.key)(config.seed + jnp.arange(config.seeds))
    streamed = config.feed == "stream" or (config.feed == "auto" and train.nbytes > RESIDENT_BYTES)
    if streamed:
        choose: Pick = feeds.pick_streamed
        data_key = jax.random.split(keys[0])[1]  # as make_advance splits it
        feed = feeds.stream(data_key, lambda i: read(train, i), size=len(train), batch=config.batch)
    else:
        choose = feeds.pick_resident(batch=config.batch)
        feed = feeds.resident(lambda: jax.device_put(read(train, range(len(train))),
                                                     mesh.replicated(devices)))

    tensors = pretrained.read(Path(config.init_from)) if config.init_from else {}

    def init(key: Key) -> state.State:
        blank = jnp.zeros((1, *train.image_shape))
        variables = parts.model.init(key, blank, train=False)
        if tensors:
            variables = pretrained.from_torch(variables, tensors, head=False)
        return state.create(variables["params"], variables.get("batch_stats", {}), parts.optimizer)

    def pick_batch(*args: Any) -> Any:
        return mesh.split_batch(choose(*args), mesh=devices)

    update = step.make_step(parts.task.loss, parts.optimizer, ema_decay=config.ema_decay)
    advance = step.make_advance(update, pick_batch)
    return run.Plan(
        init=step.over_seeds(init, (0,)), advance=step.over_seeds(advance, (0, 0, None, None)),
        evaluate=lambda s: validate(config, dataset.splits["validation"], parts, s),
        score=config.best, higher=config.best not in metrics.LOWER_IS_BETTER, keys=keys, feed=feed,
        sharding=mesh.replicated(devices), steps=config.steps, batch=config.batch,
        eval_every=config.eval_every or max(config.steps // 10, 1), log_every=config.log_every,
        keep=config.keep, streamed=streamed)


def read(split: Split, index: Any) -> dict[str, np.ndarray]:
    """A batch on the host."""
    return {"image": split.images(index), "label": split.label[np.asarray(index)]}


def predict(config: Config, split: Split, parts: Parts, learner: state.State) -> np.ndarray:
    """The probabilities of every case once, in order: `[seeds, cases, class]`."""
    params, batch_stats = learner.mean
    found = []
    for index, valid in feeds.padded(len(split), batch=config.batch):
        values = parts.predict(params, batch_stats, jnp.asarray(split.images(index)))
        found.append(np.asarray(values)[:, valid])
    return np.concatenate(found, axis=1)


def validate(config: Config, split: Split, parts: Parts, learner: state.State) -> dict[str, float]:
    """Loss and metrics on validation, the mean over seeds."""
    each = []
    for probability in predict(config, split, parts, learner).astype(np.float64):
        scores = jax.vmap(parts.task.score)(jnp.asarray(probability), jnp.asarray(split.label))
        total, weight = (float(x.sum()) for x in scores["loss"])
        each.append({"loss": total / weight, **{
            name: metrics.evaluate(m, split.label, probability)
            for name, m in metrics.CLASSIFICATION.items()}})
    return {name: float(np.mean([e[name] for e in each])) for name in each[0]}


def finish(config: Config, dataset: Dataset, parts: Parts, abstract: Any, workdir: Path) -> None:
    """Reads the best checkpoint, and reports on test where there is one, else on validation."""
    checkpoints = Checkpoints(workdir / "checkpoints", read_only=True, say=print)
    best, meta = checkpoints.best(abstract)
    checkpoints.close()
    split = dataset.splits[dataset.report_split]
    classes = dataset.info.classes
    each = [Predictions(split.case_id, split.subject_id, split.label, p, classes)
            for p in predict(config, split, parts, best)]
    whole = Predictions(split.case_id, split.subject_id, split.label,
                        np.mean([e.probability for e in each], axis=0), classes, split.metadata)
    whole.write(workdir / "predictions.csv")
    if len(each) > 1:
        (workdir / "seeds").mkdir(exist_ok=True)
        for s, one in enumerate(each, start=config.seed):
            one.write(workdir / "seeds" / f"predictions_{s}.csv")
    values = [one.values(metrics.CLASSIFICATION) for one in each]
    lines = read_lines(workdir / "metrics.jsonl")
    unknown = dict.fromkeys(("compile_seconds", "examples_per_second"))  # a run that was killed
    ended = [line["train"] for line in lines if "train" in line]
    timing = next((t for t in reversed(ended) if t["steps"] == config.steps),
                  {"steps": meta["step"], "seconds": meta["seconds"], **unknown})
    result = {
        "experiment": "classify", "dataset": dataset.info.name, "split": dataset.report_split,
        "synthetic": dataset.info.synthetic,
        "cases": len(split), "subjects": len(set(split.subject_id)),
        "model": config.model,
        "of": f"ensemble of {len(each)} seeds" if len(each) > 1 else "one seed",
        "metrics": whole.estimates(metrics.CLASSIFICATION, samples=config.bootstrap),
        "baseline": whole.constant(parts.frequency).values(metrics.CLASSIFICATION),
        "seeds": {"each": {str(config.seed + s): v for s, v in enumerate(values)},
                  "mean": {name: stats.mean_interval([v[name] for v in values])
                           for name in metrics.CLASSIFICATION}},
        "parameters": state.count_parameters(best.params) // config.seeds,
        "best_step": meta["step"], "train": timing, "notes": dataset.notes,
        "device": report.device(), "versions": report.versions()}
    report.write(workdir / "report.json", result)
    draw(config, split, whole, lines, workdir)
    report.show_result(result, workdir)


def draw(config: Config, split: Split, found: Predictions, lines: list[dict], workdir: Path
         ) -> None:
    """The five figures."""
    folder = workdir / "figures"
    folder.mkdir(exist_ok=True)
    plot.learning_curve(folder / "learning_curve.png", lines, score=config.best)
    plot.curves(folder / "roc_pr.png", found)
    plot.confusion(folder / "confusion.png", found)
    plot.reliability(folder / "reliability.png", found)
    plot.mistakes(folder / "mistakes.png", found, split.read)


if __name__ == "__main__":
    app.run(main, Config)
