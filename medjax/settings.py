"""What follows from the flags that trained experiments share."""

import dataclasses
import functools
import hashlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from medjax import weights
from medjax.data import source
from medjax.data.source import Dataset, Split
from medjax.errors import UserError
from medjax.evaluation import plot, report, stats
from medjax.ops.augment import Augmentation
from medjax.runtime import STOPPED, StopSignal, check_device, join, setup
from medjax.train import feed as feeds
from medjax.train import mesh, optim, run, several, state, step
from medjax.train.checkpoint import Checkpoints
from medjax.train.feed import Pick
from medjax.train.record import read_lines
from medjax.typing import Key
from medjax.workdir import check_workdir, open_workdir

RESIDENT_BYTES = 4 * 10**9  # larger sets are streamed


def augmentation(config: Any, *, axes: int) -> Augmentation:
    """Raises UserError if an axis to flip is none of the images' `axes`."""
    if any(not 0 <= axis < axes for axis in config.augmentation.flip):
        raise UserError(
            f"`flip={','.join(map(str, config.augmentation.flip))}`: the images have the axes 0 "
            f"to {axes - 1}"
        )
    return config.augmentation


def begin(config: Any, experiment: str, *, default: str) -> tuple[Any, Dataset, StopSignal]:
    """Sets the machine up and loads the set, whose options are a part of the settings.

    Args:
      default: the set where neither its name nor its folder is given.

    Returns:
      The config with the set's name, the set, and what says whether the process is to end.
    """
    check_files(config)
    cache = Path(config.files.cache_dir).expanduser()
    name = config.dataset
    if not name and config.data.data_dir:
        name = source.infer(config.data)
        print(f"`data_dir={config.data.data_dir}` is read as the set {name}")
    config = dataclasses.replace(config, dataset=name or default)
    source.check_read(config.dataset, config.data, _given(config))
    check_workdir(Path(config.files.workdir), experiment, config)
    setup(cache)
    join()
    check_device()
    stop = StopSignal()
    with stop.at_once("reading the data"):
        dataset = source.load(config.dataset, options=config.data, cache_dir=cache, say=_say)
    _describe(dataset)
    return config, dataset, stop


def _say(line: str) -> None:
    print(line, flush=True)


def _given(config: Any) -> list[str]:
    """The options of the set that differ from their defaults."""
    defaults: Any = next(f.default for f in dataclasses.fields(config) if f.name == "data")
    return [
        f.name
        for f in dataclasses.fields(defaults)
        if getattr(config.data, f.name) != getattr(defaults, f.name)
    ]


def check_files(config: Any) -> None:
    """Raises UserError for folders that no run can have."""
    workdir, data_dir = Path(config.files.workdir), config.data.data_dir
    if data_dir and Path(data_dir).resolve() in workdir.resolve().parents:
        raise UserError(
            f"`workdir={workdir}` lies in `data_dir`, where its figures would be taken for "
            "images; choose another"
        )
    if config.report.eval_only and not (workdir / "config.json").exists():
        raise UserError(f"`workdir={workdir}`: no run in it to evaluate; train first")


def _describe(dataset: Dataset) -> None:
    info = dataset.info
    sizes = ", ".join(f"{len(s)} {name}" for name, s in dataset.splits.items())
    kind = "synthetic, " if info.synthetic else ""
    what = (
        f"{len(info.classes)} classes"
        if info.classes
        else f"{len(info.landmarks)} landmarks"
        if info.landmarks
        else f"sequences, named frames {', '.join(info.frames)}"
    )
    modality = "" if info.modality == "unknown" else f"{info.modality}; "
    print(f"{info.name}: {kind}{modality}{what}; {sizes}", flush=True)
    print(f"subjects: {info.subjects or 'not known'}")
    for note in dataset.notes:
        print(f"note: {note}", flush=True)


def optimizer(config: Any, *, only: tuple[str, ...] = ()) -> optax.GradientTransformation:
    """As the flags have it; `only` as of `optim.make`."""
    return optim.make(
        config.training.optimizer,
        learning_rate=config.training.learning_rate,
        steps=config.training.steps,
        warmup_steps=config.training.warmup_steps,
        schedule=config.training.schedule,
        momentum=config.training.momentum,
        weight_decay=config.training.weight_decay,
        clip_norm=config.training.clip_norm,
        only=only,
    )


