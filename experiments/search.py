"""Landmark search by reinforcement-learning agents; environment, replay and learning compiled.

    medjax search
    medjax search --ndim=2 --spacings_mm=16,8,4,2
    medjax search MY_VOLUMES --landmarks=A,B

Measured runs, with their commands: docs/results.md.
"""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from medjax import app, experiment, progress
from medjax.config import option, unique_names
from medjax.data.catalogue import KnownSets
from medjax.data.dataset import Dataset
from medjax.data.landmarks.pose import check_pose
from medjax.data.options import LandmarkOptions
from medjax.errors import UserError
from medjax.ops.augment import Augmentation
from medjax.outputs.landmarks.metrics import check_radii
from medjax.run_options import AUGMENTATION, FileOptions, FoldOptions, ReportOptions
from medjax.runtime import host
from medjax.tasks.search import results, searcher
from medjax.tasks.search.metrics import declared
from medjax.tasks.search.predictor import SearchPredictor
from medjax.tasks.search.suggest import suggest
from medjax.tasks.search.task import Learning
from medjax.train import mesh
from medjax.train.options import TrainingOptions
from medjax.typing import JsonView


@unique_names
@dataclasses.dataclass(frozen=True)
class Config:
    """The settings of one run; its fields are the flags."""

    dataset: str = option(
        "",
        "the set; empty: what --data_dir is, without it brain_landmarks",
        choices=KnownSets("landmarks"),
        common=True,
        group="data",
    )
    data: LandmarkOptions = LandmarkOptions(ndim=3)
    landmarks: tuple[str, ...] = option(
        ("AC", "PC"), "those that are searched, comma-separated", common=True, group="data"
    )
    copies: int = option(0, "search so many random versions of each training volume too", least=0)
    predictor: SearchPredictor = SearchPredictor()
    learning: Learning = Learning()
    training: TrainingOptions = TrainingOptions(learning_rate=1e-3, weight_decay=1e-4)
    augmentation: Augmentation = AUGMENTATION
    validation_starts: int = option(10, "searches on validation, while training", least=1)
    validation_cases: int = option(20, "volumes there; 0: all", least=0)
    outlier_sd: float = option(
        0.0,
        "a shape model replaces answers that lie so many standard deviations off; 0: none does",
        least=0,
    )
    beside: str = option(
        "",
        "work directory of a run of medjax heatmap on the same cases, to stand in the same table",
        free=True,
        path=True,
    )
    best: str = option(
        "error_mm",
        "metric that chooses the checkpoint, on validation",
        choices=("error_mm", "error_mm_median"),
        group="training",
    )
    radii_mm: tuple[float, ...] = option(
        (1.0, 2.0, 4.0, 6.0, 10.0), "of the success rates", item=float, group="report"
    )
    cross_validation: FoldOptions = FoldOptions()
    report: ReportOptions = ReportOptions()
    files: FileOptions = FileOptions("runs/search")

    def __post_init__(self) -> None:
        searcher.check_settings(self.predictor, self.learning, self.training)
        check_radii(self.radii_mm)
        varied = [
            f.name
            for f in dataclasses.fields(AUGMENTATION)
            if getattr(self.augmentation, f.name) != getattr(AUGMENTATION, f.name)
        ]
        if varied and not self.copies:
            raise UserError(f"`{varied[0]}` varies the copies of training volumes; give `copies`")
        if not self.landmarks or len(set(self.landmarks)) < len(self.landmarks):
            raise UserError("`landmarks`: give one or more names, each once")
        check_pose(self.data, folds=self.cross_validation.folds)
        if self.outlier_sd and len(self.landmarks) < 4:
            raise UserError(
                "`outlier_sd` needs four `landmarks` or more: three lay the shape model, and one "
                "is judged"
            )
        if self.beside and not Path(self.beside, "predictions.csv").is_file():
            raise UserError(f"`beside={self.beside}`: has no predictions.csv")


def report_folds(config: Config, done: Sequence[experiment.Finished]) -> experiment.Finished:
    """One report of all folds."""
    explored = results.concatenate([part.evaluation for part in done])
    with experiment.join_folds(config, done, split=explored.split) as folds:
        return write_report(folds.run, folds.method, folds.learned, explored, folds.further)


@functools.partial(experiment.cross_validated, report=report_folds)
def main(config: Config, *, dataset: Dataset | None = None) -> experiment.Finished:
    """Trains, evaluates and reports; `dataset` stands for the set that the settings name."""
    with experiment.open_run(
        config, "search", default="brain_landmarks", dataset=dataset, suggest=suggest
    ) as opened:
        config = opened.config  # with what was chosen for it
        run = dataclasses.replace(
            opened, dataset=searcher.narrow_to(opened.dataset, config.landmarks)
        )
        train, split = run.dataset.splits["train"], run.report_split
        experiment.check_augmentation(config.augmentation, axes=len(train.image_shape) - 1)
        spec = experiment.describe_model(run, experiment.fit_preprocessing(run, train))
        agents = searcher.make_searcher(
            config.predictor, spec, train, learning=config.learning, seed=config.training.seed
        )
        plan = searcher.plan_search(
            agents,
            train,
            run.dataset.splits["validation"].first(config.validation_cases),
            training=config.training,
            augmentation=config.augmentation,
            copies=config.copies,
            info=run.dataset.info,
            validation_starts=config.validation_starts,
            radii_mm=config.radii_mm,
            score=config.best,
        )
        learned = experiment.carry_out(run, plan, agents.predictor, spec)
        print(f"searching {len(split)} volumes, {agents.predictor.starts} times each", flush=True)
        with progress.alive("searching"), host().at_once("searching"):
            explored = results.explore(
                agents, learned.weights[0], split, train, outlier_sd=config.outlier_sd
            )
        method = experiment.Method(agents.predictor, spec, agents.predictor.make_task(spec))
        return write_report(run, method, learned, explored)


def write_report(
    run: experiment.Run,
    method: experiment.Method,
    learned: experiment.Learned,
    explored: results.Explored,
    further: JsonView = MappingProxyType({}),
) -> experiment.Finished:
    """Writes tables, report, figures and page; the first process alone does.

    Args:
      further: what the report has beside what all have.
    """
    config, searches, seeds = run.config, explored.searches, run.training.seeds
    predictor: Any = method.predictor
    metrics = declared(config.radii_mm)
    by_seed = [searches.select(seed=s).values(metrics) for s in range(seeds)]
    numbers = {
        **experiment.facts(run, predictor, learned, unit="agent-steps"),
        "of": "one seed" if seeds == 1 else f"{seeds} seeds, pooled",
        **results.summarise(
            explored,
            radii_mm=config.radii_mm,
            other_run=config.beside,
            samples=config.report.bootstrap,
        ),
        "starts": config.predictor.starts,
        "voxel_mm": predictor.voxel_mm,
        "seeds": experiment.by_seed(run, by_seed),
    }
    result = experiment.extend(numbers, further)
    if mesh.is_first():
        searches.write(run.workdir / "predictions.csv")
        explored.ensemble.write(run.workdir / "consensus.csv")
        wrote = ("consensus.csv", *explored.ensemble.write_lists(run.workdir / "landmarks"))
        experiment.publish(
            run,
            result,
            lambda folder: results.draw(folder, explored),
            score=config.best,
            unit="Huber loss of Q",
            show=lambda result: results.show_beside(result, config.radii_mm),
            wrote=wrote,
        )
    return experiment.Finished(run.workdir, result, explored, run, method, learned)


if __name__ == "__main__":
    app.run(main, Config)
