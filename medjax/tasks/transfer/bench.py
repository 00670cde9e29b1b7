"""What all arms share: images, the program of their trainings, the network that they start from."""

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax.numpy as jnp
import numpy as np

from medjax.data.dataset import Split
from medjax.heads import ClassHead
from medjax.outputs.base import Inferred, ModelSpec
from medjax.tasks.base import Predictor
from medjax.tasks.transfer import arms, plan, views
from medjax.tasks.transfer.arms import Init
from medjax.tasks.transfer.classical import describe_images, encode_metadata, fit_encoding
from medjax.tasks.transfer.features import compute_features, pool_pixels
from medjax.tasks.transfer.probe import Probe, predict_probes
from medjax.train.optim import LayerRate
from medjax.train.options import TrainingOptions
from medjax.train.run import Plan
from medjax.train.task import Task
from medjax.typing import Array, Batch, Tree


class ClassPredictor(Predictor, Protocol):
    """The predictor of a classifier, which can make its network too."""

    @property
    def dtype(self) -> str: ...

    def make_head(self, spec: ModelSpec) -> ClassHead: ...

    def make_network(self, spec: ModelSpec) -> Any: ...


class Bench(NamedTuple):
    """See `set_up`.

    Attributes:
      plan: of a training, without data; started: of one from the weights; images: what they are
        trained on.
      layers: how those from the weights are trained; None: as all.
      variables: of the network with the weights that arms start from.
      target: `[n, class]`, as the head encodes it; group: that sizes count by, `[n]`.
      facts: the columns of metadata that arms may use.
      made: tables of splits that arms have asked for, by what they hold and of which split.
    """

    predictor: ClassPredictor
    spec: ModelSpec
    task: Task
    train: Split
    options: TrainingOptions
    start: Callable[[Init], Init]
    plan: Plan
    started: Plan
    images: Batch
    layers: plan.Layers
    variables: Tree
    cache: Path
    known_by: tuple[str, ...]
    target: np.ndarray
    group: np.ndarray
    facts: tuple[str, ...]
    made: dict[tuple[str, str], np.ndarray]

    @property
    def head(self) -> ClassHead:
        """What the last layer answers."""
        return self.predictor.make_head(self.spec)

    @property
    def subject(self) -> np.ndarray:
        """Of each image of the training, `[n]`."""
        return np.array(self.train.subject_id)


Tabulate = Callable[[Bench, Split, str], np.ndarray]  # to `[n, view, feature]`


def set_up(
    predictor: ClassPredictor,
    spec: ModelSpec,
    task: Task,
    train: Split,
    *,
    options: TrainingOptions,
    start: Callable[[Init], Init],
    replace: Callable[[Tree], Tree],
    evaluate: Callable[[Any], Mapping[str, float]],
    score: str,
    higher: bool,
    layers: plan.Layers,
    started_task: Task,
    cache: Path,
    known_by: tuple[str, ...],
    learnt: Sequence[str],
) -> Bench:
    """The program of all trainings, and the network that arms start from.

    Args:
      start: an initialisation to one with the weights; replace: the same of variables.
      evaluate, score, higher, layers: as of `plan.plan_arms`.
      started_task: of arms that start from the weights; another one than `task` is compiled too.
      cache: the folder for features; known_by: what they depend on, beside the scaling: digests of
        the set and of the weights.
      learnt: columns of metadata that no arm may use, as classes are made of them.
    """
    head = predictor.make_head(spec)
    plan_for = functools.partial(
        plan.plan_arms,
        train=train,
        column=head.column,
        options=options,
        evaluate=evaluate,
        score=score,
        higher=higher,
        layers=layers,
    )
    of_all = plan_for(task)
    return Bench(
        predictor,
        spec,
        task,
        train,
        options,
        start,
        of_all,
        of_all if started_task is task else plan_for(started_task),
        plan.load_images(train, column=head.column),
        layers,
        arms.begin_variables(task.init, replace),
        cache,
        (*known_by, predictor.model, predictor.dtype),
        np.asarray(head.encode(jnp.asarray(train[head.column]), len(spec.info.targets))),
        arms.group_images(train, spec.info)[0],
        arms.usable_facts(train, learnt=learnt),
        {},
    )


