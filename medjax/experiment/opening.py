"""A run is opened: settings and folders are checked, the set is loaded."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from medjax import models, native, progress
from medjax.config import replace_settings
from medjax.data import catalogue, folds, preprocess, source
from medjax.data.dataset import Dataset, Split
from medjax.data.options import Options
from medjax.data.patches import UNKNOWN
from medjax.data.suggest import suggest_form
from medjax.errors import UserError
from medjax.evaluation import plot
from medjax.experiment.suggest import (
    Suggest,
    apply,
    has_accelerator,
    take_stored,
    take_trained,
)
from medjax.experiment.trackers import Tracker, check_trackers
from medjax.ops.augment import Augmentation
from medjax.ops.preprocess import Preprocessing
from medjax.outputs.base import ModelSpec
from medjax.run_options import FileOptions, FoldOptions, ReportOptions
from medjax.runtime import check_device, host, join, setup
from medjax.train.options import TrainingOptions
from medjax.typing import Json
from medjax.workdir import check_workdir


class RunConfig(Protocol):
    """What the settings of every run have."""

    @property
    def dataset(self) -> str: ...

    @property
    def data(self) -> Options: ...

    @property
    def training(self) -> TrainingOptions: ...

    @property
    def report(self) -> ReportOptions: ...

    @property
    def files(self) -> FileOptions: ...


@dataclasses.dataclass(frozen=True)
class Run:
    """A run that is open.

    Attributes:
      family: the name of its experiment.
      config: its settings, as they stand in `config.json`.
      dataset: the set.
      training: of the settings, with numbers where they say that a number follows from the set.
      workdir: where it writes.
      held: what is closed at its end.
      trackers: where it is shown while it trains; filled when the work directory is open.
      depends_on: what its results depend on beside settings and set; filled before that.
      started_from: what the report says of the weights that it starts from; empty: there are none.
    """

    family: str
    config: Any
    dataset: Dataset
    training: TrainingOptions
    workdir: Path
    held: contextlib.ExitStack
    trackers: list[Tracker] = dataclasses.field(default_factory=list)
    depends_on: dict[str, str] = dataclasses.field(default_factory=dict)
    started_from: Json = dataclasses.field(default_factory=dict)

    @property
    def report_split(self) -> Split:
        """What is reported on."""
        return self.dataset.splits[self.dataset.report_split]

    def with_training(self, **changes: Any) -> "Run":
        """The same with other training options."""
        return dataclasses.replace(self, training=dataclasses.replace(self.training, **changes))

    def with_first(self, cases: int) -> "Run":
        """The same with so many training cases alone, the first; 0: all."""
        train = self.dataset.splits["train"]
        if not 0 < cases < len(train):
            return self
        note = f"trained on the first {cases} of {len(train)} training cases, by `train_cases`"
        dataset = dataclasses.replace(
            self.dataset,
            splits={**self.dataset.splits, "train": train.first(cases)},
            notes=(*self.dataset.notes, note),
        )
        return dataclasses.replace(self, dataset=dataset)


@contextlib.contextmanager
def open_run(
    config: RunConfig,
    family: str,
    *,
    default: str,
    dataset: Dataset | None = None,
    suggest: Suggest | None = None,
) -> Iterator[Run]:
    """Checks the settings and folders, sets the machine up, and loads the set.

    Args:
      default: the set where neither its name nor its folder is given.
      dataset: one that is open already; nothing is read then.
      suggest: what settings that nobody gave follow from the set, with `auto`.

    Raises:
      UserError: for whatever is wrong with settings, folders or files.
      ExitError: if the process is to end.
    """
    if not dataset and not config.dataset and catalogue.is_named(config.data):
        config = replace_settings(config, dataset=config.data.data_dir, data_dir="", auto=False)
    workdir = Path(config.files.workdir)
    if config.report.eval_only:
        config = take_trained(config)
    check_folders(workdir, config)
    cache = Path(config.files.cache_dir).expanduser()
    name = dataset.info.name if dataset else config.dataset
    if not name and config.data.data_dir:
        name = catalogue.infer(config.data)
        say(f"{config.data.data_dir} is read as the set {name}")
    config = dataclasses.replace(config, dataset=name or default)  # type: ignore[type-var]
    if not dataset:
        source.check_read(config.dataset, config.data, _given(config))
    if not config.files.auto:
        check_workdir(workdir, family, config)
    check_trackers(tensorboard=config.report.tensorboard, wandb=config.report.wandb)
    setup(cache)
    join()
    check_device()
    if not (has_accelerator() or native.is_loaded()):
        say("convolutions: XLA's own; `medjax build`, once, compiles faster ones for this CPU")
    host().watch_signals()
    if not dataset:
        config = _choose_form(config)
        with host().at_once("reading the data"):
            dataset = source.load(config.dataset, options=config.data, cache_dir=cache, say=say)
    catalogue.check_kind(config.data, dataset.info)
    dataset = _in_folds(dataset, config)
    if config.files.auto and suggest:
        chosen = suggest(dataset, has_accelerator())
        stored = take_stored(config, [s.name for s in chosen])
        if stored is config:
            stored = apply(config, chosen, say=say)
            say("all are flags; --early_stopping=3 ends where validation gains no more")
        config = stored
    if config.files.auto:
        check_workdir(workdir, family, config)
    _describe(dataset)
    with contextlib.ExitStack() as held:
        held.enter_context(plot.formats(config.report.figure_format))
        held.enter_context(models.use_fast_convolutions())
        yield Run(family, config, dataset, config.training, workdir, held)


def _choose_form(config: Any) -> Any:
    """With the size and channels that images of one's own are brought to, where nobody said it."""
    own = catalogue.kind_of(config.data).folder_set == config.dataset
    if not config.files.auto or not own:
        return config
    stored = take_stored(config, ("image_size", "image_shape", "grid_mm", "channels"))
    if stored is not config:
        return stored
    form = suggest_form(config.data, accelerated=has_accelerator())
    return apply(config, form, say=say)


