"""A method is trained, and predicts."""

import functools
import hashlib
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from medjax import page, progress, schema, weights
from medjax.config import changed_settings
from medjax.data.dataset import Split
from medjax.errors import ExitError, UserError, first_line
from medjax.evaluation.metrics import Metric
from medjax.evaluation.predictions import Predictions
from medjax.experiment import profiling
from medjax.experiment.opening import Run, say
from medjax.experiment.profiling import profile_update
from medjax.experiment.trackers import open_trackers
from medjax.outputs.base import Evaluation, Inferred, ModelSpec, Predicted, Weights
from medjax.runtime import STOPPED, host
from medjax.tasks.base import Predictor, own_network_name
from medjax.train import mesh, several, supervised
from medjax.train.checkpoint import Checkpoints
from medjax.train.options import FeedOptions
from medjax.train.plan import weights_of
from medjax.train.predict import compile_predict
from medjax.train.record import plain, read_lines
from medjax.train.run import Plan
from medjax.train.run import train as train_plan
from medjax.train.task import Task
from medjax.typing import Json, Tree
from medjax.workdir import open_workdir


class Method(NamedTuple):
    """What is trained, and how it is measured.

    Attributes:
      predictor: what answers depend on; stands in bundles.
      spec: what is known of the set that it is trained on.
      task: what it is trained to do.
      measures: settings of the output's metrics; None where it has none.
    """

    predictor: Predictor
    spec: ModelSpec
    task: Task
    measures: Any = None

    @property
    def metrics(self) -> dict[str, Metric]:
        """By name."""
        return self.predictor.output.metrics(self.spec, self.measures)


class Learned(NamedTuple):
    """The best checkpoint.

    Attributes:
      weights: (parameters, batch statistics), a seed axis first.
      meta: its step, score and seconds, and which choice it is.
    """

    weights: Weights
    meta: Json


def train(
    run: Run,
    method: Method,
    train: Split,
    *,
    feeding: FeedOptions,
    score: str,
    higher: bool = False,
    optimizer: optax.GradientTransformation | None = None,
    by_length: bool = False,
    own: bool = False,
) -> Learned:
    """Trains by the method's loss; the best checkpoint on validation.

    Args:
      train: what is trained on.
      feeding: where batches come from.
      score: the metric that chooses the checkpoint, or `loss`; higher: whether more is better.
      optimizer, by_length: as of `supervised.plan_supervised`.
      own: the loss is of one's own. It, or such a network, is traced before anything is written,
        and what both compute is held against earlier sittings in the same work directory.

    Raises:
      UserError: if they cannot be traced.
    """
    predict = compile_predict(method.task.predict)
    plan = supervised.plan_supervised(
        method.task,
        train,
        columns=method.predictor.output.columns,
        options=run.training,
        feeding=feeding,
        evaluate=functools.partial(validate, run, method, predict),
        score=score,
        higher=higher,
        optimizer=optimizer,
        by_length=by_length,
    )
    if plan.streamed and feeding.feed == "auto":
        say(
            f"the training images take {train.nbytes / 1e9:.3g} GB, more than the "
            f"{supervised.RESIDENT_BYTES / 1e9:g} GB that are kept on a device: batches are "
            "read as they are needed"
        )
    own = own or bool(own_network_name(method.predictor))
    further = {"own_code": _trace(method, train, run.training.batch)} if own else {}
    return carry_out(run, plan, method.predictor, method.spec, **further)


