"""The flags that trained experiments share, and what follows from them alone."""

import dataclasses
import hashlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from medjax import report, stats, weights
from medjax.app import STOPPED, StopSignal, check_workdir, join, open_workdir, option, setup
from medjax.data import source
from medjax.data.landmarks.published import WRIST
from medjax.data.source import Dataset, Split
from medjax.errors import UserError
from medjax.ops.augment import Augmentation
from medjax.train import feed as feeds
from medjax.train import mesh, optim, run, state, step
from medjax.train.checkpoint import Checkpoints
from medjax.train.feed import Pick
from medjax.train.record import read_lines
from medjax.typing import Key

RESIDENT_BYTES = 4 * 10**9  # larger sets are streamed
Columns = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Files:
    """Where things are."""

    data_dir: str = option("", "folder or file of the set; empty: made or downloaded", free=True)
    workdir: str = option("", "where everything is written", free=True)
    cache_dir: str = option("~/.cache/medjax", "prepared sets and compiled programs", free=True)
    path_folder: str = option("", "tables: folder put before each file name")
    path_suffix: str = option("", "tables: suffix put after each file name")
    split_column: str = option("split", "tables: column of train, val, test")
    subject_column: str = option("subject", "tables: column of the subjects")
    split_seed: int = option(0, "draws the splits where the set has none")
    subjects: int = option(300, "generated sets: how many subjects")


@dataclasses.dataclass(frozen=True)
class GridFiles(Files):
    """Where images are that are brought to one grid."""

    subjects: int = option(200, "generated sets: how many subjects")
    path_column: str = option("", "table: column of the files; empty: the usual names")
    image_shape: tuple[int, ...] = option((), "bring every image or frame to this shape; empty: "
                                          "the set's own", item=int)
    grid_mm: float = option(0.0, "size of a voxel then; 0: each image is scaled to fit")
    window: tuple[float, ...] = option((), "intensities that become black and white; empty: "
                                       "percentiles of each image or sequence", item=float)


@dataclasses.dataclass(frozen=True)
class LandmarkFiles(GridFiles):
    """Where images with landmarks are."""

    name_column: str = option("", "landmarks.csv, a row a landmark: column of their names")
    coordinates: str = option("", "landmarks.csv: what x, y, z are where their names do not say",
                              choices=("", "pixel", "voxel", "LPS", "RAS"))
    spacing_column: str = option("spacing_mm", "landmarks.csv: column with the size of a pixel")
    pose_from: str = option("", "work directory of an earlier run on the same images: its "
                            "predictions turn them into one pose")
    fold: int = option(1, "hand_xray: cross-validation fold")
    wrist: str = option("payer", "hand_xray: points that are 50 mm apart", choices=tuple(WRIST))


@dataclasses.dataclass(frozen=True)
class SequenceFiles(GridFiles):
    """Where sequences with named frames are."""

    subjects: int = option(400, "generated sets: how many subjects")
    frame_ms: float = option(0.0, "from one frame to the next, where no file tells it")
    cyclic: bool = option(False, "sequence_folder: each sequence is one whole cycle")
    fold: int = option(1, "sunnybrook_cine: the patient that is left out, from 1")


@dataclasses.dataclass(frozen=True)
class Training:
    """How a network is trained."""

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
    eval_every: int = option(0, "updates between evaluations and checkpoints; 0: a tenth of all")
    log_every: int = option(50, "updates between lines of metrics.jsonl", free=True)
    keep: int = option(2, "newest checkpoints kept, beside the best", free=True)
    shard_state: bool = option(False, "weights and optimiser split over the devices, not a copy on "
                               "each", free=True)
    feed: str = option("auto", "auto keeps sets below 4 GB on the device; streamed seeds share "
                       "one order", choices=("auto", "resident", "stream"))
    bootstrap: int = option(2000, "samples for the intervals", free=True)
    eval_only: bool = option(False, "read the best checkpoint and report", free=True)


