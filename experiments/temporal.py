"""Temporal localisation: the frames that matter in a sequence, by a recurrence over CNN features.

    python -m experiments.temporal
    python -m experiments.temporal --dataset=brain_sweeps --task=planes --recurrence=bilstm
    python -m experiments.temporal --dataset=sequence_folder --data_dir=MY_SEQUENCES

The default, ED and ES of a beating-heart phantom (synthetic); test split, 102 subjects
(2026-11-26, two cores of an Intel Xeon, jax 0.10.2, 12 minutes with the rival, beside other work):
off the short way round the cycle by 0.33 frames [0.27, 0.41]; ED 0.51 [0.40, 0.65], ES 0.16 [0.09,
0.27]. The same encoder without recurrence: 0.71 [0.56, 0.92] (p = 0.002 by Holm's correction); the
area of blood: 1.54; the mean intensity: 1.48; the mean place in training: 5.89. Two days before,
on other subjects, validation chose tcn (0.20) before bilstm (0.29; test 0.45); with `--loss=curve`
1.17, and 1.49 with `--structure=0`.

Intervals of the runs below are percentiles of a bootstrap, as of their day.

Sweeps through the deformed template (synthetic), four planes, 240 to train; test split, 100
subjects (2026-11-24, same machine, 15 minutes beside other work): F1 0.450 [0.425, 0.476], hit rate
0.940 [0.915, 0.962]; without recurrence, averaged over as many frames as suit validation, 0.409
[0.385, 0.434] and 0.935 (F1: p = 0.0005); the mean place in training: 0 and 0.185. With 120 to
train and half the updates the recurrence was no better in F1 (0.378 against 0.372). With
`--by_length` 15 to 17 sequences a second instead of 10 (2026-11-25, same machine).

    python -m experiments.temporal --dataset=brain_sweeps --task=planes --recurrence=bilstm \
      --workdir=runs/sweeps

Sunnybrook, four patients, each left out once (two to train, one to choose the checkpoint), from the
weights of the default (2026-11-25, same machine, 1 minute each); the 39 slices alone: 2.15 frames
(ED 2.21, ES 2.10; the day before, from other weights, 1.80); one answer a patient, by the mean over
its slices: 1.13 (ED 1.75, 73 ms; ES 0.50, 18 ms). Four patients give no interval. The mean place in
training has 0.88, as all four recordings begin at the same beat; the area of blood 1.96. By a
bidirectional LSTM, learnt on 120 hearts, the day before: 1.12 (ED 1.50, ES 0.75).

    python -m experiments.temporal --dataset=sunnybrook_cine --data_dir=DIR --fold=1 \
      --init_from=runs/temporal --steps=100 --learning_rate=1e-3 --scale=0.2 \
      --rotate_degrees=180 --flip=0 --translate=0.1 --rival=false --workdir=runs/sunnybrook1
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from medjax import app, models, settings, weights
from medjax.config import option, replace_settings, unique_names
from medjax.data import preprocess
from medjax.data.options import SequenceOptions
from medjax.data.source import Dataset, Split
from medjax.errors import UserError
from medjax.evaluation import metrics, plot, report
from medjax.evaluation.metrics import Metric
from medjax.evaluation.stats import Estimate
from medjax.models import pretrained, sononet
from medjax.ops import sequence
from medjax.ops.augment import Augmentation
from medjax.ops.preprocess import Preprocessing
from medjax.outputs import base
from medjax.outputs.base import ModelSpec
from medjax.outputs.frames import metrics as temporal_metrics
from medjax.outputs.frames import plot as temporal_plot
from medjax.outputs.frames import report as temporal_report
from medjax.outputs.frames.report import SequencePredictions
from medjax.run_options import AUGMENTATION, FileOptions, ReportOptions
from medjax.tasks.predictors import TemporalPredictor
from medjax.tasks.temporal import predictor as temporal
from medjax.tasks.temporal import task as tasks
from medjax.train import mesh, run, state
from medjax.train.options import FeedOptions, TrainingOptions
from medjax.train.record import read_lines
from medjax.typing import Array, Key

RIVAL = "per_frame"  # folder of the network without recurrence, in that of the run
WIDTHS = (1, 3, 5, 7, 9)  # frames of a moving average, of which validation chooses


@unique_names
@dataclasses.dataclass(frozen=True)
class Config:
    """The settings of one run; its fields are the flags."""

    dataset: str = option(
        "",
        "beating_heart, brain_sweeps, sequence_folder, sunnybrook_cine, acdc or echonet_dynamic; "
        "empty: sequence_folder with --data_dir, else beating_heart",
    )
    data: SequenceOptions = SequenceOptions()
    predictor: TemporalPredictor = TemporalPredictor()
    init_from: str = option(
        "",
        "where weights come from: .safetensors (ResNet, DenseNet) or .npz (SonoNet) for the "
        "encoder, or the work directory of a run",
        path=True,
    )
    encoder_rate: float = option(
        1.0, "learning rate of the encoder, as a share; 0: frozen", least=0
    )
    remat: bool = option(False, "keep less in memory, compute it twice")
    dropout: float = option(0.0, "before the encoder's last layer", least=0, below=1)
    structure: float = option(
        1.0, "curve: weight of the loss that keeps it falling and rising", least=0
    )
    balance: float = option(0.5, "planes: exponent of how rare a name is, as its weight", least=0)
    reverse: bool = option(False, "train on reversed sequences too")
    by_length: bool = option(
        False,
        "the sequences of a batch are about as long as one another, so that few frames are "
        "computed in vain; four programs are compiled",
    )
    train_window: int = option(0, "train on so many frames in a row; 0: all", least=0)
    rival: bool = option(
        True,
        "train the same encoder without recurrence too, averaged over frames, to stand in the "
        "same table",
    )
    training: TrainingOptions = TrainingOptions(steps=800, batch=8)
    feeding: FeedOptions = FeedOptions()
    augmentation: Augmentation = AUGMENTATION
    units: str = option("ms", "report milliseconds too, or frames only", choices=("ms", "frames"))
    hit_frames: int = option(2, "planes: a hit is at most so many frames off", least=0)
    report: ReportOptions = ReportOptions()
    files: FileOptions = FileOptions("runs/temporal")

    @property
    def model(self) -> str:
        return f"{self.predictor.encoder} + {self.predictor.recurrence}"


def main(config: Config) -> None:
    config = replace_settings(
        config, loss=config.predictor.loss or tasks.LOSSES[config.predictor.task][0]
    )
    check(config)
    config, dataset, stop = settings.begin(config, "temporal", default="beating_heart")
    check_set(config, dataset)
    train = dataset.splits["train"]
    scaling = fit(config, train)

    def train_one(config: Config, done: Callable[[Any, dict, "Parts"], None]) -> None:
        parts = build(config, dataset, scaling)
        settings.train_and_report(
            config,
            "temporal",
            plan(config, dataset, parts),
            parts.how,
            parts.trained,
            lambda weights, meta: done(weights, meta, parts),
            dataset.digest,
            stop,
        )

    def report_with_rival(weights: Any, meta: dict, parts: "Parts") -> None:
        others: dict[str, SequencePredictions] = {}
        of_run = config.init_from and Path(config.init_from).is_dir()
        begun = Path(config.init_from, RIVAL) if of_run else None
        alone = replace_settings(
            config,
            recurrence="none",
            init_from=str(begun or config.init_from),
            workdir=str(Path(config.files.workdir, RIVAL)),
        )
        if config.rival and config.predictor.recurrence != "none":
            print("the same encoder without recurrence:", flush=True)
            train_one(
                alone,
                lambda weights, _, parts: others.update(averaged(alone, dataset, parts, weights)),
            )
        finish(config, dataset, parts, weights, meta, others)

    train_one(config, report_with_rival)


def check(config: Config) -> None:
    """Raises UserError for values that no run can have."""
    if config.predictor.loss not in tasks.LOSSES[config.predictor.task]:
        raise UserError(
            f"`loss={config.predictor.loss}` is not for `task={config.predictor.task}`; choose "
            f"{' or '.join(tasks.LOSSES[config.predictor.task])}"
        )
    if config.predictor.smooth % 2 == 0:
        raise UserError(
            f"`smooth={config.predictor.smooth}`: must be odd, so that no frame is shifted"
        )
    if config.train_window and config.by_length:
        raise UserError("`by_length`: with `train_window` all are as long already")
    if config.train_window == 1:
        raise UserError("`train_window=1`: a window has two frames or more")
    if config.init_from and not Path(config.init_from).exists():
        raise UserError(f"`init_from={config.init_from}`: no such file or folder")
    rival = (
        config.rival
        and config.predictor.recurrence != "none"
        and config.init_from
        and Path(config.init_from).is_dir()
    )
    if rival and not Path(config.init_from, RIVAL, weights.NAME).exists():
        raise UserError(
            f"`init_from={config.init_from}`: that run has no rival, for the rival of "
            "this one to start from; give `rival=false`"
        )
    if config.encoder_rate == 0 and not config.init_from:
        raise UserError("`encoder_rate=0` uses the features of `init_from`; give it")


def check_set(config: Config, dataset: Dataset) -> None:
    """Raises UserError for settings that do not fit the set."""
    info = dataset.info
    if config.predictor.loss == "curve" and len(info.frames) != 2:
        raise UserError(
            f"`loss=curve` is for two names, ED and ES; {info.name} has "
            f"{', '.join(info.frames)}: give `loss=time`"
        )
    if info.cyclic and config.train_window:
        raise UserError(f"`train_window`: the sequences of {info.name} are whole cycles")
    for name, split in dataset.splits.items():
        if config.predictor.task == "frames":
            several = np.argwhere(split["marks"].sum(1) > 1)
            if len(several):
                i, j = several[0]
                raise UserError(
                    f"{split.case_id[i]} of {name} has several frames called "
                    f"{info.frames[j]}; give `task=planes`"
                )
        unknown = np.isnan(split["frame_ms"])
        if config.predictor.task == "frames" and config.units == "ms" and unknown.any():
            raise UserError(
                f"{split.case_id[int(unknown.argmax())]} of {name}: the time between "
                "its frames is not known; give the column frame_ms, `frame_ms`, or "
                "`units=frames`"
            )


def fit(config: Config, train: Split) -> Preprocessing:
    """How pixels are scaled, from the real frames of the training split."""

    def read(index: Any) -> np.ndarray:
        return np.concatenate([train.read(int(i))[: train["length"][i]] for i in index])

    scaling = preprocess.fit(read, len(train))
    if not config.init_from.endswith(".npz"):
        return scaling
    # The authors of SonoNet give their network a standard deviation of 255.
    return dataclasses.replace(scaling, sd=tuple(s / 255 for s in scaling.sd))


class Parts(NamedTuple):
    """What the settings and the set make together."""

    how: TemporalPredictor
    trained: ModelSpec
    model: models.FrameNetwork
    task: tasks.TemporalTask
    optimizer: optax.GradientTransformation
    predict: Callable[..., Array]  # leading seed axis
    metrics: dict[str, Metric]

    @property
    def score(self) -> str:
        """The metric that chooses the checkpoint: the first."""
        return next(iter(self.metrics))


def build(config: Config, dataset: Dataset, scaling: Preprocessing) -> Parts:
    """Raises UserError for settings that do not fit the set."""
    train, info = dataset.splits["train"], dataset.info
    smallest = models.smallest_side(config.predictor.encoder)
    if min(train.image_shape[1:3]) < smallest:
        raise UserError(
            f"`encoder={config.predictor.encoder}` needs frames of {smallest} pixels a side or "
            f"more; these have {train.image_shape[1:3]}: give `image_shape`"
        )
    how, trained = (
        dataclasses.replace(config.predictor, frame_ms=config.data.frame_ms),
        base.describe_model(dataset, scaling, config),
    )
    model = how.network(trained, dropout=config.dropout, remat=config.remat)
    share = train["marks"].sum((0, 1)) / train["length"].sum()
    rarity = ((1 - share) / np.maximum(share, 1e-9)) ** config.balance
    task = how.make(
        model,
        trained,
        augmentation=settings.augmentation(config, axes=2),
        window=config.train_window,
        structure=config.structure,
        reverse=config.reverse,
        rarity=tuple(rarity.tolist()),
        frozen=config.encoder_rate == 0,
    )
    metrics = (
        temporal_metrics.of_frames(info.frames, milliseconds=config.units == "ms")
        if config.predictor.task == "frames"
        else (temporal_metrics.of_planes(info.frames, frames=config.hit_frames))
    )
    return Parts(how, trained, model, task, optimizer(config), temporal.program(task), metrics)


def optimizer(config: Config) -> optax.GradientTransformation:
    """As the flags have it, the encoder at a rate of its own."""
    if config.encoder_rate == 0:
        names = ("cell", "recurrent", "convolutions", "dense", "head")
        return settings.optimizer(config, only=names)
    slower = optax.masked(
        optax.scale(config.encoder_rate),
        lambda params: {
            name: jax.tree.map(lambda _, n=name: n == "encoder", p) for name, p in params.items()
        },
    )
    return optax.chain(settings.optimizer(config), slower)


def plan(config: Config, dataset: Dataset, parts: Parts) -> run.Plan:
    """The training run."""
    train, source = dataset.splits["train"], config.init_from
    shape, longest = (1, 2, *train.image_shape[1:]), train.image_shape[0]
    alike: dict[str, Any] = (
        {
            "length": train["length"],
            "shorten": partial(tasks.shortened, sizes=[-(-longest * i // 4) for i in range(1, 5)]),
        }
        if config.by_length
        else {}
    )

    def init(key: Key) -> state.TrainState:
        variables = parts.model.init(key, jnp.zeros(shape), jnp.array([2]), train=False)
        params, stats = variables["params"], variables.get("batch_stats", {})
        if source and not Path(source).is_dir():
            inside = {"params": params["encoder"], "batch_stats": stats.get("encoder", {})}
            inside = (
                sononet.from_lasagne(inside, arrays, head=False)
                if source.endswith(".npz")
                else pretrained.from_torch(inside, tensors, head=False)
            )
            params = {**params, "encoder": inside["params"]}
            stats = {**stats, "encoder": inside["batch_stats"]}
        return state.create(params, stats, parts.optimizer)

    def make(init: Callable[[Key], state.TrainState]) -> run.Plan:
        return settings.plan(
            config,
            train,
            columns=("marks", "length"),
            init=init,
            loss=parts.task.loss,
            **alike,
            optimizer=parts.optimizer,
            score=parts.score,
            higher=config.predictor.task == "planes",
            evaluate=lambda s: validate(config, dataset, parts, s),
        )

    if source and Path(source).is_dir():
        one = jax.eval_shape(init, jax.random.key(0))
        params, stats = weights.of_run(Path(source), (one.params, one.stats))
        return make(lambda key: state.create(params, stats, parts.optimizer))
    if source.endswith(".npz"):
        arrays = sononet.read(Path(source))
    elif source:
        tensors = pretrained.read(Path(source))
    return make(init)


def predict(
    config: Config, dataset: Dataset, name: str, parts: Parts, weights: Any
) -> list[SequencePredictions]:
    """Every sequence of a split once, by each seed."""
    score = temporal.scores(
        parts.predict,
        weights,
        dataset.splits[name],
        batch=config.training.batch,
        seeds=config.training.seeds,
    )
    return [of_set(config, dataset, name, s) for s in score]


def of_set(config: Config, dataset: Dataset, name: str, score: np.ndarray) -> SequencePredictions:
    return temporal_report.of_split(
        dataset.splits[name],
        dataset.info.frames,
        score,
        task=config.predictor.task,
        cyclic=dataset.info.cyclic,
    )


def validate(config: Config, dataset: Dataset, parts: Parts, weights: Any) -> dict[str, float]:
    """Metrics on validation, the mean over seeds."""
    values = [
        e.values(parts.metrics) for e in predict(config, dataset, "validation", parts, weights)
    ]
    return {name: float(np.mean([v[name] for v in values])) for name in values[0]}


def averaged(
    config: Config, dataset: Dataset, parts: Parts, weights: Any
) -> dict[str, SequencePredictions]:
    """The network without recurrence, and its scores averaged over as many frames as suits
    validation best."""

    def smoothed(name: str, width: int) -> SequencePredictions:
        found = temporal.ensemble(predict(config, dataset, name, parts, weights))
        length = jnp.asarray(dataset.splits[name]["length"])
        score = jax.vmap(
            lambda x, n: sequence.moving_average(x, n, width=width, cyclic=found.cyclic)
        )(jnp.nan_to_num(found.score), length)
        return of_set(config, dataset, name, np.asarray(score))

    sign = 1 if config.predictor.task == "planes" else -1
    tried = {w: sign * smoothed("validation", w).values(parts.metrics)[parts.score] for w in WIDTHS}
    width = max(tried, key=lambda w: tried[w])
    return {
        f"per frame, mean of {w}" if w > 1 else "per frame": smoothed(dataset.report_split, w)
        for w in sorted({1, width})
    }


def finish(
    config: Config,
    dataset: Dataset,
    parts: Parts,
    weights: Any,
    meta: dict,
    others: dict[str, SequencePredictions],
) -> None:
    """Reports the best checkpoint on test where there is one, else on validation."""
    name, workdir = dataset.report_split, Path(config.files.workdir)
    split, train = dataset.splits[name], dataset.splits["train"]
    each = predict(config, dataset, name, parts, weights)
    if not mesh.is_first():
        return
    whole = temporal.ensemble(each)
    whole.write(workdir / "predictions.csv")
    mean = of_set(
        config, dataset, name, temporal_report.at_mean(train, split, cyclic=dataset.info.cyclic)
    )
    if dataset.info.frames == ("ED", "ES"):
        others = others | {
            k: of_set(config, dataset, name, v)
            for k, v in temporal_report.by_brightness(split).items()
        }
    rows = {"network": whole, **others, "mean place in train": mean}
    if len(set(split.subject_id)) < len(split):
        rows["network, mean over a subject"] = temporal_report.pooled(whole)
    beside: dict[str, dict[str, Estimate]] = {
        who: row.estimates(parts.metrics, samples=config.report.bootstrap)
        for who, row in rows.items()
    }
    compared = report.corrected(
        {
            who: whole.compare(row, parts.metrics[parts.score], samples=config.report.bootstrap)
            for who, row in rows.items()
            if row is not whole
        }
    )
    result = {
        **settings.facts(config, "temporal", dataset, weights, meta, workdir, unit="sequences"),
        "metrics": beside["network"],
        "baseline": mean.values(parts.metrics),
        "baseline_is": "each frame where it lies in the training sequences in the mean",
        "definitions": metrics.definitions(parts.metrics),
        "missing_in_reference": int(np.isnan(whole.off).sum()),
        "beside": beside,
        "compared": compared,
        "seeds": settings.by_seed(config, [e.values(parts.metrics) for e in each]),
    }
    report.write(workdir / "report.json", result)
    draw(config, split, parts, whole, workdir)
    report.show_result(result, workdir)
    columns = [
        m
        for m in parts.metrics
        if m.endswith("afd_cyclic") or m in ("f1", "average_precision", "hit_rate")
    ]
    temporal_report.show_beside(beside, compared, columns, parts.score)


def draw(
    config: Config, split: Split, parts: Parts, found: SequencePredictions, workdir: Path
) -> None:
    """The figures."""
    folder = workdir / "figures"
    folder.mkdir(exist_ok=True)
    plot.learning_curve(
        folder / "learning_curve.png",
        read_lines(workdir / "metrics.jsonl"),
        score=parts.score,
        unit="loss",
    )
    temporal_plot.curves(folder / "curves.png", found, curve=config.predictor.loss == "curve")
    temporal_plot.thumbnails(folder / "frames.png", found, split)
    temporal_plot.differences(folder / "differences.png", found)


if __name__ == "__main__":
    app.run(main, Config)