def plan(
    config: Any,
    train: Split,
    *,
    columns: tuple[str, ...],
    init: Callable[[Key], state.TrainState],
    loss: Callable,
    optimizer: optax.GradientTransformation,
    evaluate: Callable[[Any], Mapping[str, float]],
    score: str,
    higher: bool,
    length: np.ndarray | None = None,
    shorten: Callable[[step.Step], step.Step] = lambda update: update,
) -> run.Plan:
    """The training run: every leaf of its state has a leading axis of learners, which are the seeds
    of each of the `choices`.

    Args:
      train: what is trained on.
      columns: the targets that a batch has beside its images.
      init: makes the state of one learner.
      loss: as of `step.make_step`.
      evaluate: as of `seeded`; score, higher: as of `run.Plan`.
      length: of each example, where those of a batch are to be about as long as one another;
        shorten: makes an update that then needs less.
    """
    devices = mesh.make()
    mesh.check_batch(config.training.batch, mesh=devices)
    streamed = config.feeding.feed == "stream" or (
        config.feeding.feed == "auto" and train.nbytes > RESIDENT_BYTES
    )

    def read(index: Any) -> dict[str, np.ndarray]:
        return train.batch(index, columns)

    which = functools.partial(feeds.batch_index, size=len(train), batch=config.training.batch)
    if length is not None:
        which = functools.partial(
            feeds.alike_index, length=jnp.asarray(length), batch=config.training.batch
        )
    if streamed:
        choose: Pick = feeds.pick_streamed
        data_key = jax.random.split(jax.random.key(config.training.seed))[
            1
        ]  # as make_advance splits it
        feed = feeds.stream(
            data_key,
            read,
            which,
            part=mesh.my_part(config.training.batch),
            place=lambda x: mesh.put_part(x, mesh.along(1, mesh=devices)),
        )
    else:
        choose = feeds.pick_resident(which)
        feed = feeds.resident(lambda: mesh.put(read(range(len(train))), mesh.replicated(devices)))

    def pick_batch(*args: Any) -> Any:
        return mesh.split_batch(choose(*args), mesh=devices)

    update = shorten(step.make_step(loss, optimizer, ema_decay=config.training.ema_decay))
    shapes = jax.eval_shape(
        jax.vmap(init), jax.vmap(jax.random.key)(np.arange(config.training.seeds))
    )
    return seeded(
        config,
        init=init,
        advance=step.make_advance(update, pick_batch),
        evaluate=evaluate,
        score=score,
        higher=higher,
        feed=feed,
        batch=config.training.batch,
        streamed=streamed,
        sharding=mesh.sharded(shapes, mesh=devices)
        if config.feeding.shard_state
        else mesh.replicated(devices),
    )