def carry_out(
    run: Run, plan: Plan, predictor: Predictor, spec: ModelSpec, **further: str
) -> Learned:
    """Trains by a plan, unless only evaluation is asked for, and writes the best weights down.

    The work directory is held from here on until the run is closed. `further` is what else its
    results depend on.

    Raises:
      ExitError: if SIGTERM has stopped the training.
    """
    hold_workdir(run, predictor, spec, **further)
    _open_trackers(run)
    if not run.config.report.eval_only:
        with progress.alive("training"):
            train_plan(
                plan,
                run.workdir,
                stop=host().stopping,
                say=say,
                compiling=functools.partial(_begin_updates, run.workdir),
                also=[tracker.write for tracker in run.trackers],
                inspect=functools.partial(profile_update, run.workdir / profiling.FOLDER)
                if run.config.report.profile
                else None,
            )
    if mesh.agree(0, host().stopping())[1]:
        if mesh.is_first():
            page.write_run(run.workdir)
        say(f"stopped by SIGTERM; the same command goes on from {run.workdir}/checkpoints")
        raise ExitError(STOPPED)
    checkpoints = Checkpoints(run.workdir / "checkpoints", read_only=True, say=print)
    best, meta = checkpoints.best(plan.abstract())
    checkpoints.close()
    learned = weights_of(best)
    if plan.choices > 1:
        meta |= _chosen(run, plan, best)
        learned = several.of_choice(learned, meta["choice"], seeds=run.training.seeds)
    if mesh.is_first():
        weights.write(run.workdir / weights.NAME, learned)
    return Learned(learned, meta)


def hold_workdir(run: Run, predictor: Predictor, spec: ModelSpec, **further: str) -> None:
    """Opens the work directory of a run until it is closed; errors as of `open_workdir`."""
    # Results depend on these too, so they stand in config.json; and all that `share` needs.
    facts = {
        "data_sha1": run.dataset.digest,
        "how": schema.as_plain(predictor),
        "trained": schema.as_plain(spec),
        **run.depends_on,
        **further,
    }
    run.held.enter_context(open_workdir(run.workdir, run.family, run.config, **facts))


def keep_weights(run: Run, made: Weights, meta: Json) -> Learned:
    """Writes weights down that training has not left so; `meta` as of `Learned`."""
    if mesh.is_first():
        weights.write(run.workdir / weights.NAME, made)
    return Learned(made, meta)


def untrained(seconds: float) -> Json:
    """What is known of weights that took so many seconds without an update."""
    return {"step": 0, "seconds": seconds, "chosen_by": None}


def _begin_updates(workdir: Path) -> AbstractContextManager:
    """What is held while a program compiles. A report that is there is of fewer updates."""
    if mesh.is_first():
        (workdir / "report.json").unlink(missing_ok=True)
    return host().at_once("compiling")


def _trace(method: Method, train: Split, batch: int) -> str:
    """What the loss and the network of a task compute, as a number that changes with it."""
    keys, task = jax.random.key(0), method.task
    made = [c for c in method.predictor.output.columns if c in train.on_demand]
    example = train.batch([0], [*train.targets, *made])
    shapes = {
        name: jax.ShapeDtypeStruct((batch, *value.shape[1:]), _device_type(value.dtype))
        for name, value in example.items()
    }
    try:
        params, stats = jax.eval_shape(task.init, keys)
        program = jax.make_jaxpr(task.loss)(keys, params, stats, shapes)
    except UserError:
        raise
    except Exception as e:  # whatever a stranger's code says
        raise UserError(f"network or loss of your own: {first_line(e)}") from None
    return hashlib.sha1(re.sub(r"0x[0-9a-f]+", "", str(program)).encode()).hexdigest()


def _device_type(dtype: np.dtype) -> np.dtype:
    """float64 becomes float32, int64 int32, as in a batch."""
    return jax.dtypes.canonicalize_dtype(dtype)


def _open_trackers(run: Run) -> None:
    """The first process shows the run, until it is closed."""
    if not mesh.is_first():
        return
    options, config = run.config.report, plain(changed_settings(run.config))
    opened = open_trackers(
        run.workdir, config, tensorboard=options.tensorboard, wandb=options.wandb
    )
    for tracker in opened:
        run.held.callback(tracker.close)
    run.trackers.extend(opened)


