"""Images with landmarks, all brought onto one grid."""

import dataclasses
import functools
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from medjax.data import geometry, placing, splits
from medjax.data.builders.base import Builder, Example
from medjax.data.landmarks import SETS, pose
from medjax.data.landmarks.case import Case, LandmarkSet, index_of
from medjax.errors import UserError


class Landmarks(Builder, skip_registration=True):  # type: ignore[call-arg]
    """A set of `medjax.data.landmarks`; the class attribute `name` says which.

    Each example has `landmarks` in voxels of the prepared array (NaN where missing or outside),
    `to_file` and `to_world`, affines from those voxels, `outside`, how many points lay outside,
    and `box`, the first voxel that lies in the image and the first beyond; the rest is padding.
    """

    VERSION = tfds.core.Version("1.3.0")  # 1.2.0 had no `pose`

    @functools.cached_property
    def found(self) -> LandmarkSet:
        return SETS[self.name](self.options)

    @functools.cached_property
    def shape(self) -> tuple[int, ...]:
        return self.options.image_shape or self.found.shape

    def describe(self):
        first = next(self._prepared(self.found.cases[:1]))
        places = zip(self.found.info.landmarks, self.pose.tolist(),
                     strict=True) if self.options.pose_from else ()
        info = dataclasses.replace(self.found.info, grid_mm=self.grid_mm, pose=tuple(
            (name, tuple(place)) for name, place in places if np.isfinite(place).all()))
        return info, first.image.shape, first.image.dtype

    @functools.cached_property
    def pose(self) -> np.ndarray:
        return pose.common(self.found)

    @functools.cached_property
    def turned_by(self) -> dict[str, np.ndarray]:
        """Points of each case; empty where images keep their pose."""
        run = self.options.pose_from
        return pose.points_of(self.found, Path(run)) if run else {}

    @property
    def grid_mm(self) -> float:
        if self.options.image_shape or self.options.grid_mm:
            return self.options.grid_mm
        return self.found.grid_mm

    def examples(self, download) -> dict[str, Iterable[Example]]:
        parts = splits.by_subject(self.found.cases, seed=self.options.split_seed)
        return {name: self._prepared(cases) for name, cases in parts.items()}

    def _prepared(self, cases: list[Case]) -> Iterator[Example]:
        for case in cases:
            points = self.turned_by.get(case.case_id)
            turn = None if points is None else pose.turn(points, self.pose, shape=self.shape,
                                                         grid_mm=self.grid_mm)
            yield prepare(case, self.found.info.landmarks, shape=self.shape, grid_mm=self.grid_mm,
                          window=self.options.window, turn=turn)


def prepare(case: Case, names: tuple[str, ...], *, shape: tuple[int, ...], grid_mm: float,
            window: tuple[float, ...] = (), turn: placing.Turn | None = None) -> Example:
    """Reads one image, and brings it and its points onto the grid; options as of `placing.place`.

    Raises:
      UserError: if image, spacing, affine and points do not go together; it names the image.
    """
    found = case.read()
    if len(shape) != found.pixels.ndim - 1:
        raise UserError(f"{case.origin}: has {found.pixels.ndim - 1} axes where the grid has "
                        f"{len(shape)}; --image_shape has one number an axis")
    world = placing.world_of(found, spacing_mm=case.spacing_mm, origin=case.origin)
    points = np.array([index_of(case.points.get(name), case, found, world) for name in names])
    placed = placing.place(found, world, shape=shape, grid_mm=grid_mm, window=window, turn=turn)
    there = geometry.apply(np.linalg.inv(placed.to_index), points)
    inside = geometry.inside(points, found.pixels.shape[:-1]) & geometry.inside(there, shape)
    targets = {"landmarks": np.where(inside[:, None], there, np.nan),
               "to_world": placed.to_world, "to_file": placed.to_file,
               "outside": int((~inside & ~np.isnan(points).any(1)).sum()), "box": placed.box}
    return Example(placed.image, targets, case.case_id, case.subject, case.origin, case.metadata)