class Table(NamedTuple):
    """What the arms of one size share.

    Attributes:
      data: that they are trained on, as of `plan.plan_arms`.
      probes: of the frozen network, one a seed; None where no arm has them. decays: that they have;
        seconds: that they took, with the features.
    """

    bench: Bench
    size: str
    data: Batch
    probes: Probe | None
    decays: str
    seconds: float


def draw_size(bench: Bench, size: str, names: Sequence[str]) -> Table:
    """The examples of a size, and the probes that the arms of these names need."""
    began, probes, decays = time.perf_counter(), None, ""
    if set(names) & set(arms.NEED_PROBES):
        features = _recall(bench, _tabulate, bench.train, "train")
        probes, decays = _fit_probes(bench, features, size)
    seconds = time.perf_counter() - began
    examples = plan.name_examples(bench.group, size, bench.options)
    return Table(bench, size, {**bench.images, **examples}, probes, decays, seconds)


def _recall(bench: Bench, part: Tabulate, split: Split, what: str) -> np.ndarray:
    """What `part` makes of a split, once for all arms and sizes."""
    key = (part.__name__, what)
    if key not in bench.made:
        bench.made[key] = part(bench, split, what)
    return bench.made[key]


def _tabulate(
    bench: Bench, split: Split, what: str, *, show: Callable[[Array], Array] = views.show_image
) -> np.ndarray:
    """What the network that arms start from makes of images as they are shown."""
    return compute_features(
        bench.predictor.make_network(bench.spec),
        bench.variables,
        bench.spec.preprocessing,
        split,
        batch=bench.options.batch,
        what=what,
        cache=bench.cache,
        known_by=bench.known_by,
        show=show,
    )


def _tabulate_saliency(bench: Bench, split: Split, what: str) -> np.ndarray:
    """The same of what stands out in them."""
    return _tabulate(bench, split, what, show=views.show_saliency)


def _tabulate_windows(bench: Bench, split: Split, what: str) -> np.ndarray:
    """The same of windows of them."""
    return _tabulate(bench, split, what, show=views.show_windows)


def _tabulate_pixels(bench: Bench, split: Split, what: str) -> np.ndarray:
    """The images themselves."""
    scaling, batch = bench.spec.preprocessing, bench.options.batch
    return pool_pixels(scaling, split, batch=batch, what=f"{what}, pixels")[:, None]


def _fit_probes(bench: Bench, features: np.ndarray, size: str) -> tuple[Probe, str]:
    """The probe of each seed, on features of the training set, and the decays that they have."""
    probes, decays = arms.fit_size(
        features,
        bench.target,
        bench.group,
        arms.data_keys(bench.options),
        size,
        subject=bench.subject,
        head=bench.head,
    )
    return probes, ", ".join(f"{d:g}" for d in decays)


def _tabulate_classical(bench: Bench, split: Split, what: str) -> np.ndarray:
    """Classical features of images."""
    return describe_images(bench.spec.preprocessing, split, what=what)[:, None]


def _tabulate_metadata(bench: Bench, split: Split, what: str) -> np.ndarray:
    """What the table of the set says of cases."""
    encoding = fit_encoding(bench.train.metadata, bench.facts)
    return encode_metadata(split.metadata, encoding)[:, None]