@dataclasses.dataclass(frozen=True)
class Augmenting:
    """How images vary in training; the fields are those of `Augmentation`."""

    flip: tuple[int, ...] = option((), "axes mirrored at random, comma-separated", item=int)
    rotate_degrees: float = option(10.0, "random rotation, at most")
    scale: float = option(0.1, "random size, at most this much more or less")
    stretch: float = option(0.0, "the same for each axis alone")
    shear: float = option(0.0, "random shear, at most")
    translate: float = option(0.05, "random shift, at most this share of a side")
    crop: float = option(0.0, "random window, at least this share of a side; 0 is off")
    elastic: float = option(0.0, "random deformation, at most this share of what could fold")
    elastic_points: int = option(5, "its control points along each axis")
    contrast: float = option(0.2, "random contrast, at most")
    brightness: float = option(0.1, "random brightness, at most")
    gamma: float = option(0.2, "random gamma, at most")
    noise: float = option(0.0, "random noise, at most")
    erase: float = option(0.0, "random erased box, at most this share of a side")


_AT_LEAST_ONE = ("steps", "batch", "seeds", "log_every", "keep", "bootstrap", "subjects")
_AMOUNTS = ("rotate_degrees", "scale", "stretch", "shear", "translate", "contrast", "brightness",
            "gamma", "noise")
_BELOW_ONE = ("dropout", "ema_decay", "label_smoothing", "momentum")
_SHARES = ("crop", "erase", "elastic")


def check(config: Any, *, sizes: Columns = (), amounts: Columns = ()) -> None:
    """Raises UserError for values that no run can have.

    Args:
      sizes: further fields that must be at least 1.
      amounts: fields that must be finite and not negative, where 0 has a meaning.
    """
    names = {f.name for f in dataclasses.fields(config)}
    varies = isinstance(config, Augmenting)
    amounts += _AMOUNTS if varies else ()
    for name in (*_AT_LEAST_ONE, *sizes):
        if getattr(config, name) < (name not in amounts):
            raise UserError(f"--{name}={getattr(config, name)}: must be at least 1")
    for name in ("learning_rate", "warmup_steps", "weight_decay", "clip_norm", "seed",
                 "eval_every", *amounts):
        value = getattr(config, name)
        if not 0 <= value < (2**31 if isinstance(value, int) else np.inf):
            raise UserError(f"--{name}={value}: must not be negative, and finite")
    for name in (*_BELOW_ONE, *(_SHARES if varies else ())):
        if name in names and not 0 <= getattr(config, name) < 1:
            raise UserError(f"--{name}={getattr(config, name)}: must be from 0 to below 1")
    if varies and config.elastic_points < 3:
        raise UserError(f"--elastic_points={config.elastic_points}: must be at least 3")
    inside = Path(config.workdir).resolve().parents
    if config.data_dir and Path(config.data_dir).resolve() in inside:
        raise UserError(f"--workdir={config.workdir} lies in --data_dir, where its figures would "
                        "be taken for images; choose another")
    if config.eval_only and not (Path(config.workdir) / "config.json").exists():
        raise UserError(f"--workdir={config.workdir}: no run in it to evaluate; train first")


def check_landmarks(config: LandmarkFiles, *, ndim: int) -> None:
    """Raises UserError for values that no set of landmarks can have."""
    if ndim not in (2, 3):
        raise UserError(f"--ndim={ndim}: images have 2 or 3 axes")
    if any(n < 1 for n in config.image_shape) or len(config.image_shape) not in (0, 2, 3):
        raise UserError("--image_shape: give the 2 or 3 sides, comma-separated")
    if not 0 <= config.grid_mm < np.inf:
        raise UserError(f"--grid_mm={config.grid_mm}: must not be negative, and finite")
    if config.fold < 1:
        raise UserError(f"--fold={config.fold}: must be at least 1")
    check_window(config.window)


def check_sequences(config: SequenceFiles) -> None:
    """Raises UserError for values that no set of sequences can have."""
    if any(n < 1 for n in config.image_shape) or len(config.image_shape) not in (0, 2):
        raise UserError("--image_shape: give height and width, comma-separated")
    if config.fold < 1:
        raise UserError(f"--fold={config.fold}: must be at least 1")
    check_window(config.window)


def check_window(window: tuple[float, ...]) -> None:
    """Raises UserError unless it is empty or a range of intensities."""
    if len(window) not in (0, 2) or list(window) != sorted(set(window)):
        raise UserError("--window: give two intensities, the lower first")


def pick(kind: type, config: Any) -> Any:
    """A `kind`, its fields taken from the config's fields of the same names."""
    return kind(**{f.name: getattr(config, f.name) for f in dataclasses.fields(kind)})


