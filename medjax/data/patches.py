"""Patches of images that are larger than what a network takes, by seed and number alone."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from medjax.data.dataset import Split

UNKNOWN = 255  # in a mask: what lies outside of the image
_MOST_VOXELS = 4096  # of a structure that a patch may be put upon


def draw_patches(
    split: Split,
    *,
    patch: tuple[int, ...],
    a_case: int,
    structure_share: float,
    structures: int,
    seed: int,
    things: bool = False,
) -> Split:
    """Patches of the images of a split, with their masks, as the examples of another split.

    Example `i` is of case `i % n`. Its corner follows from the seed and `i`: somewhere in the
    image, or, with the probability `structure_share`, so that a voxel of a structure, each as
    often, lies anywhere in it. Where an image ends its border repeats, and the mask is `UNKNOWN`.

    Args:
      split: with `mask` on demand, and the column `size`.
      patch: one side an axis.
      a_case: how many patches each case has.
      structures: how many values masks have beside the background.
      things: masks are maps of depth: all values are one structure.
    """
    count, sizes = len(split), split["size"]

    @functools.cache
    def places(case: int) -> list[np.ndarray]:
        """Voxels `[k, ndim]` of each structure that the case has."""
        mask = split.on_demand["mask"](case)
        return structure_voxels(np.sign(mask) if things else mask, structures, seed=seed + case)

    def corner(index: int) -> np.ndarray:
        case = index % count
        size, rng = sizes[case], np.random.default_rng([seed, index])
        room = np.maximum(size - np.array(patch), 0)
        begin = rng.integers(0, room + 1)
        if rng.random() < structure_share and (some := places(case)):
            voxels = some[rng.integers(len(some))]
            begin = voxels[rng.integers(len(voxels))] - rng.integers(0, patch)
            begin = np.clip(begin, 0, room)
        return np.where(size < patch, -((np.array(patch) - size) // 2), begin)

    def read(index: int) -> np.ndarray:
        return cut(split.read(index % count), corner(index), patch)

    def read_mask(index: int) -> np.ndarray:
        mask = split.on_demand["mask"](index % count)
        return cut(mask, corner(index), patch, fill=UNKNOWN)

    rows = [i % count for i in range(count * a_case)]
    return dataclasses.replace(
        split,
        targets={},
        case_id=[split.case_id[i] for i in rows],
        subject_id=[split.subject_id[i] for i in rows],
        metadata=[split.metadata[i] for i in rows],
        read=read,
        image_shape=(*patch, split.image_shape[-1]),
        on_demand={"mask": read_mask},
    )


def structure_voxels(mask: np.ndarray, structures: int, *, seed: int) -> list[np.ndarray]:
    """Up to 4,096 voxels `[k, ndim]` of each structure that a mask `[*space]` has."""
    flat, rng = np.asarray(mask).reshape(-1), np.random.default_rng(seed)
    out = []
    for value in range(1, structures + 1):
        there = np.flatnonzero(flat == value)
        if len(there) > _MOST_VOXELS:
            there = rng.choice(there, _MOST_VOXELS, replace=False)
        if len(there):
            out.append(np.stack(np.unravel_index(there, mask.shape), -1).astype(np.int32))
    return out


def cut(
    array: np.ndarray,
    corner: Sequence[int] | np.ndarray,
    patch: tuple[int, ...],
    *,
    fill: int | None = None,
) -> np.ndarray:
    """The part of `array` `[*space, ...]` from `corner` on, `[*patch, ...]`.

    Args:
      fill: the value beyond the border; None repeats the border.
    """
    size = array.shape[: len(patch)]
    inside = tuple(
        slice(max(c, 0), min(c + p, n)) for c, p, n in zip(corner, patch, size, strict=True)
    )
    part = np.asarray(array[inside])
    before = [max(-int(c), 0) for c in corner]
    margin = [
        (b, p - b - (s.stop - s.start)) for b, p, s in zip(before, patch, inside, strict=True)
    ]
    if not any(map(any, margin)):
        return part
    margin += [(0, 0)] * (array.ndim - len(patch))
    if fill is None:
        return np.pad(part, margin, mode="edge")
    return np.pad(part, margin, constant_values=fill)