def _in_folds(dataset: Dataset, config: RunConfig) -> Dataset:
    options: FoldOptions = getattr(config, "cross_validation", FoldOptions())
    if not options.folds:
        return dataset
    return folds.split_folds(
        dataset, count=options.folds, fold=int(options.fold), seed=options.fold_seed
    )


@contextlib.contextmanager
def open_beside(run: Run, name: str, **changes: Any) -> Iterator[Run]:
    """Another run on the same set, in the folder `name` of the work directory; `changes` are its
    settings that differ."""
    workdir = run.workdir / name
    config = replace_settings(run.config, workdir=str(workdir), **changes)
    with contextlib.ExitStack() as held:
        yield dataclasses.replace(run, config=config, workdir=workdir, held=held, trackers=[])


def say(line: str) -> None:
    """Prints a line at once, also into a file."""
    print(line, flush=True)
    progress.note_output()


def _given(config: RunConfig) -> list[str]:
    """The options of the set that differ from their defaults."""
    defaults: Any = next(f.default for f in dataclasses.fields(config) if f.name == "data")  # type: ignore[arg-type]
    return [
        f.name
        for f in dataclasses.fields(defaults)
        if getattr(config.data, f.name) != getattr(defaults, f.name)
    ]


def check_folders(workdir: Path, config: RunConfig) -> None:
    """Raises UserError for folders that no run can have."""
    if workdir.exists() and not workdir.is_dir():
        raise UserError(f"`workdir={workdir}`: is a file; choose another")
    start = getattr(getattr(config, "start", None), "init_from", "")
    if start and not config.report.eval_only and Path(start).resolve() == workdir.resolve():
        raise UserError(f"`init_from={start}`: is the `workdir` itself; choose another `workdir`")
    data_dir, begun = config.data.data_dir, (workdir / "config.json").exists()
    if begun and config.files.resume == "never" and not config.report.eval_only:
        raise UserError(
            f"`workdir={workdir}`: holds a run already, and `resume=never`; choose another, or "
            "remove it"
        )
    if data_dir and Path(data_dir).resolve() in workdir.resolve().parents:
        raise UserError(
            f"`workdir={workdir}` lies in `data_dir`, where its figures would be taken for "
            "images; choose another"
        )
    if config.report.eval_only and not begun:
        raise UserError(f"`workdir={workdir}`: no run in it to evaluate; train first")


_UNKNOWN_SUBJECTS = "not known: each image is its own (a column subject_id tells whose it is)"


def _describe(dataset: Dataset) -> None:
    info = dataset.info
    sizes = ", ".join(f"{len(s)} {name}" for name, s in dataset.splits.items())
    first, *others = dataset.splits.values()
    if others and all(split is first for split in others):
        sizes = f"all {len(first)} are reported, and none is trained on"
    kind = "synthetic, " if info.synthetic else ""
    modality = "" if info.modality == "unknown" else f"{info.modality}; "
    say(f"{info.name}: {kind}{modality}{info.summary}; {sizes}")
    say(f"subjects: {info.subjects or _UNKNOWN_SUBJECTS}")
    if info.classes and info.has_labels:
        say(f"classes: {_count_classes(dataset)}")
    if info.findings:
        say(f"findings: {_count_findings(dataset)}")
    if info.quantities:
        say(f"quantities: {_sum_up_quantities(dataset)}")
    for note in dataset.notes:
        say(f"note: {note}")