def augmentation(config: Any, *, axes: int) -> Augmentation:
    """Raises UserError if an axis to flip is none of the images' `axes`."""
    if any(not 0 <= axis < axes for axis in config.flip):
        raise UserError(f"--flip={','.join(map(str, config.flip))}: the images have the axes 0 to "
                        f"{axes - 1}")
    return pick(Augmentation, config)


def begin(config: Any, experiment: str, options: type) -> tuple[Dataset, StopSignal]:
    """Sets the machine up and loads the set, whose options are a part of the settings.

    Returns:
      The set, and what says whether the process is to end.
    """
    cache = Path(config.cache_dir).expanduser()
    check_workdir(Path(config.workdir), experiment, config)
    setup(cache)
    join()
    stop = StopSignal()
    dataset = source.load(config.dataset, options=pick(options, config), cache_dir=cache, say=print)
    _describe(dataset)
    return dataset, stop


def _describe(dataset: Dataset) -> None:
    info = dataset.info
    sizes = ", ".join(f"{len(s)} {name}" for name, s in dataset.splits.items())
    kind = "synthetic, " if info.synthetic else ""
    what = (f"{len(info.classes)} classes" if info.classes
            else f"{len(info.landmarks)} landmarks" if info.landmarks
            else f"sequences, named frames {', '.join(info.frames)}")
    print(f"{info.name}: {kind}{info.modality}; {what}; {sizes}", flush=True)
    for note in dataset.notes:
        print(f"note: {note}")


def optimizer(config: Training, *, only: Columns = ()) -> optax.GradientTransformation:
    """As the flags have it; `only` as of `optim.make`."""
    return optim.make(
        config.optimizer, learning_rate=config.learning_rate, steps=config.steps,
        warmup_steps=config.warmup_steps, schedule=config.schedule, momentum=config.momentum,
        weight_decay=config.weight_decay, clip_norm=config.clip_norm, only=only)


def plan(config: Training, train: Split, *, columns: Columns, init: Callable[[Key], state.State],
         loss: Callable, optimizer: optax.GradientTransformation,
         evaluate: Callable[[Any], Mapping[str, float]], score: str, higher: bool
         ) -> run.Plan:
    """The training run: every leaf of its state has a leading seed axis.

    Args:
      train: what is trained on.
      columns: the targets that a batch has beside its images.
      init: makes the state of one seed.
      loss: as of `step.make_step`.
      evaluate: as of `seeded`; score, higher: as of `run.Plan`.
    """
    devices = mesh.make()
    mesh.check_batch(config.batch, mesh=devices)
    streamed = config.feed == "stream" or (config.feed == "auto" and train.nbytes > RESIDENT_BYTES)

    def read(index: Any) -> dict[str, np.ndarray]:
        return train.batch(index, columns)

    if streamed:
        choose: Pick = feeds.pick_streamed
        data_key = jax.random.split(jax.random.key(config.seed))[1]  # as make_advance splits it
        feed = feeds.stream(data_key, read, size=len(train), batch=config.batch,
                            part=mesh.my_part(config.batch),
                            place=lambda x: mesh.put_part(x, mesh.along(1, mesh=devices)))
    else:
        choose = feeds.pick_resident(batch=config.batch)
        feed = feeds.resident(lambda: mesh.put(read(range(len(train))), mesh.replicated(devices)))

    def pick_batch(*args: Any) -> Any:
        return mesh.split_batch(choose(*args), mesh=devices)

    update = step.make_step(loss, optimizer, ema_decay=config.ema_decay)
    shapes = jax.eval_shape(jax.vmap(init), jax.vmap(jax.random.key)(np.arange(config.seeds)))
    return seeded(
        config, init=init, advance=step.make_advance(update, pick_batch), evaluate=evaluate,
        score=score, higher=higher, feed=feed, batch=config.batch, streamed=streamed,
        sharding=mesh.sharded(shapes, mesh=devices) if config.shard_state
        else mesh.replicated(devices))


