"""Transfer learning: what weights of another set add, arm beside arm at several training sizes.

    pip install 'medjax[pretrained]'
    medjax transfer
    medjax transfer MY_IMAGES --train_sizes=10,50,200,all --seeds=5

Every arm has the same splits, seeds, training examples, steps and augmentation.
"""

import dataclasses
import functools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from medjax import app, experiment, progress, weights
from medjax.config import option, unique_names
from medjax.data.catalogue import KnownSets
from medjax.data.dataset import Dataset
from medjax.data.options import DataOptions
from medjax.errors import UserError
from medjax.ops.augment import Augmentation
from medjax.outputs.base import Evaluation
from medjax.outputs.labels import metrics
from medjax.run_options import AUGMENTATION, FileOptions, ReportOptions
from medjax.tasks.classification.predictor import ClassificationPredictor
from medjax.tasks.transfer import arms, showing
from medjax.tasks.transfer.bench import Bench, fit_probes, gather_data, plan_arm, set_up
from medjax.tasks.transfer.comparing import ALL, Arm
from medjax.tasks.transfer.probe import Probe
from medjax.train import mesh
from medjax.train.options import TrainingOptions
from medjax.train.predict import compile_predict
from medjax.typing import Json


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
    predictor: ClassificationPredictor = ClassificationPredictor(model="efficientnet_lite0")
    start: experiment.StartOptions = experiment.StartOptions("efficientnet_lite0_imagenet")
    arms: tuple[str, ...] = option(
        arms.ARMS, f"what is compared, of {', '.join(arms.ARMS)}", common=True
    )
    train_sizes: tuple[str, ...] = option(
        ("10", ALL), "training images of each class; all: the whole set", common=True
    )
    dropout: float = option(0.2, "before the last layer", least=0, below=1)
    label_smoothing: float = option(
        0.05, "share of the target spread over all classes", least=0, below=1
    )
    training: TrainingOptions = TrainingOptions(60, 32, seeds=2, learning_rate=5e-4, warmup_steps=8)
    augmentation: Augmentation = AUGMENTATION
    best: str = option(
        "auc",
        "metric that chooses checkpoints, on validation, and that arms are compared by",
        choices=metrics.NAMES,
        group="training",
    )
    report: ReportOptions = ReportOptions()
    files: FileOptions = FileOptions("runs/transfer")


# --8<-- [start:main]
def main(config: Config, *, dataset: Dataset | None = None) -> experiment.Finished:
    """Trains every arm at every size, compares them, and reports.

    Args:
      dataset: of one's own, in place of the one that the settings name.
    """
    arms.check_arms(config.arms, config.train_sizes, config.training)
    with experiment.open_run(config, "transfer", default="brain_planes", dataset=dataset) as run:
        config = run.config
        train, validation = (run.dataset.splits[name] for name in ("train", "validation"))
        experiment.check_augmentation(config.augmentation, axes=len(train.image_shape) - 1)
        arms.check_sizes(config.train_sizes, train["label"], run.dataset.info.classes)
        start = experiment.find_start(config.start, model=config.predictor.model)
        if not start:
            raise UserError("`init_from`: name the weights that arms start from")
        fitted = experiment.fit_preprocessing(run, train)
        spec = experiment.describe_model(run, start.scale(fitted, channels=train.image_shape[-1]))
        predictor = dataclasses.replace(
            config.predictor,
            augmentation=config.augmentation,
            image_size=config.data.image_size,
            fit=config.data.fit,
        )
        options = {"dropout": config.dropout, "label_smoothing": config.label_smoothing}
        task = predictor.make_task(spec, **options)
        score = metrics.choose_score(config.best, validation, spec.info)
        method = experiment.Method(predictor, spec, task)
        predict = compile_predict(task.predict)
        bench = set_up(
            predictor,
            spec,
            task,
            train,
            options=run.training,
            start=start.init,
            replace=start.replace,
            evaluate=functools.partial(experiment.validate, run, method, predict),
            score=score,
            higher=metrics.is_higher_better(score),
            cache=Path(config.files.cache_dir).expanduser(),
            known_by=(run.dataset.digest, start.facts["sha256"]),
        )
        experiment.hold_workdir(run, predictor, spec)
        done = [c for size in config.train_sizes for c in train_arms(run, method, bench, size)]
        return write_comparison(run, method, done, score=score, started_from=start.facts)


# --8<-- [end:main]
class Candidate(NamedTuple):
    """An arm of one size, and what is reported if it is the best."""

    arm: Arm
    learned: experiment.Learned
    evaluation: Evaluation


def train_arms(
    run: experiment.Run, method: experiment.Method, bench: Bench, size: str
) -> list[Candidate]:
    """All arms, on the same examples."""
    names, options, out = run.config.arms, run.training, []
    began, probes = time.perf_counter(), None
    if set(names) & set(arms.NEED_PROBES):
        probes, decays = fit_probes(bench, size)
        experiment.say(f"\nprobes of {size}: weight decay {decays}, by cross-validation")
    seconds, data = time.perf_counter() - began, gather_data(bench, size)
    for name in names:
        experiment.say(f"\n{name}, {size} training images{' of each class' * (size != ALL)}")
        with experiment.open_beside(run, f"{name}_{size}") as inner:
            if name == arms.FROZEN and probes:
                learned, examples = keep(inner, bench, probes, seconds), len(bench.train)
            else:
                plan = plan_arm(bench, name, probes, data)
                learned = experiment.carry_out(inner, plan, bench.predictor, bench.spec)
                examples = options.steps * options.batch * options.seeds
            evaluation = experiment.evaluate(inner, method, bench.train, learned)
            for seed, table in enumerate(evaluation.by_seed, start=options.seed):
                table.write(inner.workdir / f"predictions_{seed}.csv")
        arm = Arm(name, size, evaluation.by_seed, learned.meta["seconds"], examples)
        out.append(Candidate(arm, learned, evaluation))
    return out


def keep(inner: experiment.Run, bench: Bench, probes: Probe, seconds: float) -> experiment.Learned:
    """Writes the frozen network with its probes down, as training leaves one."""
    experiment.hold_workdir(inner, bench.predictor, bench.spec)
    frozen = arms.freeze(bench.variables, probes)
    if mesh.is_first():
        weights.write(inner.workdir / weights.NAME, frozen)
    return experiment.Learned(frozen, {"step": 0, "seconds": seconds, "chosen_by": None})


def write_comparison(
    run: experiment.Run,
    method: experiment.Method,
    done: Sequence[Candidate],
    *,
    score: str,
    started_from: Json,
) -> experiment.Finished:
    """The report of the arm that is best on validation, with all arms beside it."""
    declared, samples = method.metrics, run.config.report.bootstrap
    metric = score if score in declared else "accuracy"
    best = done[metrics.find_best([c.evaluation.tuned for c in done], declared, metric)]
    if mesh.is_first():
        showing.copy_best(run.workdir, best.arm)
    experiment.say("\ncomparing the arms")
    with progress.alive("comparing the arms"):
        summary = showing.summarise([c.arm for c in done], declared, metric=metric, samples=samples)
    of_all = len(run.dataset.splits["train"]) / len(method.spec.info.classes)
    return experiment.write_report(
        run,
        method,
        best.learned,
        best.evaluation,
        score=metric,
        further={"started_from": started_from, **showing.describe(summary, best.arm)},
        show=lambda result: showing.show(summary),
        draw=lambda folder: showing.draw_sizes(folder, summary, of_all=of_all),
    )


if __name__ == "__main__":
    app.run(main, Config)
