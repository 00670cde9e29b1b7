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

from medjax import app, experiment, heads, progress
from medjax.config import option, unique_names
from medjax.data.catalogue import KnownSets
from medjax.data.dataset import Dataset
from medjax.data.options import DataOptions
from medjax.errors import UserError
from medjax.ops.augment import Augmentation
from medjax.outputs.base import Evaluation
from medjax.outputs.labels import OperatingOptions, metrics
from medjax.run_options import AUGMENTATION, FileOptions, ReportOptions
from medjax.tasks.classification.predictor import ClassificationPredictor, RegularisationOptions
from medjax.tasks.transfer import arms, bench, showing
from medjax.tasks.transfer.comparing import ALL, Arm, Candidate, choose_best
from medjax.train import mesh
from medjax.train.options import TrainingOptions
from medjax.train.predict import compile_predict


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
    finetuning: experiment.FineTuningOptions = experiment.FineTuningOptions()
    arms: tuple[str, ...] = option(
        arms.USUAL, f"what is compared, of {', '.join(arms.ARMS)}", common=True
    )
    train_sizes: tuple[str, ...] = option(
        ("10", ALL), "training images of each class; all: the whole set", common=True
    )
    regularisation: RegularisationOptions = RegularisationOptions()
    training: TrainingOptions = TrainingOptions(60, 32, seeds=2, learning_rate=5e-4, warmup_steps=8)
    augmentation: Augmentation = AUGMENTATION
    best: str = option(
        "auc",
        "metric that chooses checkpoints, on validation, and that arms are compared by",
        choices=metrics.NAMES,
        group="training",
    )
    operating: OperatingOptions = OperatingOptions()
    report: ReportOptions = ReportOptions()
    files: FileOptions = FileOptions("runs/transfer")


# --8<-- [start:main]
def main(config: Config, *, dataset: Dataset | None = None) -> experiment.Finished:
    """Trains every arm at every size, compares them, and reports; `dataset` is one of one's own."""
    arms.check_arms(config.arms, config.train_sizes, config.training, views=config.predictor.tta)
    with experiment.open_run(config, "transfer", default="brain_planes", dataset=dataset) as run:
        config = run.config
        train, validation = (run.dataset.splits[name] for name in ("train", "validation"))
        experiment.check_augmentation(config.augmentation, axes=len(train.image_shape) - 1)
        sizes, info, leaves = config.train_sizes, run.dataset.info, config.data.leaf_columns
        arms.check_set(config.arms, sizes, train, info, options=config.training, learnt=leaves)
        start = experiment.start_run(run, config.start, model=config.predictor.model)
        if not start.facts:
            raise UserError("`init_from`: name the weights that arms start from")
        fitted = experiment.fit_preprocessing(run, train)
        spec = experiment.describe_model(run, start.scale(fitted, channels=train.image_shape[-1]))
        predictor = dataclasses.replace(
            config.predictor,
            head=heads.name_head(spec.info, config.predictor.head),
            augmentation=config.augmentation,
            image_size=config.data.image_size,
            fit=config.data.fit,
        )
        given = dataclasses.asdict(config.regularisation)
        make_task = functools.partial(predictor.make_task, spec, **given)
        task, kept = make_task(), config.finetuning.keep_statistics
        score = predictor.choose_score(config.best, validation, spec.info)
        method = experiment.Method(predictor, spec, task, config.operating)
        predict = compile_predict(task.predict)
        shared = bench.set_up(
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
            layers=config.finetuning.rates(predictor.make_network(spec), spec.image_shape),
            started_task=make_task(keep_statistics=True) if kept else task,
            cache=Path(config.files.cache_dir).expanduser(),
            known_by=(run.dataset.digest, start.facts["sha256"]),
            learnt=leaves,
        )
        experiment.hold_workdir(run, predictor, spec)
        done = [c for size in sizes for c in train_arms(run, method, shared, size)]
        return write_comparison(run, method, done, score=score)


# --8<-- [end:main]
def train_arms(
    run: experiment.Run, method: experiment.Method, shared: bench.Bench, size: str
) -> list[Candidate]:
    """All arms, on the same examples."""
    out, table = [], bench.draw_size(shared, size, run.config.arms)
    if table.probes:
        experiment.say(f"\nprobes of {size}: weight decay {table.decays}, by cross-validation")
    for name in run.config.arms:
        experiment.say(f"\n{name}, {arms.describe_size(size, method.spec.info)}")
        with experiment.open_beside(run, f"{name}_{size}") as inner:
            if name in (arms.FROZEN, *arms.TABLES):
                (learned, evaluation, seconds), steps = ask(inner, method, table, name), 0
            else:
                plan = bench.plan_arm(table, name)
                learned = experiment.carry_out(inner, plan, shared.predictor, shared.spec)
                evaluation = experiment.evaluate(inner, method, shared.train, learned)
                timing = experiment.timing(inner, learned.meta)
                seconds, steps = timing["seconds"], timing["steps"]
            for seed, answers in enumerate(evaluation.by_seed, start=run.training.seed):
                answers.write(inner.workdir / f"predictions_{seed}.csv")
        arm = Arm(name, size, evaluation.by_seed, seconds, bench.count_examples(table, name, steps))
        out.append(Candidate(arm, learned, evaluation))
    return out


def ask(
    inner: experiment.Run, method: experiment.Method, table: bench.Table, name: str
) -> tuple[experiment.Learned | None, Evaluation, float]:
    """What an arm answers that trains no network; the frozen one with its probes is written down as
    training leaves one. Also how many seconds it has taken."""
    shared, began, splits = table.bench, time.perf_counter(), inner.dataset.splits
    experiment.hold_workdir(inner, shared.predictor, shared.spec)
    asked = {what: splits[what] for what in ("validation", inner.dataset.report_split)}
    answers = bench.answer_tables(table, name, asked)
    evaluation = experiment.evaluate_tables(
        inner, method, shared.train, lambda s: experiment.tabulate(inner, method, answers[s], s)
    )
    seconds = time.perf_counter() - began + table.seconds * (name == arms.FROZEN)
    if name != arms.FROZEN or table.probes is None:
        return None, evaluation, seconds
    frozen = arms.freeze(shared.variables, table.probes)
    kept = experiment.keep_weights(inner, frozen, experiment.untrained(seconds))
    return kept, evaluation, seconds


def write_comparison(
    run: experiment.Run,
    method: experiment.Method,
    done: Sequence[Candidate],
    *,
    score: str,
) -> experiment.Finished:
    """The report of the arm that is best on validation, with all arms beside it."""
    declared, n = method.metrics, run.config.report.bootstrap
    metric = next(name for name in (score, "accuracy", "r2") if name in declared)
    best = choose_best(done, declared, metric)
    if mesh.is_first():
        showing.copy_best(run.workdir, best.arm)
    experiment.say("\ncomparing the arms")
    shown = {"metric": metric, "samples": n, "of_class": not method.spec.info.quantities}
    with progress.alive("comparing the arms"):
        summary = showing.summarise([c.arm for c in done], declared, **shown)
    of_all = arms.count_of_group(run.dataset.splits["train"], method.spec.info)
    return experiment.write_report(
        run,
        method,
        best.learned,
        best.evaluation,
        score=metric,
        further=showing.describe(summary, best.arm),
        show=lambda result: showing.show(summary),
        draw=lambda folder: showing.draw_sizes(folder, summary, of_all=of_all),
    )


if __name__ == "__main__":
    app.run(main, Config)
