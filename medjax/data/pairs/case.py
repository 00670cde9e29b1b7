"""A set of images that are registered in pairs."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from medjax.data.images import RawImage
from medjax.data.masks.case import MaskCase, MaskSet
from medjax.errors import UserError

MOVING = "moving"  # of a case's metadata: the cases that are registered to it
_MARK = "\n"  # between them

ALL_PAIRS = "all with all"  # how the images of a set are paired, or those of one split


class PairSet(NamedTuple):
    """The images of a set, and how they are paired.

    Attributes:
      masks: the images, each with a mask, which is empty where there is none.
      pairing: how they are paired, in words.
      moving: by case id, those that are registered to it; a split of which no case has any is
        paired all with all.
      points: by case id, positions `[n, ndim]` in indices of the file's array of the points that
        all images show; NaN is missing.
      places: by case id, other positions that all images have, where the deformation is known.
      initial: as of `PairOptions`.
    """

    masks: MaskSet
    pairing: str
    moving: Mapping[str, Sequence[str]]
    points: Mapping[str, np.ndarray] = {}
    places: Mapping[str, np.ndarray] = {}
    initial: str = ""

    def with_partners(self) -> MaskSet:
        """The images, whose metadata name the cases that are registered to them."""
        cases = [
            case._replace(metadata={**case.metadata, MOVING: _MARK.join(names)})
            if (names := self.moving.get(case.case_id))
            else case
            for case in self.masks.cases
        ]
        return self.masks._replace(cases=cases)


def partners_of(metadata: Mapping[str, str]) -> list[str]:
    """The cases that are registered to one with this metadata."""
    return [name for name in metadata.get(MOVING, "").split(_MARK) if name]


def without_mask(case: MaskCase) -> MaskCase:
    """The case with an empty mask, where it has none."""

    def read_empty() -> RawImage:
        raw_image = case.read()
        return raw_image._replace(pixels=np.zeros((*raw_image.pixels.shape[:-1], 1), np.uint8))

    return case._replace(read_mask=read_empty)


def check_pairs(moving: Mapping[str, Sequence[str]], cases: Sequence[MaskCase]) -> None:
    """Raises UserError for a pair of an image with itself, or of one that is not there."""
    known = {case.case_id for case in cases}
    for fixed, names in moving.items():
        odd = next((name for name in (fixed, *names) if name not in known), None)
        if odd is not None:
            raise UserError(f"pairs: no image {odd!r} in the set; name files of it")
        if fixed in names:
            raise UserError(f"pairs: {fixed!r} is paired with itself; name two images")
