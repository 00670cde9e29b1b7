"""Images with landmarks, all brought onto one grid."""

import functools
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from medjax.data import geometry, images, splits
from medjax.data.builders.base import Builder, Example
from medjax.data.landmarks import SETS
from medjax.data.landmarks.case import Case, LandmarkSet, file_order, index_of, world_of
from medjax.data.landmarks.pose import Pose, common_poses
from medjax.errors import UserError


class Landmarks(Builder, skip_registration=True):  # type: ignore[call-arg]
    """A set of `medjax.data.landmarks`; the class attribute `name` says which.

    Each example has `landmarks` in voxels of the prepared array (NaN where missing or outside),
    `to_file` and `to_world`, affines from those voxels, `outside`, how many points lay outside,
    and `box`, the first voxel that lies in the image and the first beyond; the rest is padding.
    """

    VERSION = tfds.core.Version("1.1.0")  # 1.0.0 had no `box`

    @functools.cached_property
    def found(self) -> LandmarkSet:
        return SETS[self.name](self.options)

    @functools.cached_property
    def shape(self) -> tuple[int, ...]:
        return self.options.image_shape or self.found.shape

    def describe(self):
        first = next(self._prepared(self.found.cases[:1]))
        return self.found.info, first.image.shape, first.image.dtype

    @functools.cached_property
    def poses(self) -> dict[str, Pose]:
        """By case; empty where images keep their pose."""
        if not self.options.pose_from:
            return {}
        return common_poses(self.found, Path(self.options.pose_from), shape=self.shape,
                            grid_mm=self.grid_mm)

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
            yield prepare(case, self.found.info.landmarks, shape=self.shape, grid_mm=self.grid_mm,
                          window=self.options.window, pose=self.poses.get(case.case_id))


def prepare(case: Case, names: tuple[str, ...], *, shape: tuple[int, ...], grid_mm: float,
            window: tuple[float, ...] = (), pose: Pose | None = None) -> Example:
    """Reads one image, in 8 bits, and brings it and its points onto the grid.

    Args:
      pose: turns the image, where it is not to stay as it is.

    Raises:
      UserError: if image, spacing, affine and points do not go together; it names the image.
    """
    found = case.read()
    ndim = found.pixels.ndim - 1
    if len(shape) != ndim:
        raise UserError(f"{case.origin}: has {ndim} axes where the grid has {len(shape)}; "
                        "--image_shape has one number an axis")
    world = world_of(found, case)
    placed = np.array([index_of(case.points.get(name), case, found, world) for name in names])
    pixels, turn = found.pixels, np.eye(ndim + 1)
    if ndim == 3 and found.affine is not None:
        pixels, turn = geometry.canonical(pixels, world)
    if pose is None:
        spacing = geometry.spacing_mm(world @ turn)
        back = geometry.fitted(pixels.shape[:-1], spacing, shape=shape, grid_mm=grid_mm)
    else:
        back = np.linalg.inv(pose.to_common @ world @ turn) @ pose.grid
    image = geometry.resample(images.eight_bits(pixels, window), back, shape=shape)
    to_array = turn @ back
    points = geometry.apply(np.linalg.inv(to_array), placed)
    inside = geometry.inside(placed, found.pixels.shape[:-1]) & geometry.inside(points, shape)
    outside = int((~inside & ~np.isnan(placed).any(1)).sum())
    targets = {"landmarks": np.where(inside[:, None], points, np.nan),
               "to_world": world @ to_array, "to_file": file_order(found) @ to_array,
               "outside": outside,
               "box": geometry.covered(pixels.shape[:-1], back, shape=shape)}
    return Example(image, targets, case.case_id, case.subject, case.origin, case.metadata)