def seeded(
    config: Any,
    *,
    init: Callable,
    advance: step.Advance,
    evaluate: Callable[[Any], Mapping[str, float]],
    score: str,
    higher: bool,
    **others: Any,
) -> run.Plan:
    """The training run of all seeds, and of all settings to choose from, as one program.

    Args:
      init, advance: of one learner.
      evaluate: of the weights of all seeds.
      score, higher: which of its values chooses.
      others: what else a `run.Plan` has.
    """
    replicated, tried, seeds = (
        mesh.replicated(mesh.make()),
        config.training.choices,
        config.training.seeds,
    )
    keys = jax.jit(
        lambda: jax.vmap(jax.random.key)(
            config.training.seed + jnp.tile(jnp.arange(seeds), len(tried))
        ),
        out_shardings=replicated,
    )()

    def begin(keys: Key) -> Any:
        return several.tune(step.over_seeds(init, (0,))(keys), tried, seeds=seeds)

    if len(tried) > 1:
        evaluate = several.judged(
            evaluate, score=score, higher=higher, seeds=seeds, count=len(tried)
        )
    return run.Plan(
        init=begin,
        advance=step.over_seeds(advance, (0, 0, None, None)),
        keys=keys,
        replicated=replicated,
        evaluate=lambda s: evaluate(weights_of(s)),
        score=score,
        higher=higher,
        steps=config.training.steps,
        eval_every=config.training.eval_every or max(config.training.steps // 10, 1),
        log_every=config.training.log_every,
        keep=config.training.keep,
        choices=len(tried),
        **others,
    )


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


def timing(config: Any, workdir: Path, meta: Mapping[str, Any]) -> dict[str, Any]:
    """What the report says of the training, also of one that was killed at its end."""
    unknown = dict.fromkeys(("compile_seconds", "examples_per_second"))
    ended = [line["train"] for line in read_lines(workdir / "metrics.jsonl") if "train" in line]
    return next(
        (t for t in reversed(ended) if t["steps"] == config.training.steps),
        {"steps": meta["step"], "seconds": meta["seconds"], **unknown},
    )


def facts(
    config: Any,
    experiment: str,
    dataset: Dataset,
    learned: Any,
    meta: Mapping[str, Any],
    workdir: Path,
    *,
    unit: str = "examples",
) -> dict[str, Any]:
    """What every report has beside its metrics.

    Args:
      learned: the weights, a seed axis first.
      unit: what its speed counts.
    """
    split = dataset.splits[dataset.report_split]
    return {
        "experiment": experiment,
        "dataset": dataset.info.name,
        "split": dataset.report_split,
        "synthetic": dataset.info.synthetic,
        "cases": len(split),
        "subjects": len(set(split.subject_id)),
        "subjects_known_by": dataset.info.subjects,
        "model": getattr(config, "model", None) or config.predictor.model,
        "of": f"ensemble of {config.training.seeds} seeds"
        if config.training.seeds > 1
        else "one seed",
        "parameters": state.count_parameters(learned[0]) // config.training.seeds,
        "best_step": meta["step"],
        "validation": meta.get("chosen_by"),
        **{name: meta[name] for name in ("choice", "chosen", "choices") if name in meta},
        "weights_sha256": hashlib.sha256((workdir / weights.NAME).read_bytes()).hexdigest(),
        "train": timing(config, workdir, meta),
        "unit": unit,
        "notes": dataset.notes,
        "device": report.device(),
        "versions": report.versions(),
    }


def chosen(config: Any, plan: run.Plan, best: Any, workdir: Path) -> dict[str, Any]:
    """Which of the settings that were tried is best on validation, and how the others are there,
    each at its own best step."""
    tried, number = config.training.choices, int(plan.evaluate(best)["choice"])
    return {
        "choice": number,
        "chosen": tried[number]._asdict(),
        "choices": several.table(
            tried, read_lines(workdir / "metrics.jsonl"), score=plan.score, higher=plan.higher
        ),
    }


def by_seed(config: Any, values: list[dict[str, float]]) -> dict[str, Any]:
    """The metrics of each seed, and their mean with its interval."""
    return {
        "each": {str(config.training.seed + s): v for s, v in enumerate(values)},
        "mean": {name: stats.mean_interval([v[name] for v in values]) for name in values[0]},
    }


def train_and_report(
    config: Any,
    experiment: str,
    plan: run.Plan,
    predictor: Any,
    trained: Any,
    finish: Callable[[Any, dict[str, Any]], None],
    data_sha1: str,
    stop: StopSignal,
) -> None:
    """Trains in the work directory unless only evaluation is asked for, then `finish(best, meta)`.

    Args:
      how, trained: what a prediction depends on: a predictor and its `ModelSpec`.
      finish: is given the weights of the best checkpoint and its meta data; in every process.
    """
    workdir = Path(config.files.workdir)
    # Results depend on these too, so they stand in config.json; and all that `share` needs.
    facts = {
        "data_sha1": data_sha1,
        "how": dataclasses.asdict(predictor),
        "trained": dataclasses.asdict(trained),
    }
    with open_workdir(workdir, experiment, config, **facts):
        if not config.report.eval_only:
            run.train(
                plan, workdir, stop=stop, say=_say, compiling=lambda: stop.at_once("compiling")
            )
        if mesh.agree(0, stop())[1]:
            print(f"stopped by SIGTERM; the same command goes on from {workdir}/checkpoints")
            sys.exit(STOPPED)
        best, meta = best_of(workdir, plan.abstract())
        learned = weights_of(best)
        if plan.choices > 1:
            meta |= chosen(config, plan, best, workdir)
            learned = several.of_choice(learned, meta["choice"], seeds=config.training.seeds)
        if mesh.is_first():
            weights.write(workdir / weights.NAME, learned)
        with plot.formats(config.report.figure_format):
            finish(learned, meta)
