"""The ways to use weights of another set, and what each trains on."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medjax.data.dataset import Split
from medjax.data.info import DatasetInfo
from medjax.errors import UserError, unknown
from medjax.heads import ClassHead
from medjax.models.features import HEAD
from medjax.tasks.transfer import classical
from medjax.tasks.transfer.comparing import ALL
from medjax.tasks.transfer.probe import Probe, fit_probes
from medjax.train import feed
from medjax.train.options import TrainingOptions
from medjax.typing import Array, Key, Params, Stats, Tree

SCRATCH, FROZEN, PROBED, FINETUNED = "scratch", "frozen", "probe_then_finetune", "finetune"
SVM, NEIGHBOURS, PIXELS = "svm", "knn", "pixels"
CLASSICAL, EARLY, LATE = "classical", "early_fusion", "late_fusion"
METADATA, WITH_METADATA = "metadata", "frozen_and_metadata"
SALIENCY, WITH_SALIENCY, WINDOWS = "saliency", "frozen_and_saliency", "windows"
OF_PLANES = (CLASSICAL, EARLY, LATE, SALIENCY, WITH_SALIENCY, WINDOWS)
USUAL = (SCRATCH, FROZEN, PROBED, FINETUNED)
# Which are no network, and so leave no weights.
TABLES = (
    SVM, NEIGHBOURS, SALIENCY, WITH_SALIENCY, WINDOWS, EARLY, LATE, WITH_METADATA,
    PIXELS, CLASSICAL, METADATA,
)  # fmt: skip
ARMS = (*USUAL, *TABLES)
NEED_PROBES = (FROZEN, PROBED)
_FOLDS = 5

Init = Callable[[Key], tuple[Params, Stats]]


def check_arms(
    names: Sequence[str], sizes: Sequence[str], options: TrainingOptions, *, views: int = 1
) -> None:
    """Raises UserError for settings that do not go together; `views` is `tta`."""
    odd = next((name for name in names if name not in ARMS), None)
    if odd is not None:
        raise unknown("arm", odd, ARMS)
    if len(set(names)) < max(2, len(names)):
        raise UserError("`arms`: name two or more, each once")
    if len(set(sizes)) < max(1, len(sizes)):
        raise UserError("`train_sizes`: name one or more, each once")
    if set(names) <= set(TABLES):
        raise UserError(f"`arms`: name one that is a network too, of {', '.join(USUAL)}")
    if len(options.choices) > 1:
        raise UserError("`learning_rates`, `weight_decays`: every arm has the same; give one")
    plain = [name for name in names if name in (FROZEN, *TABLES)]
    if views > 1 and plain:
        raise UserError(
            f"`tta`: {', '.join(plain)}: their features are of the images as they are; leave out "
            "`tta`, or those arms"
        )


def check_set(
    names: Sequence[str],
    sizes: Sequence[str],
    train: Split,
    info: DatasetInfo,
    *,
    options: TrainingOptions,
    learnt: Sequence[str],
) -> None:
    """Raises UserError for a size that is no number, or larger than a class of the training set,
    and for arms that need what the set has not.

    Args:
      options: whose seeds draw the examples.
      learnt: columns of metadata that no arm may use, as classes are made of them.
    """
    if {METADATA, WITH_METADATA} & set(names) and not usable_facts(train, learnt=learnt):
        raise UserError("`arms`: the set has no metadata; name columns with `metadata_columns`")
    if {CLASSICAL, EARLY, LATE} & set(names):
        classical.find_skimage()
    planar = [name for name in names if name in OF_PLANES]
    if planar and len(train.image_shape) != 3:
        raise UserError(f"`arms`: {', '.join(planar)}: of 2-D images; leave out what is not")
    if not info.classes and {SVM, NEIGHBOURS} & set(names):
        raise UserError(f"`arms`: {SVM} and {NEIGHBOURS} are of classes; leave those arms out")
    if info.quantities and WINDOWS in names:
        raise UserError(f"`arms`: {WINDOWS} is for classes and findings; leave it out")
    number, groups = group_images(train, info)
    counts = np.bincount(number, minlength=len(groups))
    for size in sizes:
        if size == ALL:
            continue
        if not size.isdigit() or int(size) < 2:
            raise UserError(f"`train_sizes={size}`: give numbers from 2 on, and `{ALL}`")
        least = int(counts.argmin())
        if int(size) > counts[least]:
            where = f"class {groups[least]}" if len(groups) > 1 else "the set"
            raise UserError(
                f"`train_sizes={size}`: {where} has {counts[least]} training images; give no more, "
                f"or `{ALL}`"
            )
    if SVM in names:
        subject = np.array(train.subject_id)
        for size in sizes:
            drawn = _draw_once(data_keys(options), train["label"], size, subject)
            _check_classes(train["label"], *drawn, size=size)


def seed_keys(options: TrainingOptions) -> Key:
    """The key of each seed, as `train.plan` makes it."""
    return jax.vmap(jax.random.key)(options.seed + jnp.arange(options.seeds))


def data_keys(options: TrainingOptions) -> Key:
    """The key that draws the examples of each seed, as `step.make_advance` splits it."""
    return jax.vmap(lambda key: jax.random.split(key)[1])(seed_keys(options))


def usable_facts(train: Split, *, learnt: Sequence[str]) -> tuple[str, ...]:
    """The columns of metadata, without those that the classes are made of."""
    return tuple(name for name in train.metadata[0] if name not in learnt)


def group_images(train: Split, info: DatasetInfo) -> tuple[np.ndarray, Sequence[str]]:
    """What training sizes count images by: the number of each image's group, and their names.

    Groups are the classes; with quantities all images are one. Of several findings an image is in
    the group of that one, of those that it has, that the fewest images have; those without one are
    a group of their own.
    """
    if info.classes:
        return train["label"], info.classes
    if info.quantities:
        return np.zeros(len(train), int), ("image",)
    present = train["findings"] == 1
    count = np.where(present, present.sum(0), len(train) + 1)
    rarest = np.where(present.any(1), count.argmin(1), len(info.findings))
    known, number = np.unique(rarest, return_inverse=True)
    return number, [(*info.findings, "no finding")[i] for i in known]


def count_of_group(train: Split, info: DatasetInfo) -> float:
    """How many training images a group has, in the mean."""
    return len(train) / len(group_images(train, info)[1])


def describe_size(size: str, info: DatasetInfo) -> str:
    """A size in words."""
    of_each = " of each class" * (size != ALL and not info.quantities)
    return f"{size} training images{of_each}"


def choose_rows(keys: Key, label: np.ndarray, size: str) -> np.ndarray:
    """What each seed trains on, its classes in turn as far as they reach: `[seed, m]`.

    Args:
      keys: that draw the examples, one a seed.
    """
    if size == ALL:
        order = np.argsort(_rank_in_class(label), kind="stable")
        return np.tile(order, (len(keys), 1))
    return np.stack([feed.subset(key, label, per_class=int(size)) for key in keys])


def choose_folds(
    label: np.ndarray, rows: np.ndarray, subject: np.ndarray
) -> tuple[np.ndarray, int]:
    """The fold of each row, and how many there are: subjects are whole, and classes have equal
    shares, as far as that goes.

    Args:
      label: `[n]`; rows: `[seed, m]`.
      subject: of each example, `[n]`; where all are of one, each example is its own.
    """
    least = min(_count_subjects(label[mine], subject[mine]) for mine in rows)
    folds = int(np.clip(least, 2, _FOLDS))
    return np.stack([_part_subjects(label[mine], subject[mine], folds) for mine in rows]), folds


def _count_subjects(label: np.ndarray, subject: np.ndarray) -> int:
    """The fewest subjects that a class has."""
    if len(set(subject)) == 1:
        return int(np.bincount(label)[np.unique(label)].min())
    return min(len(set(subject[label == c])) for c in np.unique(label))


def _part_subjects(label: np.ndarray, subject: np.ndarray, folds: int) -> np.ndarray:
    """The fold of each example."""
    if len(set(subject)) in (1, len(subject)):
        return _rank_in_class(label) % folds
    from sklearn.model_selection import StratifiedGroupKFold  # here, as it takes a second to load

    out = np.empty(len(label), int)
    # By their first image: the names of subjects are another hash on each machine.
    _, first, number = np.unique(subject, return_index=True, return_inverse=True)
    subject = first[number]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a class with few examples
        parts = list(StratifiedGroupKFold(folds).split(label, label, subject))
    for fold, (_, held_out) in enumerate(parts):
        out[held_out] = fold
    return out


def _rank_in_class(label: np.ndarray) -> np.ndarray:
    """How many of its class stand before each example."""
    order = np.argsort(label, kind="stable")
    starts = np.searchsorted(label[order], label[order])
    rank = np.empty(len(label), int)
    rank[order] = np.arange(len(label)) - starts
    return rank


def fit_size(
    features: np.ndarray,
    target: np.ndarray,
    group: np.ndarray,
    keys: Key,
    size: str,
    *,
    subject: np.ndarray,
    head: ClassHead,
) -> tuple[Probe, list[float]]:
    """The probe of each seed `[seed, ...]`, and the decays that were chosen.

    Args:
      features: of all training images, `[n, view, feature]`; each view has the target of its image.
      target: `[n, class]`, as a head encodes it.
      group: that sizes count by, `[n]`.
      keys: that draw the examples, one a seed.
      subject: of each image, whom no fold parts; head: whose values a probe gives.
    """
    rows, fold, folds = _draw_once(keys, group, size, subject)
    views = features.shape[1]
    rows = (rows[..., None] * views + np.arange(views)).reshape(len(rows), -1)
    probes, decay = fit_probes(
        features.reshape(-1, features.shape[-1]),
        np.repeat(target, views, 0),
        rows,
        np.repeat(fold, views, 1),
        folds=folds,
        head=head,
    )
    every = jax.tree.map(lambda x: np.broadcast_to(x, (len(keys), *x.shape[1:])), probes)
    return every, np.asarray(decay).tolist()


def predict_tables(
    name: str,
    features: np.ndarray,
    label: np.ndarray,
    keys: Key,
    size: str,
    *,
    subject: np.ndarray,
    asked: Sequence[np.ndarray],
) -> list[np.ndarray]:
    """Probabilities `[seed, n, class]` for each table `[n, feature]` that is asked of, by an arm
    without a probe; arguments as of `fit_size`, of classes."""
    from medjax.tasks.transfer import tables  # here, as scikit-learn takes a second to load

    predict = {SVM: tables.predict_svm, NEIGHBOURS: tables.predict_neighbours}[name]
    rows, fold, _ = _draw_once(keys, label, size, subject)
    by_seed = [
        predict(features[mine], label[mine], my_fold, asked)
        for mine, my_fold in zip(rows, fold, strict=True)
    ]
    stacked = [np.stack(answers) for answers in zip(*by_seed, strict=True)]
    return [np.broadcast_to(x, (len(keys), *x.shape[1:])) for x in stacked]


def _draw_once(
    keys: Key, label: np.ndarray, size: str, subject: np.ndarray
) -> tuple[np.ndarray, np.ndarray, int]:
    """Rows and folds of each seed; of one alone where all have the same examples."""
    rows = choose_rows(keys[:1] if size == ALL else keys, label, size)
    return rows, *choose_folds(label, rows, subject)


def _check_classes(
    label: np.ndarray, rows: np.ndarray, fold: np.ndarray, folds: int, *, size: str
) -> None:
    """Raises UserError if a class is missing where a fold is held out."""
    for mine, my_fold in zip(rows, fold, strict=True):
        for number in range(folds):
            if set(label[mine]) - set(label[mine][my_fold != number]):
                raise UserError(
                    f"`arms`: with `train_sizes={size}`, {SVM} is fitted without each of {folds} "
                    "groups of subjects in turn, and then lacks a class: leave out "
                    f"{SVM}, or that size"
                )


def begin_variables(init: Init, replace: Callable[[Tree], Tree]) -> Tree:
    """`params` and `batch_stats` of a network with weights of another set, its last layer zero."""
    params, stats = jax.eval_shape(init, jax.random.key(0))
    return jax.tree.map(
        lambda x: np.zeros(x.shape, x.dtype) if isinstance(x, jax.ShapeDtypeStruct) else x,
        replace({"params": params, "batch_stats": stats}),
    )


def freeze(variables: Mapping[str, Any], probes: Probe) -> tuple[Params, Stats]:
    """The network of each seed as it is, with its probe as the last layer: `[seed, ...]`.

    Args:
      variables: `params` and `batch_stats` of one network.
    """
    seeds = len(probes.bias)
    below = {name: value for name, value in variables["params"].items() if name != HEAD}
    params, stats = jax.tree.map(
        lambda x: np.broadcast_to(x, (seeds, *x.shape)), (below, dict(variables["batch_stats"]))
    )
    return {**params, HEAD: {"linear": probes._asdict()}}, stats


def with_probes(init: Init, probes: Probe, keys: Key) -> Init:
    """The same initialisation, the last layer that of each seed's probe.

    Args:
      probes: `[seed, ...]`; keys: of these seeds.
    """
    known, by_seed = jax.random.key_data(keys), jax.tree.map(jnp.asarray, probes)

    def init_probe(key: Key) -> tuple[Params, Stats]:
        params, stats = init(key)
        mine: Array = jnp.argmax((known == jax.random.key_data(key)).all(-1))
        head = {name: value[mine] for name, value in by_seed._asdict().items()}
        return {**params, HEAD: {"linear": head}}, stats

    return init_probe