# What arms with a probe know of a case; several parts stand beside one another.
_PARTS: dict[str, tuple[Tabulate, ...]] = {
    arms.FROZEN: (_tabulate,),
    arms.PIXELS: (_tabulate_pixels,),
    arms.CLASSICAL: (_tabulate_classical,),
    arms.METADATA: (_tabulate_metadata,),
    arms.EARLY: (_tabulate, _tabulate_classical),
    arms.WITH_METADATA: (_tabulate, _tabulate_metadata),
    arms.SALIENCY: (_tabulate_saliency,),
    arms.WITH_SALIENCY: (_tabulate, _tabulate_saliency),
    arms.WINDOWS: (_tabulate_windows,),
}
# How often parts show an image to a network.
_SHOWN: dict[Tabulate, int] = {
    _tabulate: 1,
    _tabulate_saliency: 1,
    _tabulate_windows: views.WINDOWS,
}
_LATE = (arms.FROZEN, arms.CLASSICAL)  # whose answers are averaged


def answer_tables(table: Table, name: str, asked: Mapping[str, Split]) -> dict[str, Inferred]:
    """What an arm that trains no network answers to splits, by their names."""
    kind = table.bench.head.answer
    if name == arms.LATE:
        pair = [answer_tables(table, part, asked) for part in _LATE]
        answers = [np.mean([p[what].by_seed[kind] for p in pair], 0) for what in asked]
    elif name in _PARTS:
        answers = _answer_probes(table, name, asked)
    else:
        bench = table.bench
        answers = arms.predict_tables(
            name,
            _recall(bench, _tabulate, bench.train, "train")[:, 0],
            bench.train["label"],
            arms.data_keys(bench.options),
            table.size,
            subject=bench.subject,
            asked=[_recall(bench, _tabulate, split, what)[:, 0] for what, split in asked.items()],
        )
    return {
        what: Inferred({kind: p}, {kind: p.mean(0)}) for what, p in zip(asked, answers, strict=True)
    }


def _answer_probes(table: Table, name: str, asked: Mapping[str, Split]) -> list[np.ndarray]:
    """Answers `[seed, n, class]` of each split."""
    bench, probes = table.bench, table.probes if name == arms.FROZEN else None

    def tabulate(split: Split, what: str) -> np.ndarray:
        return np.concatenate([_recall(bench, part, split, what) for part in _PARTS[name]], -1)

    if probes is None:
        probes, _ = _fit_probes(bench, tabulate(bench.train, "train"), table.size)
    return [_answer_views(bench, probes, tabulate(split, what)) for what, split in asked.items()]


def _answer_views(bench: Bench, probes: Probe, features: np.ndarray) -> np.ndarray:
    """Answers `[seed, n, class]`; of several views each class has its highest (Chen et al.,
    Standard plane localization in fetal ultrasound, IEEE JBHI 19, 2015)."""
    count, shown, width = features.shape
    classes, head = bench.target.shape[1], bench.head
    flat = predict_probes(probes, features.reshape(-1, width), classes=classes, head=head)
    highest = np.asarray(flat).reshape(-1, count, shown, classes).max(2)
    return highest / highest.sum(-1, keepdims=True) if bench.spec.info.classes else highest


def plan_arm(table: Table, name: str) -> Plan:
    """The training of one arm on the data of one size."""
    bench, init, layers = table.bench, table.bench.task.init, table.bench.layers
    if name == arms.SCRATCH:
        same = layers and dict.fromkeys(layers, LayerRate(1.0, 0))
        return plan.of_arm(bench.plan, init, table.data, options=bench.options, layers=same)
    start = bench.start(init)
    if name == arms.PROBED and table.probes is not None:
        start = arms.with_probes(start, table.probes, arms.seed_keys(bench.options))
    return plan.of_arm(bench.started, start, table.data, options=bench.options, layers=layers)


def count_examples(table: Table, name: str, steps: int) -> int:
    """How many images go through a network for an arm, all seeds; `steps` were trained."""
    options = table.bench.options
    if name in (arms.FROZEN, *arms.TABLES):
        parts = _PARTS.get(name, (_tabulate,))
        return len(table.bench.train) * sum(_SHOWN.get(part, 0) for part in parts)
    return steps * options.batch * options.seeds
