"""Pairs of the images of a set, as the examples of its splits.

An example is a fixed and a moving image, each on its own grid, padded about its centre to one size:
`[*space, 2]`, 8 bits. `initial` `[ndim, ndim + 1]` is the affine from voxels of the fixed one to
those of the moving one, of the padded arrays, before anything is registered.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from medjax.data import geometry, images, walk
from medjax.data.dataset import Dataset, Split
from medjax.data.info import DatasetInfo
from medjax.data.pair_options import CENTRE, MASS, MOMENTS, WORLD
from medjax.data.pairs.case import ALL_PAIRS, partners_of
from medjax.errors import UserError

_MOST_PAIRS = 20_000  # of a split
_KNOWN = ("places_vox", "points_vox", "voxels")  # where the set has them
GEOMETRY = ("size", "to_index", "file_shape", "file_world", "file_spacing", "oriented")


@dataclasses.dataclass(frozen=True, eq=False)
class Partner:
    """An image of a pair: the split that holds it, and its number there."""

    split: Split
    index: int

    @property
    def case_id(self) -> str:
        return self.split.case_id[self.index]

    @property
    def image(self) -> np.ndarray:
        return self.split.read(self.index)

    def row(self) -> dict[str, Any]:
        """Its columns."""
        return {name: values[self.index] for name, values in self.split.targets.items()}


def pair_images(
    splits: Mapping[str, Split],
    info: DatasetInfo,
    *,
    window: tuple[float, ...] = (),
    seed: int = 0,
) -> tuple[dict[str, Split], list[str]]:
    """The splits of pairs, and notes.

    Pairs are those that the set names, each in the later split of its two images (training,
    validation, test), so that no image of the others is trained on; an image that all pairs share,
    such as an atlas, does not count. Sets that say so have all with all in a split without any, at
    most 20,000 that are drawn by `seed`.

    Args:
      window: intensities that become black and white; empty: percentiles of each image.

    Raises:
      UserError: if a split has no pair.
    """
    known = {c: Partner(s, i) for s in splits.values() for i, c in enumerate(s.case_id)}
    lost = _count_lost(splits, known)
    space = tuple(np.max([s.image_shape[:-1] for s in splits.values()], 0).tolist())
    read = functools.cache(functools.partial(_limits, window=window))
    moments = functools.cache(
        lambda partner: moments_of(np.asarray(partner.image)[..., 0], partner.row())
    )
    named = _assign_pairs(splits, known)
    out, notes = {}, [f"{walk.counted(lost, 'pair')} left out, as an image is"] * bool(lost)
    for name, split in splits.items():
        pairs = named.get(name, [])
        if not pairs and ALL_PAIRS in info.pairing:
            pairs = _pair_all([known[case] for case in split.case_id], seed)
            most = len(split) * (len(split) - 1)
            if len(pairs) < most:
                notes.append(f"{len(pairs):,} of {most:,} pairs of the split {name} drawn")
        if not pairs:
            raise UserError(
                f"{info.name}: no pair in the split {name}: it has "
                f"{walk.counted(len(split), 'image')}, and pairs are {info.pairing}; add images, "
                "name pairs within it, or give `unsplit` with `method=optimise`, which is not "
                "trained"
            )
        out[name] = _as_split(pairs, space, info.initial, read, moments)
    return out, notes


Pairs = list[tuple[Partner, Partner]]


def _count_lost(splits: Mapping[str, Split], known: Mapping[str, Partner]) -> int:
    """How many of the pairs that the set names have an image that was left out."""
    names = [n for s in splits.values() for metadata in s.metadata for n in partners_of(metadata)]
    return sum(name not in known for name in names)


def _assign_pairs(splits: Mapping[str, Split], known: Mapping[str, Partner]) -> dict[str, Pairs]:
    """The pairs that the set names, by split."""
    named = [
        (partner, known[other])
        for partner in known.values()
        for other in partners_of(partner.split.metadata[partner.index])
        if other in known
    ]
    order = {id(split): rank for rank, split in enumerate(splits.values())}
    cases = [{fixed.case_id, moving.case_id} for fixed, moving in named]
    shared = set.intersection(*cases) if len(cases) > 1 else set()
    others = [[p for p in pair if p.case_id not in shared] or list(pair) for pair in named]
    latest = [max(order[id(p.split)] for p in counted) for counted in others]
    if len(set(latest)) == 1:  # what all share is of another split than the rest, and does count
        latest = [max(order[id(p.split)] for p in pair) for pair in named]
    out: dict[str, Pairs] = {}
    for pair, rank in zip(named, latest, strict=True):
        out.setdefault(list(splits)[rank], []).append(pair)
    return out


def _pair_all(partners: Sequence[Partner], seed: int) -> Pairs:
    """All pairs of images, both ways, or as many as are drawn."""
    count = len(partners)
    numbers: Any = np.arange(count * (count - 1))
    if len(numbers) > _MOST_PAIRS:
        numbers = np.random.default_rng(seed).choice(numbers, _MOST_PAIRS, replace=False)
    rows = [divmod(int(k), count - 1) for k in numbers]
    return [(partners[i], partners[j + (j >= i)]) for i, j in rows]


def _as_split(
    pairs: Sequence[tuple[Partner, Partner]],
    space: tuple[int, ...],
    initial: str,
    limits: Callable[[Partner], tuple[float, float]],
    moments: Callable[[Partner], tuple[np.ndarray, np.ndarray]],
) -> Split:
    columns: dict[str, list[Any]] = {"initial": [], "fixed_voxel_mm": []}
    for pair in pairs:
        rows = [partner.row() for partner in pair]
        find = [functools.partial(moments, partner) for partner in pair]
        matrix = initial_affine(rows, space, initial, find)
        check_overlap(rows, matrix, space, names=[partner.case_id for partner in pair])
        columns["initial"].append(matrix)
        columns["fixed_voxel_mm"].append(voxel_mm(rows[0]))
        for side, row in zip(("fixed", "moving"), rows, strict=True):
            for name in (*GEOMETRY, *(name for name in _KNOWN if name in row)):
                columns.setdefault(f"{side}_{name}", []).append(row[name])

    def read(index: int) -> np.ndarray:
        shown = [_eight_bits(p, limits(p)) for p in pairs[index]]
        return np.stack([pad(x, space) for x in shown], -1)

    def masks(index: int) -> np.ndarray:
        shown = [p.split.on_demand["mask"](p.index) for p in pairs[index]]
        return np.stack([pad(np.asarray(x), space) for x in shown], -1)

    def read_side(side: int, what: str, index: int) -> np.ndarray:
        partner = pairs[index][side]
        if what == "values":
            return pad(partner.image[..., 0], space)
        return partner.split.on_demand[what](partner.index)

    return Split(
        targets={name: np.stack(values) for name, values in columns.items()},
        case_id=[f"{moving.case_id} to {fixed.case_id}" for fixed, moving in pairs],
        subject_id=_name_subjects(pairs),
        metadata=[{"fixed": f.case_id, "moving": m.case_id} for f, m in pairs],
        read=read,
        image_shape=(*space, 2),
        image_dtype=np.dtype(np.uint8),
        on_demand={
            "mask": masks,
            **{
                f"{side}_{what}": functools.partial(read_side, number, what)
                for number, side in enumerate(("fixed", "moving"))
                for what in ("values", "reference")
            },
        },
    )


def _name_subjects(pairs: Sequence[tuple[Partner, Partner]]) -> list[str]:
    """Of the fixed images; of the moving ones where all are registered to one."""
    side = 1 if len(pairs) > 1 and len({fixed.case_id for fixed, _ in pairs}) == 1 else 0
    return [str(pair[side].split.subject_id[pair[side].index]) for pair in pairs]


def pad(array: np.ndarray, space: Sequence[int]) -> np.ndarray:
    """An array `[*sides]` about the middle of a larger one, with zeros about it."""
    margin = [(low := (n - m) // 2, n - m - low) for n, m in zip(space, array.shape, strict=True)]
    return np.pad(array, margin)


def offset_of(size: Sequence[int] | np.ndarray, space: Sequence[int]) -> np.ndarray:
    """Where the first voxel of an image lies when it is padded."""
    return (np.array(space) - np.array(size)) // 2


def _limits(partner: Partner, *, window: tuple[float, ...]) -> tuple[float, float]:
    """The intensities of an image that become black and white."""
    low, high = window or images.black_and_white(partner.image)
    return low, high


def _eight_bits(partner: Partner, limits: tuple[float, float]) -> np.ndarray:
    return images.eight_bits(partner.image[..., 0], limits)


def initial_affine(
    rows: Sequence[Mapping[str, Any]],
    space: Sequence[int],
    initial: str,
    moments: Sequence[Callable[[], tuple[np.ndarray, np.ndarray]]],
) -> np.ndarray:
    """The affine `[ndim, ndim + 1]` from padded voxels of the fixed image to those of the moving
    one; `initial` as of `PairOptions`.

    Args:
      rows: the columns of the two images.
      moments: of each its centre of mass, in voxels, and its principal axes in mm.
    """
    if not initial:
        initial = WORLD if all(row["oriented"] for row in rows) else CENTRE
    to_world = [row["file_world"] @ row["to_index"] for row in rows]
    back = np.linalg.inv(to_world[1])
    middles = [(row["size"] - 1) / 2 for row in rows]
    if np.allclose(to_world[0][:-1, :-1], to_world[1][:-1, :-1]):  # of like grids by whole voxels
        middles = [(row["size"] + 1) // 2 for row in rows]
    if initial == WORLD:
        matrix = back @ to_world[0]
    else:
        turn = np.eye(len(space))
        if initial in (MASS, MOMENTS):
            (middles[0], axes), (middles[1], others) = (find() for find in moments)
            turn = geometry.turn_between(axes, others) if initial == MOMENTS else turn
        matrix = np.eye(len(space) + 1)
        matrix[:-1, :-1] = back[:-1, :-1] @ turn @ to_world[0][:-1, :-1]
        matrix[:-1, -1] = middles[1] - matrix[:-1, :-1] @ middles[0]
    shifts = [offset_of(row["size"], space) for row in rows]
    out = matrix[:-1].copy()
    out[:, -1] += shifts[1] - matrix[:-1, :-1] @ shifts[0]
    return out


def moments_of(image: np.ndarray, row: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """The centre of mass of an image `[*space]` in voxels, and its principal axes in mm as columns,
    the longest first."""
    weights = image.astype(np.float64) - image.min()
    if not weights.sum():
        weights = np.ones_like(weights)
    share, axes = weights / weights.sum(), range(image.ndim)

    def share_along(*kept: int) -> np.ndarray:
        return share.sum(tuple(a for a in axes if a not in kept))

    lines = [np.arange(n, dtype=float) for n in image.shape]
    centre = np.array([share_along(a) @ lines[a] for a in axes])
    away = [line - c for line, c in zip(lines, centre, strict=True)]
    spread = np.zeros((image.ndim, image.ndim))
    for a, b in itertools.combinations_with_replacement(axes, 2):
        of_both = share_along(a) @ away[a] ** 2 if a == b else away[a] @ share_along(a, b) @ away[b]
        spread[a, b] = spread[b, a] = of_both
    linear = (row["file_world"] @ row["to_index"])[:-1, :-1]
    return centre, np.linalg.eigh(linear @ spread @ linear.T)[1][:, ::-1]


def voxel_mm(row: Mapping[str, Any]) -> np.ndarray:
    """The size of the voxels of a prepared image, `[ndim]`."""
    return geometry.spacing_mm(row["file_world"] @ row["to_index"]).astype(np.float32)


def check_overlap(
    rows: Sequence[Mapping[str, Any]],
    matrix: np.ndarray,
    space: Sequence[int],
    *,
    names: Sequence[str],
) -> None:
    """Raises UserError for a pair whose images do not meet where they lie at first.

    Args:
      rows: the columns of the fixed and the moving image; names: of them.
      matrix: as of `initial_affine`.
    """
    sizes = [row["size"] for row in rows]
    lows = [offset_of(size, space) for size in sizes]
    corners = np.stack(np.meshgrid(*([0.0, 1.0] for _ in space)), -1).reshape(-1, len(space))
    there = (lows[0] + corners * (sizes[0] - 1)) @ matrix[:, :-1].T + matrix[:, -1]
    gaps = np.maximum(there.min(0) - (lows[1] + sizes[1] - 1), lows[1] - there.max(0))
    linear = (rows[1]["file_world"] @ rows[1]["to_index"])[:-1, :-1]
    apart = float(np.linalg.norm(linear @ np.maximum(gaps, 0)))
    if apart > 0:
        raise UserError(
            f"{names[1]} and {names[0]} do not overlap: their files say that they lie {apart:.3g} "
            "mm apart; mend them, or give `initial=centre`"
        )


def open_pairs(dataset: Dataset, options: Any) -> Dataset:
    """The set with pairs as its examples; where no image is held back all are reported on."""
    images_ = dataset.splits
    splits, notes = pair_images(
        images_,
        dataset.info,
        window=options.window,
        seed=options.split_seed,
    )
    if set(splits) == {"train"}:
        splits = dict.fromkeys(("train", "validation", "test"), splits["train"])
    return dataclasses.replace(dataset, splits=splits, notes=(*dataset.notes, *notes))