def seeded(config: Training, *, init: Callable, advance: step.Advance,
           evaluate: Callable[[Any], Mapping[str, float]], **others: Any) -> run.Plan:
    """The training run of all seeds as one program, as the flags have it.

    Args:
      init, advance: of one seed.
      evaluate: of the weights of all.
      others: what else a `run.Plan` has.
    """
    whole = mesh.replicated(mesh.make())
    keys = jax.jit(lambda: jax.vmap(jax.random.key)(config.seed + jnp.arange(config.seeds)),
                   out_shardings=whole)()
    return run.Plan(
        init=step.over_seeds(init, (0,)), advance=step.over_seeds(advance, (0, 0, None, None)),
        keys=keys, whole=whole, steps=config.steps, evaluate=lambda s: evaluate(weights_of(s)),
        eval_every=config.eval_every or max(config.steps // 10, 1), log_every=config.log_every,
        keep=config.keep, **others)


def weights_of(now: Any) -> Any:
    """What answers: the mean weights of a state, or of the learner in it, on this process's
    devices."""
    return mesh.at_hand(getattr(now, "learner", now).mean)


def best_of(workdir: Path, abstract: Any) -> tuple[Any, dict[str, Any]]:
    """The best checkpoint and its meta data."""
    checkpoints = Checkpoints(workdir / "checkpoints", read_only=True, say=print)
    best, meta = checkpoints.best(abstract)
    checkpoints.close()
    return best, meta


def timing(config: Training, workdir: Path, meta: Mapping[str, Any]) -> dict[str, Any]:
    """What the report says of the training, also of one that was killed at its end."""
    unknown = dict.fromkeys(("compile_seconds", "examples_per_second"))
    ended = [line["train"] for line in read_lines(workdir / "metrics.jsonl") if "train" in line]
    return next((t for t in reversed(ended) if t["steps"] == config.steps),
                {"steps": meta["step"], "seconds": meta["seconds"], **unknown})


def facts(config: Any, experiment: str, dataset: Dataset, learned: Any,
          meta: Mapping[str, Any], workdir: Path, *, unit: str = "examples") -> dict[str, Any]:
    """What every report has beside its metrics.

    Args:
      learned: the weights, a seed axis first.
      unit: what its speed counts.
    """
    split = dataset.splits[dataset.report_split]
    return {
        "experiment": experiment, "dataset": dataset.info.name, "split": dataset.report_split,
        "synthetic": dataset.info.synthetic, "cases": len(split),
        "subjects": len(set(split.subject_id)), "model": config.model,
        "of": f"ensemble of {config.seeds} seeds" if config.seeds > 1 else "one seed",
        "parameters": state.count_parameters(learned[0]) // config.seeds,
        "best_step": meta["step"], "validation": meta.get("chosen_by"),
        "weights_sha256": hashlib.sha256((workdir / weights.NAME).read_bytes()).hexdigest(),
        "train": timing(config, workdir, meta), "unit": unit,
        "notes": dataset.notes, "device": report.device(), "versions": report.versions()}


def by_seed(config: Any, values: list[dict[str, float]]) -> dict[str, Any]:
    """The metrics of each seed, and their mean with its interval."""
    return {"each": {str(config.seed + s): v for s, v in enumerate(values)},
            "mean": {name: stats.mean_interval([v[name] for v in values]) for name in values[0]}}


def train_and_report(config: Any, experiment: str, plan: run.Plan, how: Any, trained: Any,
                     finish: Callable[[Any, dict[str, Any]], None], data_sha1: str,
                     stop: StopSignal) -> None:
    """Trains in the work directory unless only evaluation is asked for, then `finish(best, meta)`.

    Args:
      how, trained: what a prediction depends on: a predictor and its `Trained`.
      finish: is given the weights of the best checkpoint and its meta data; in every process.
    """
    workdir = Path(config.workdir)
    # Results depend on these too, so they stand in config.json; and all that `share` needs.
    facts = {"data_sha1": data_sha1, "how": dataclasses.asdict(how),
             "trained": dataclasses.asdict(trained)}
    with open_workdir(workdir, experiment, config, **facts):
        if not config.eval_only:
            run.train(plan, workdir, stop=stop, say=print)
        if mesh.agree(0, stop())[1]:
            print(f"stopped by SIGTERM; the same command goes on from {workdir}/checkpoints")
            sys.exit(STOPPED)
        best, meta = best_of(workdir, plan.abstract())
        learned = weights_of(best)
        if mesh.is_first():
            weights.write(workdir / weights.NAME, learned)
        finish(learned, meta)
