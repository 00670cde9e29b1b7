"""Images with boxes, all brought onto one grid."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from medjax.data import geometry, placing, subjects, walk
from medjax.data.boxes import SETS
from medjax.data.boxes.case import BoxCase, BoxSet
from medjax.data.boxes.formats import sort_out
from medjax.data.builders.base import Builder, Example, Part
from medjax.data.found import RawImage, tells_spacing
from medjax.errors import UserError


class Boxes(Builder, skip_registration=True):  # type: ignore[call-arg]
    """A set of `medjax.data.boxes`; the class attribute `name` says which.

    Each example has `boxes` in voxels of the prepared array (low and high corner, in array order,
    as of `ops.boxes`; NaN where there are fewer), `box_label`, their classes (-1 there),
    `file_boxes`, their edges x, y[, z] in pixels of the file, `file_size`, its sides, `to_file`,
    the affine from voxels of the prepared array to x, y[, z] of the file, and `voxel_mm`, the size
    of its voxels (NaN where it is not known).
    """

    VERSION = tfds.core.Version("1.3.0")  # 1.2.0 did not say how large an image is

    def __init__(self, **options: Any):
        self._empty: list[str] = []
        self._outside: list[str] = []
        super().__init__(**options)

    @functools.cached_property
    def box_set(self) -> BoxSet:
        return SETS[self.name](self.options)

    @functools.cached_property
    def subjects(self) -> subjects.Subjects:
        return subjects.of_cases(
            self.box_set.cases,
            known_by=self.box_set.known_by,
            layout=self.box_set.info.subjects,
            secret=self.secret,
        )

    @functools.cached_property
    def most(self) -> int:
        """The most boxes of an image."""
        size, most = (1,) * len(self.shape), 1
        for case in self.box_set.cases:
            # A mask that cannot be read is left out, and counted, when its image is.
            with contextlib.suppress(*[UserError] * self.options.skip_bad):
                most = max(most, len(case.boxes(size)))
        return most

    @functools.cached_property
    def shape(self) -> tuple[int, ...]:
        return self.options.image_shape or self.box_set.shape

    @functools.cached_property
    def _description(self):
        first = self.first_readable(self.box_set.cases, _read, self._placed)
        info = dataclasses.replace(
            self.box_set.info,
            grid_mm=self.options.grid_mm or self.box_set.grid_mm,
            subjects=self.subjects.known_by,
        )
        return info, first.image.shape, first.image.dtype

    def describe(self):
        return self._description

    def examples(self, download: Callable) -> dict[str, Part]:
        self.notes += self.box_set.notes
        return self.parts(self.box_set.cases, self.subjects, self._prepared)

    def _prepared(self, cases: list[BoxCase]) -> Iterator[Example]:
        return self.readable(cases, _read, self._placed_and_noted)

    def _placed_and_noted(self, case: BoxCase, raw_image: RawImage) -> Example:
        example = self._placed(case, raw_image)
        self._empty += example.kept["empty"]
        self._outside += example.kept["outside"]
        return example

    def _placed(self, case: BoxCase, raw_image: RawImage) -> Example:
        image = raw_image._replace(pixels=self.in_channels(raw_image.pixels))
        return prepare(
            case,
            image,
            self.box_set.info.box_classes,
            most=self.most,
            shape=self.shape,
            grid_mm=self.options.grid_mm or self.box_set.grid_mm,
            window=self.options.window,
        )

    def late_notes(self) -> list[str]:
        return [
            *walk.note_of(sorted(self._empty), "box", "without a size left out"),
            *walk.note_of(sorted(self._outside), "box", "outside of its image left out"),
        ]


def _read(case: BoxCase) -> RawImage:
    """The image, and what its boxes are read from, so that both can be read or neither is taken."""
    raw_image = case.read()
    size = file_size(raw_image)
    case.check_size(size)
    case.boxes(size)
    return raw_image


def file_size(raw_image: RawImage) -> tuple[int, ...]:
    """The sides of an image x, y[, z], pixels of its file."""
    shape = raw_image.pixels.shape[:-1]
    return tuple(shape[raw_image.axes.index(a)] for a in sorted(raw_image.axes))


def prepare(
    case: BoxCase,
    raw_image: RawImage,
    classes: Sequence[str],
    *,
    most: int,
    shape: tuple[int, ...],
    grid_mm: float,
    window: tuple[float, ...] = (),
) -> Example:
    """An image and its boxes on the grid, and where boxes were left out; options as of
    `placing.place`.

    Args:
      classes: names of the classes; most: boxes that there is room for.

    Raises:
      UserError: if image and spacing do not go together.
    """
    placed, known = place(
        raw_image,
        shape=shape,
        grid_mm=grid_mm,
        window=window,
        spacing_mm=case.spacing_mm,
        origin=case.origin,
    )
    size, ndim = file_size(raw_image), len(shape)
    usable, empty, outside = sort_out(case.boxes(size), size, image=case.case_id)
    edges = np.full((most, 2 * ndim), np.nan)
    labels = np.full(most, -1, np.int32)
    for i, box in enumerate(usable):
        edges[i], labels[i] = (*box.low, *box.high), classes.index(box.label)
    back = np.linalg.inv(placed.to_file)
    targets = {
        "boxes": moved(edges - 0.5, back),  # the centre of the first pixel is 0
        "box_label": labels,
        "file_boxes": edges,
        "to_file": placed.to_file,
        "file_size": np.array(size, np.float32),
        "voxel_mm": geometry.spacing_mm(placed.to_world) if known else np.full(ndim, np.nan),
    }
    return Example(
        placed.image,
        targets,
        case.case_id,
        case.subject,
        case.origin,
        case.metadata,
        {"empty": empty, "outside": outside},
    )


def place(
    raw_image: RawImage,
    *,
    shape: tuple[int, ...],
    grid_mm: float,
    window: tuple[float, ...],
    spacing_mm: float | None,
    origin: str,
) -> tuple[placing.Placed, bool]:
    """An image on the grid, and whether the size of its pixels is known; without a grid in mm any
    will do."""
    known = tells_spacing(raw_image) or bool(spacing_mm)
    given = spacing_mm or (None if known or grid_mm else 1.0)
    world = placing.world_of(raw_image, spacing_mm=given, origin=origin)
    placed = placing.place(raw_image, world, shape=shape, grid_mm=grid_mm, window=window)
    return placed, known


def moved(boxes: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Boxes `[n, 2 * ndim]` where an affine without rotation takes them; NaN stays."""
    low, high = np.split(boxes, 2, axis=1)
    ends = np.stack([geometry.apply(affine, low), geometry.apply(affine, high)])
    return np.concatenate([ends.min(0), ends.max(0)], 1)