def _chosen(run: Run, plan: Plan, best: Tree) -> Json:
    """Which of the settings that were tried is best on validation, and how the others are there,
    each at its own best step."""
    tried, number = run.training.choices, int(plan.evaluate(best)["choice"])
    lines = read_lines(run.workdir / "metrics.jsonl")
    return {
        "choice": number,
        "chosen": tried[number]._asdict(),
        "choices": several.table(tried, lines, score=plan.score, higher=plan.higher),
    }


def _infer(run: Run, method: Method, predict: Callable, weights: Weights, split: Split) -> Inferred:
    """What all seeds answer to every case of a split."""
    output = method.predictor.output
    return output.infer(
        method.predictor,
        predict,
        weights,
        split,
        method.spec,
        columns=output.columns,
        batch=run.training.batch,
        gallery=run.dataset.splits["train"],
    )


def _tabulate_seeds(method: Method, predicted: Predicted, split: Split) -> list[Predictions]:
    return [
        method.predictor.output.tabulate(
            split, method.spec, {k: v[s] for k, v in predicted.items()}
        )
        for s in range(method.spec.seeds)
    ]


def validate(run: Run, method: Method, predict: Callable, weights: Weights) -> dict[str, float]:
    """The loss, where there is one, and metrics on validation: means over seeds.

    Args:
      predict: as of `compile_predict`.
    """
    split = run.dataset.splits["validation"]
    predicted = _infer(run, method, predict, weights, split).by_seed
    loss = {"loss": float(predicted.pop("loss").mean())} if "loss" in predicted else {}
    tables = _tabulate_seeds(method, predicted, split)
    values = [table.judged(method.metrics, split) for table in tables]
    return {**loss, **{name: float(np.mean([v[name] for v in values])) for name in values[0]}}


def predict(run: Run, method: Method, learned: Learned, name: str) -> tuple[list[Any], Any]:
    """Predictions for the split `name`: those of each seed, and of the ensemble."""
    compiled = compile_predict(method.task.predict)
    with progress.alive(f"predicting {name}"), host().at_once("predicting"):
        inferred = _infer(run, method, compiled, learned.weights, run.dataset.splits[name])
    inferred.by_seed.pop("loss", None)
    return tabulate(run, method, inferred, name)


def tabulate(run: Run, method: Method, inferred: Inferred, name: str) -> tuple[list[Any], Any]:
    """What was answered to the split `name`: of each seed, and of the ensemble, which of one seed
    is the same table."""
    split = run.dataset.splits[name]
    ensemble = method.predictor.output.tabulate(split, method.spec, inferred.ensemble)
    if method.spec.seeds == 1:
        return [ensemble], ensemble
    return _tabulate_seeds(method, inferred.by_seed, split), ensemble


def evaluate(run: Run, method: Method, train: Split, learned: Learned) -> Evaluation[Any]:
    """What the report is made of: on test where there is one, else on validation."""
    say(f"predicting the {run.dataset.report_split} split")
    return evaluate_tables(run, method, train, lambda name: predict(run, method, learned, name))


def evaluate_tables(
    run: Run, method: Method, train: Split, tables: Callable[[str], tuple[list[Any], Any]]
) -> Evaluation[Any]:
    """The same of answers that are there: `tables(split)` gives what `predict` does."""
    split, validation = run.report_split, run.dataset.splits["validation"]
    by_seed, ensemble = tables(run.dataset.report_split)
    # The same cases where there is no test split, or where nothing is split.
    is_same = list(split.case_id) == list(validation.case_id)
    tuned = ensemble if is_same else tables("validation")[1]
    baseline, baseline_is = method.predictor.output.baseline(train, split, method.spec)
    return Evaluation(
        method.spec,
        train,
        split,
        ensemble,
        by_seed,
        tuned,
        baseline,
        baseline_is,
        method.metrics,
        method.measures,
        run.config.report.bootstrap,
    )
