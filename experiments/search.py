"""Landmark search by reinforcement-learning agents; environment, replay and learning compiled.

    python -m experiments.search
    python -m experiments.search --ndim=2 --spacings_mm=16,8,4,2
    python -m experiments.search --dataset=landmark_folder --data_dir=MY_VOLUMES --landmarks=A,B

The default, AC and PC in volumes of the deformed template (synthetic), 4 mm voxels, 120 to train;
test split, 58 subjects, 100 searches of each landmark from anywhere (2026-11-26, two cores of an
Intel Xeon, 8 minutes beside other work): 4.23 mm [3.81, 4.72], which is 1.06 voxels; each at its
mean position: 7.72 mm; a random walk: 110 mm. With --variant=double 4.63 [4.01, 7.92]. On other
subjects, the day before: 4.32, double 4.47, dueling 5.25, dqn 4.82; validation (3.83, 4.39, 4.45,
4.87) chose the default.

Slices of it (--ndim=2 --spacings_mm=16,8,4,2, same day, 1 minute): 2.24 mm [1.72, 3.34]; the mean
position: 5.80 mm.

Hippocampus, points derived from masks, 170 to train; validation split of 30, which also chose the
checkpoint (same day and machine, 5 minutes, --variant=double): 1.61 mm [1.39, 1.92]; the mean
position: 2.87 mm.

    python -m experiments.search --dataset=hippocampus --data_dir=DIR --agents=48 --batch=48 \
      --landmarks=anterior_tip,posterior_tip,anterior_part_centroid,posterior_part_centroid \
      --steps=1200 --explore_steps=400 --variant=double --workdir=runs/hippocampus_search

Heads of mice in the pose they have, 20 volumes to train, each in 40 further poses; the three of 45
points that experiments.heatmap found best; 4 to validate, which also chose the checkpoint (same day
and machine, 5 minutes, --variant=double): 1.26 mm; the mean position: 2.93 mm. Four volumes give
no interval. The day before, when one flag set both the discount and a change of contrast: 1.53.

    python -m experiments.search --dataset=mouse_skull --data_dir=DIR --landmarks=44,29,38 \
      --image_shape=48,48,48 --grid_mm=0.56 --copies=40 --rotate_degrees=180 --elastic=0.2 \
      --scale=0.1 --translate=0.1 --agents=48 --batch=64 --steps=1500 --explore_steps=500 \
      --validation_starts=20 --variant=double --workdir=runs/mouse_search
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

from medjax import app, settings
from medjax.config import get_setting, option, unique_names
from medjax.data import geometry, preprocess
from medjax.data.options import LandmarkOptions
from medjax.data.source import Dataset, Split
from medjax.errors import UserError, unknown
from medjax.evaluation import metrics, plot, report
from medjax.evaluation.stats import nan_mean
from medjax.models import qnet
from medjax.ops.augment import Augmentation
from medjax.ops.preprocess import Preprocessing
from medjax.outputs import base
from medjax.outputs.base import ModelSpec
from medjax.run_options import AUGMENTATION, FileOptions, ReportOptions
from medjax.tasks.predictors import SearchPredictor
from medjax.tasks.search import environment as env
from medjax.tasks.search import metrics as search_metrics
from medjax.tasks.search import plot as search_plot
from medjax.tasks.search import predictor as search
from medjax.tasks.search import report as search_report
from medjax.tasks.search import run as search_run
from medjax.tasks.search import task as tasks
from medjax.tasks.search.report import Searches
from medjax.train import feed as feeds
from medjax.train import mesh, run, step
from medjax.train.options import TrainingOptions
from medjax.train.record import read_lines
from medjax.typing import Array, Key


@unique_names
@dataclasses.dataclass(frozen=True)
class Config:
    """The settings of one run; its fields are the flags."""

    dataset: str = option(
        "",
        "brain_landmarks, landmark_folder, hc18, mouse_skull, hippocampus, afids, isbi2015, "
        "hand_xray or synthetic_hand; empty: landmark_folder with --data_dir, else brain_landmarks",
    )
    data: LandmarkOptions = LandmarkOptions(ndim=3)
    landmarks: tuple[str, ...] = option(("AC", "PC"), "those that are searched, comma-separated")
    copies: int = option(0, "search so many random versions of each training volume too", least=0)
    predictor: SearchPredictor = SearchPredictor()
    learning: tasks.Learning = tasks.Learning()
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
        "work directory of a run of experiments.heatmap on the same cases, to stand in the same "
        "table",
        free=True,
        path=True,
    )
    best: str = option(
        "error_mm",
        "metric that chooses the checkpoint, on validation",
        choices=("error_mm", "error_mm_median"),
    )
    radii_mm: tuple[float, ...] = option(
        (1.0, 2.0, 4.0, 6.0, 10.0), "of the success rates", item=float
    )
    report: ReportOptions = ReportOptions()
    files: FileOptions = FileOptions("runs/search")

    @property
    def model(self) -> str:
        return f"{self.predictor.variant} Q-network"


def main(config: Config) -> None:
    check(config)
    config, dataset, stop = settings.begin(config, "search", default="brain_landmarks")
    dataset = searched(config, dataset)
    train = dataset.splits["train"]
    scaling = preprocess.fit(train.images, len(train))
    parts = build(config, dataset, scaling)
    settings.train_and_report(
        config,
        "search",
        plan(config, dataset, parts),
        parts.how,
        parts.trained,
        lambda weights, meta: finish(config, dataset, parts, weights, meta),
        dataset.digest,
        stop,
    )


def check(config: Config) -> None:
    """Raises UserError for values that no run can have."""
    for name, top in (
        ("discount", 1.0),
        ("epsilon", 1.0),
        ("epsilon_last", 1.0),
        ("margin", 0.499),
    ):
        value = get_setting(config, name)
        if not 0 <= value <= top:
            raise UserError(f"`{name}={value}`: must lie between 0 and {top}")
    size, convolutions = config.predictor.crop_size, config.predictor.trunk == "convolutions"
    if size % 2 == 0 or not (convolutions or size % config.predictor.patch == 0):
        raise UserError(
            f"`crop_size={size}`: must be odd, so that the agent stands in its middle, "
            f"and divide by `patch={config.predictor.patch}`"
        )
    if convolutions and size < qnet.SMALLEST_CROP:
        raise UserError(
            f"`crop_size={size}`: `trunk=convolutions` needs {qnet.SMALLEST_CROP} or more"
        )
    varied = [
        f.name
        for f in dataclasses.fields(AUGMENTATION)
        if getattr(config.augmentation, f.name) != getattr(AUGMENTATION, f.name)
    ]
    if varied and not config.copies:
        raise UserError(f"`{varied[0]}` varies the copies of training volumes; give `copies`")
    if config.predictor.trail < config.predictor.visits:
        raise UserError(
            f"`trail={config.predictor.trail}` is shorter than `visits={config.predictor.visits}`"
        )
    usable = config.learning.fill - (config.predictor.history - 1) - (config.learning.n_step - 1)
    if (
        config.learning.fill > config.learning.replay
        or usable * config.learning.agents < config.training.batch
    ):
        raise UserError(
            f"`fill={config.learning.fill}` of `agents={config.learning.agents}` gives "
            f"{max(usable, 0) * config.learning.agents} steps to draw from, fewer than "
            f"`batch={config.training.batch}`, or more than `replay={config.learning.replay}` holds"
        )
    if min(config.radii_mm, default=0.0) <= 0:
        raise UserError("`radii_mm`: give one or more positive radii")
    if not config.landmarks or len(set(config.landmarks)) < len(config.landmarks):
        raise UserError("`landmarks`: give one or more names, each once")
    if config.outlier_sd and len(config.landmarks) < 4:
        raise UserError(
            "`outlier_sd` needs four `landmarks` or more: three lay the shape model, "
            "and one is judged"
        )
    if config.beside and not Path(config.beside, "predictions.csv").is_file():
        raise UserError(f"`beside={config.beside}`: has no predictions.csv")


def searched(config: Config, dataset: Dataset) -> Dataset:
    """The set with the landmarks that are searched alone; who lacks one does not train."""
    info = dataset.info
    for name in config.landmarks:
        if name not in info.landmarks:
            raise unknown(f"landmark of {info.name}", name, info.landmarks)
    column = [info.landmarks.index(name) for name in config.landmarks]

    def narrow(split: Split) -> Split:
        return dataclasses.replace(
            split,
            targets={
                **split.targets,
                **{name: split[name][:, column] for name in ("landmarks", "true_file", "true_mm")},
            },
        )

    splits = {name: narrow(split) for name, split in dataset.splits.items()}
    lacking = np.isnan(splits["train"]["landmarks"]).any((1, 2))
    if lacking.all():
        raise UserError(f"{info.name}: no volume of train has all of {','.join(config.landmarks)}")
    for i in np.flatnonzero(lacking):
        print(
            f"note: {splits['train'].case_id[i]} lacks a landmark, or it lies outside: left out "
            "of train"
        )
    splits["train"] = splits["train"].only(np.flatnonzero(~lacking))
    info = dataclasses.replace(info, landmarks=config.landmarks, mirrored=(), unordered=())
    return dataclasses.replace(dataset, splits=splits, info=info)


class Parts(NamedTuple):
    """What the settings and the set make together."""

    how: SearchPredictor
    trained: ModelSpec
    task: tasks.SearchTask
    game: tasks.Game
    optimizer: optax.GradientTransformation
    walk: Callable[..., tasks.SearchOutcome]  # of parameters with a leading seed axis
    wander: Callable[..., tasks.SearchOutcome]  # at random; one seed
    trace: Callable[..., tuple[Array, Array]]


def build(config: Config, dataset: Dataset, scaling: Preprocessing) -> Parts:
    """Raises UserError for settings that do not fit the set."""
    train, trained = dataset.splits["train"], base.describe_model(dataset, scaling, config)
    voxel_mm = geometry.voxel_mm(train["to_world"])
    how = dataclasses.replace(config.predictor, voxel_mm=voxel_mm, seed=config.training.seed)
    learning = dataclasses.replace(
        config.learning, variant=config.predictor.variant, margin=config.predictor.margin
    )
    game = how.game(train.image_shape[:-1], learning=learning)
    task, moves = how.task(trained, game), 2 * len(game.rules.crop)

    def wander(key: Key, data: env.Volumes, case: Array, places: Array) -> tasks.SearchOutcome:
        def anything(key: Key, agents: env.AgentState) -> Array:
            return jax.random.uniform(key, (*agents.case.shape, moves))

        found = tasks.walk(key, anything, data, case, places, game=game)
        return jax.tree.map(lambda x: x[None], found)

    return Parts(
        how,
        trained,
        task,
        game,
        settings.optimizer(config),
        search.by_value(tasks.walk, task, game),
        jax.jit(wander),
        search.by_value(tasks.trace, task, game),
    )


def plan(config: Config, dataset: Dataset, parts: Parts) -> run.Plan:
    """The training run, its agents split over the devices."""
    devices = mesh.make()
    mesh.check_batch(config.learning.agents, mesh=devices, option="agents")
    data = search_run.on_device(
        search_run.vary(
            jax.random.key(config.training.seed),
            dataset.splits["train"],
            copies=config.copies,
            augmentation=settings.augmentation(config, axes=len(parts.game.rules.crop)),
        ),
        game=parts.game,
    )
    held = dataset.splits["validation"].first(config.validation_cases)
    seen = search_run.on_device(held, game=parts.game)
    kit = {"game": parts.game, "optimizer": parts.optimizer}
    init = partial(search_run.create, data=data, task=parts.task, **kit)
    search_run.check_memory(
        jax.eval_shape(init, jax.random.key(0)).world,
        learners=config.training.seeds * len(config.training.choices),
    )
    update = search_run.make_update(
        parts.task, batch=config.training.batch, ema_decay=config.training.ema_decay, **kit
    )

    def evaluate(weights: Any) -> dict[str, float]:
        found = explore(
            config, held, seen, partial(parts.walk, weights[0]), count=config.validation_starts
        )
        return found.values(search_metrics.declared(config.radii_mm))

    return settings.seeded(
        config,
        init=init,
        advance=step.make_advance(update, lambda key, data, step, i: data),
        evaluate=evaluate,
        score=config.best,
        higher=False,
        feed=feeds.resident(lambda: mesh.put(data, mesh.replicated(devices))),
        sharding=search_run.placing(devices),
        unit="agent-steps",
        batch=config.learning.agents * config.learning.act_steps * len(config.landmarks),
    )


def explore(
    config: Config, split: Split, data: env.Volumes, walk: Callable, *, count: int
) -> Searches:
    return search_run.explore(
        walk,
        split,
        data,
        names=config.landmarks,
        count=count,
        seed=config.training.seed,
        margin=config.predictor.margin,
    )


def finish(config: Config, dataset: Dataset, parts: Parts, weights: Any, meta: dict) -> None:
    """Searches from the best checkpoint, on test where there is one, else on validation."""
    workdir = Path(config.files.workdir)
    split, params = dataset.splits[dataset.report_split], weights[0]
    data = search_run.on_device(split, game=parts.game)
    print(f"searching {len(split)} volumes from {config.predictor.starts} places each", flush=True)
    found = explore(config, split, data, partial(parts.walk, params), count=config.predictor.starts)
    wander = explore(config, split, data, parts.wander, count=config.predictor.starts)
    if not mesh.is_first():
        return
    result = {
        **settings.facts(config, "search", dataset, weights, meta, workdir, unit="agent-steps"),
        "of": "one seed"
        if config.training.seeds == 1
        else f"{config.training.seeds} seeds, pooled",
        **results(config, dataset, parts, found, wander, workdir),
    }
    found.write(workdir / "predictions.csv")
    report.write(workdir / "report.json", result)
    draw(config, split, parts, data, params, found, workdir)
    report.show_result(result, workdir, wrote=("consensus.csv",))
    search_report.show_beside(result["beside"], result["compared"], config.radii_mm)


def results(
    config: Config, dataset: Dataset, parts: Parts, found: Searches, wander: Searches, workdir: Path
) -> dict[str, Any]:
    """The numbers of the report, and `consensus.csv`, one answer a volume and landmark."""
    split, declared = dataset.splits[dataset.report_split], search_metrics.declared(config.radii_mm)
    shapes = dataset.splits["train"]["landmarks"]
    consensus = search_report.consensus(split, found)
    mean = search_report.as_searches(
        search_report.at_voxels(split, found.names, np.tile(shapes.mean(0), (len(split), 1, 1)))
    )
    answers = {"median of the starts": search_report.as_searches(consensus)}
    if config.outlier_sd:
        consensus = search_report.corrected(split, consensus, shapes, threshold=config.outlier_sd)
        answers["corrected by shape"] = search_report.as_searches(consensus)
    consensus.write(workdir / "consensus.csv")
    others = {"mean position in train": mean}
    if config.beside:
        others[config.beside] = search_report.from_run(Path(config.beside, "predictions.csv"), mean)
    rows = {"search, each start": found, **answers, **others, "random walk": wander}
    median = answers["median of the starts"]
    seeds = [found.select(seed=s).values(declared) for s in range(config.training.seeds)]
    return {
        "metrics": found.estimates(declared, samples=config.report.bootstrap),
        "baseline": mean.values(declared),
        "baseline_is": "each landmark at its mean position in the training volumes",
        "definitions": metrics.definitions(declared),
        "missing_in_reference": int(np.isnan(found.true_mm).any(-1).sum()),
        "variance": found.variance(),
        "starts": config.predictor.starts,
        "voxel_mm": parts.how.voxel_mm,
        "landmarks": {
            name: found.select(landmark=i).values(declared) for i, name in enumerate(found.names)
        },
        "beside": {
            who: row.estimates(declared, samples=config.report.bootstrap)
            for who, row in rows.items()
        },
        "compared": report.corrected(
            {
                who: search_report.compare(median, row, samples=config.report.bootstrap)
                for who, row in others.items()
            }
        ),
        "seeds": settings.by_seed(config, seeds),
    }


def draw(
    config: Config,
    split: Split,
    parts: Parts,
    data: env.Volumes,
    params: Any,
    found: Searches,
    workdir: Path,
) -> None:
    """The figures; ways are shown of the volume whose mean error is the median."""
    folder = workdir / "figures"
    folder.mkdir(exist_ok=True)
    plot.learning_curve(
        folder / "learning_curve.png",
        read_lines(workdir / "metrics.jsonl"),
        score=config.best,
        unit="Huber loss of Q",
    )
    search_plot.histogram(
        folder / "errors.png", {name: found.error_mm[:, i] for i, name in enumerate(found.names)}
    )
    each = nan_mean(found.error_mm.reshape(len(split), -1), axis=1)
    case = int(np.argsort(each, kind="stable")[len(each) // 2])  # NaN comes last
    key, places = search_run.beginnings(
        data,
        jnp.int32(case),
        count=min(config.predictor.starts, 12),
        seed=config.training.seed,
        margin=config.predictor.margin,
    )
    trace, level = (
        np.asarray(x)[0] for x in parts.trace(params, key, data, jnp.int32(case), places)
    )
    box = split["box"][case]
    image = split.read(case)[..., 0][tuple(slice(a, b) for a, b in box.T)]
    target = np.asarray(data.target[case])
    search_plot.paths(folder / "paths.png", image, found.names, target, trace, level)
    search_plot.animation(
        folder / "search.gif",
        image,
        found.names[0],
        target[0],
        trace[:, 0, 0],
        level[:, 0, 0],
        voxel_mm=parts.how.voxel_mm,
        spacing=np.asarray(parts.game.levels.spacing).tolist(),
        crop=(config.predictor.crop_size,) * image.ndim,
    )


if __name__ == "__main__":
    app.run(main, Config)
