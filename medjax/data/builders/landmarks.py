"""Images with landmarks, all brought onto one grid."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from medjax.data import geometry, placing, subjects
from medjax.data.builders.base import Builder, Example, Part
from medjax.data.found import RawImage
from medjax.data.landmarks import SETS, pose
from medjax.data.landmarks.case import LandmarkCase, LandmarkSet, index_of
from medjax.errors import UserError


class Landmarks(Builder, skip_registration=True):  # type: ignore[call-arg]
    """A set of `medjax.data.landmarks`; the class attribute `name` says which.

    Each example has `landmarks` in voxels of the prepared array (NaN where missing, or outside of
    it), `true_file` and `true_mm`, the reference itself (NaN where missing, or outside the image),
    `to_file` and `to_world`, affines from voxels of the prepared array, `outside` and `beyond`, how
    many points lay outside the image, and inside it but beyond the array, and `box`, the first
    voxel that lies in the image and the first beyond; the rest is padding.
    """

    VERSION = tfds.core.Version("1.6.0")  # 1.5.0 took i, j, k of DICOM and TIFF as k, j, i

    @functools.cached_property
    def landmark_set(self) -> LandmarkSet:
        return SETS[self.name](self.options)

    @functools.cached_property
    def subjects(self) -> subjects.Subjects:
        return subjects.of_cases(
            self.landmark_set.cases,
            known_by=self.landmark_set.known_by,
            layout=self.landmark_set.info.subjects,
            secret=self.secret,
        )

    @functools.cached_property
    def shape(self) -> tuple[int, ...]:
        return self.options.image_shape or self.landmark_set.shape

    @functools.cached_property
    def _description(self):
        cases = self.landmark_set.cases
        first = self.first_readable(cases, lambda case: case.read(), self._placer())
        places = (
            zip(self.landmark_set.info.landmarks, self.pose.tolist(), strict=True)
            if self.options.pose_from
            else ()
        )
        info = dataclasses.replace(
            self.landmark_set.info,
            grid_mm=self.grid_mm,
            subjects=self.subjects.known_by,
            pose=tuple((name, tuple(place)) for name, place in places if np.isfinite(place).all()),
        )
        return info, first.image.shape, first.image.dtype

    def describe(self):
        return self._description

    @functools.cached_property
    def pose(self) -> np.ndarray:
        return pose.common(self.landmark_set)

    @functools.cached_property
    def turned_by(self) -> dict[str, np.ndarray]:
        """Points of each case; empty where images keep their pose."""
        run = self.options.pose_from
        return pose.points_of(self.landmark_set, Path(run)) if run else {}

    @property
    def grid_mm(self) -> float:
        if self.options.image_shape or self.options.grid_mm:
            return self.options.grid_mm
        return self.landmark_set.grid_mm

    def examples(self, download: Callable) -> dict[str, Part]:
        self.notes += self.landmark_set.notes
        return self.parts(self.landmark_set.cases, self.subjects, self._prepared)

    def _prepared(self, cases: list[LandmarkCase]) -> Iterator[Example]:
        return self.readable(cases, lambda case: case.read(), self._placer())

    def _placer(self) -> Callable[[LandmarkCase, RawImage], Example]:
        """What brings an image and its points onto the grid; threads share it."""
        turned_by, shape, grid_mm = self.turned_by, self.shape, self.grid_mm
        common = self.pose if turned_by else None

        def example(case: LandmarkCase, raw_image: RawImage) -> Example:
            points = turned_by.get(case.case_id)
            turn = (
                None
                if points is None or common is None
                else pose.turn(points, common, shape=shape, grid_mm=grid_mm)
            )
            wished = raw_image._replace(pixels=self.in_channels(raw_image.pixels))
            return prepare(
                case._replace(read=lambda: wished),
                self.landmark_set.info.landmarks,
                shape=shape,
                grid_mm=grid_mm,
                window=self.options.window,
                turn=turn,
            )

        return example


def prepare(
    case: LandmarkCase,
    names: tuple[str, ...],
    *,
    shape: tuple[int, ...],
    grid_mm: float,
    window: tuple[float, ...] = (),
    turn: placing.Turn | None = None,
) -> Example:
    """Reads one image, and brings it and its points onto the grid; options as of `placing.place`.

    Raises:
      UserError: if image, spacing, affine and points do not go together; it names the image.
    """
    raw_image = case.read()
    if len(shape) != raw_image.pixels.ndim - 1:
        raise UserError(
            f"{case.origin}: has {raw_image.pixels.ndim - 1} axes where the grid has "
            f"{len(shape)}; `image_shape` has one number an axis"
        )
    world = placing.world_of(raw_image, spacing_mm=case.spacing_mm, origin=case.origin)
    points = np.array([index_of(case.points.get(name), case, raw_image, world) for name in names])
    placed = placing.place(raw_image, world, shape=shape, grid_mm=grid_mm, window=window, turn=turn)
    there = geometry.apply(np.linalg.inv(placed.to_index), points)
    given = ~np.isnan(points).any(1)
    in_image = geometry.inside(points, raw_image.pixels.shape[:-1])
    in_grid = in_image & geometry.inside(there, shape)
    known = np.where(in_image[:, None], points, np.nan)
    targets = {
        "landmarks": np.where(in_grid[:, None], there, np.nan),
        "true_file": geometry.apply(placing.file_order(raw_image), known),
        "true_mm": geometry.apply(world, known),
        "to_world": placed.to_world,
        "to_file": placed.to_file,
        "outside": int((given & ~in_image).sum()),
        "beyond": int((in_image & ~in_grid).sum()),
        "box": placed.box,
    }
    return Example(placed.image, targets, case.case_id, case.subject, case.origin, case.metadata)