_MOST_CLASSES = 12  # that are counted in a line


def _count_classes(dataset: Dataset) -> str:
    """Each class with its cases in the splits, as `benign 70 / 15 / 15`."""
    counts = [
        np.bincount(split["label"], minlength=len(dataset.info.classes))
        for split in dataset.splits.values()
    ]
    return _list_counts(dataset, dataset.info.classes, counts)


def _count_findings(dataset: Dataset) -> str:
    """The same of findings; in how many cases some are not known."""
    splits = dataset.splits.values()
    counts = [np.nansum(split["findings"], 0).astype(int) for split in splits]
    missing = sum(int(np.isnan(split["findings"]).any(1).sum()) for split in splits)
    note = f"; in {missing} cases some are not known" * bool(missing)
    return _list_counts(dataset, dataset.info.findings, counts) + note


def _sum_up_quantities(dataset: Dataset) -> str:
    """The range of each and its median; in how many cases it is not known."""
    values = np.concatenate([split["quantities"] for split in dataset.splits.values()])
    shown = []
    for name, column in zip(dataset.info.quantities, values.T, strict=True):
        known = column[np.isfinite(column)]
        missing = f", {len(column) - len(known)} not known" * (len(known) < len(column))
        low, middle, high = np.quantile(known, [0, 0.5, 1]) if len(known) else [np.nan] * 3
        shown.append(f"{name} {low:.4g} to {high:.4g}, median {middle:.4g}{missing}")
    return "; ".join(shown)


def _list_counts(dataset: Dataset, names: Sequence[str], counts: Sequence[np.ndarray]) -> str:
    shown = [
        f"{name} {' / '.join(map(str, numbers))}"
        for name, *numbers in zip(names, *counts, strict=True)
    ]
    more = f" and {len(shown) - _MOST_CLASSES} more" if len(shown) > _MOST_CLASSES else ""
    return f"{', '.join(shown[:_MOST_CLASSES])}{more} ({' / '.join(dataset.splits)})"


def check_augmentation(augmentation: Augmentation, *, axes: int) -> None:
    """Raises UserError if an axis to flip is none of the images' `axes`."""
    if any(not 0 <= axis < axes for axis in augmentation.flip):
        raise UserError(
            f"`flip={','.join(map(str, augmentation.flip))}`: the images have the axes 0 to "
            f"{axes - 1}"
        )


def fit_preprocessing(
    run: Run, train: Split, *, draw: Callable[[Split], Split] | None = None
) -> Preprocessing:
    """How pixels are scaled: by the images that are trained on, in folds by those of all folds, so
    that their networks can answer together.

    Args:
      draw: of images with masks, the patches that are looked at; of pixels that are scaled alike
        for all images those inside of structures.
    """
    split = run.dataset.pool or train
    if draw is None:
        return preprocess.fit(split.images, len(split))
    patches = draw(split)
    read_mask = patches.on_demand["mask"]
    return preprocess.fit(
        patches.images,
        len(patches),
        inside=lambda rows: np.stack([read_mask(i) % UNKNOWN for i in rows]),
    )


def describe_model(run: Run, preprocessing: Preprocessing) -> ModelSpec:
    """What is known of a network when its training begins."""
    train = run.dataset.splits["train"]
    _check_findings(train, run.dataset.info.findings)
    return ModelSpec(
        run.dataset.info,
        preprocessing,
        train.image_shape,
        str(train.image_dtype),
        tuple(getattr(run.config.data, "window", ())),
        run.training.seeds,
        run.config.data.channels,
        _scale_quantities(run.dataset.pool or train, run.dataset.info.quantities),
    )


def _check_findings(train: Split, names: Sequence[str]) -> None:
    """Raises UserError for a finding that no training case tells of."""
    for place, name in enumerate(names):
        if not np.isfinite(train["findings"][:, place]).any():
            raise UserError(
                f"`finding_columns`: {name} is known of no training image; leave it out"
            )


def _scale_quantities(train: Split, names: Sequence[str]) -> tuple[tuple[float, float], ...]:
    """Mean and standard deviation of each, of all folds alike, so that their networks can answer
    together; raises UserError for a quantity that is the same in all cases."""
    columns = [train["quantities"][:, place] for place in range(len(names))]
    scale = []
    for name, column in zip(names, columns, strict=True):
        known = column[np.isfinite(column)]
        if len(np.unique(known)) < 2:
            raise UserError(
                f"`quantity_columns`: {name} has fewer than two values in the training; leave it "
                "out"
            )
        scale.append((float(known.mean()), float(known.std())))
    return tuple(scale)
