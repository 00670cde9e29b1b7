"""One image with its boxes, and the set that it belongs to."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from medjax.data import images, walk
from medjax.data.boxes.formats import NamedBox
from medjax.data.info import DatasetInfo
from medjax.errors import UserError

BoxesOfSize = Callable[[tuple[int, ...]], Sequence[NamedBox]]


class StatedSize(NamedTuple):
    """The sides of an image, x, y, as the file `origin` says that lists its boxes."""

    sides: tuple[int, int]
    origin: Path


class BoxCase(NamedTuple):
    """One image with its boxes, before its pixels are read.

    Attributes:
      read: the image.
      boxes: those of an image of this size, x, y[, z] in pixels.
      subject: empty where nothing says who it is.
      spacing_mm: of every axis, where the file does not tell it.
      path: the file of the image; None where it is made.
      stated_size: where its boxes are listed with one.
    """

    read: Callable[[], images.RawImage]
    boxes: BoxesOfSize
    origin: str
    case_id: str
    subject: str
    split: str | None
    spacing_mm: float | None = None
    metadata: Mapping[str, str] = {}
    path: Path | None = None
    stated_size: StatedSize | None = None

    def check_size(self, size: tuple[int, ...]) -> None:
        """Raises UserError if the image, of this size, is not as large as its list says."""
        stated = self.stated_size
        if stated and stated.sides != tuple(size):
            listed, there = (" x ".join(map(str, sides)) for sides in (stated.sides, size))
            raise UserError(
                f"{stated.origin}: says that {self.case_id} has {listed} pixels, and it has "
                f"{there}: mark its boxes in this image, or give the one that was marked (EXIF may "
                "have turned it)"
            )


class BoxSet(NamedTuple):
    """The cases, and the grid that every image is brought to where no other is asked for.

    Attributes:
      known_by: how subjects are known, where a table says it; see `subjects.resolve`.
      notes: what is worth knowing about it.
    """

    info: DatasetInfo
    cases: list[BoxCase]
    shape: tuple[int, ...]
    grid_mm: float
    known_by: str = ""
    notes: tuple[str, ...] = ()


def note_absent(labels: np.ndarray, info: DatasetInfo) -> list[str]:
    """A note of classes that no training image has a box of; `labels` `[n, box]`, -1 is none."""
    count = np.bincount(labels[labels >= 0].ravel(), minlength=len(info.box_classes))
    absent = [name for name, n in zip(info.box_classes, count, strict=True) if not n]
    return walk.note_of(absent, "class", "without a box in the training images: nothing is learnt")
