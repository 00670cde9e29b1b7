"""Images that are registered in pairs: each by itself, as images with masks are."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from medjax.data import exams, geometry, images, subjects
from medjax.data.builders.base import Example, Part
from medjax.data.builders.masks import Masks
from medjax.data.found import RawImage
from medjax.data.masks.case import MaskCase, MaskSet
from medjax.data.pairs import SETS
from medjax.data.pairs.case import PairSet


class Pairs(Masks, skip_registration=True):  # type: ignore[call-arg]
    """A set of `medjax.data.pairs`; the class attribute `name` says which.

    Intensities stay as they are; `pairing.pair_images` makes pairs of the images. Where the set has
    points, each example has `points_vox`, in voxels of the prepared image; where the deformation is
    known, `places_vox`.
    """

    VERSION = tfds.core.Version("1.2.0")

    @functools.cached_property
    def pair_set(self) -> PairSet:
        return SETS[self.name](self.options)

    @functools.cached_property
    def mask_set(self) -> MaskSet:
        masks, initial = self.pair_set.with_partners(), self.options.initial
        return masks._replace(
            info=dataclasses.replace(
                masks.info, pairing=self.pair_set.pairing, initial=initial or self.pair_set.initial
            )
        )

    def parts(
        self,
        cases: Sequence[Any],
        who: subjects.Subjects,
        prepared: Callable[[list[Any]], Iterable[Example]],
    ) -> dict[str, Part]:
        """All in one, where nothing is trained."""
        if not self.options.unsplit:
            return super().parts(cases, who, prepared)
        shown = [c._replace(subject=name) for c, name in zip(cases, who.shown, strict=True)]
        self.notes += who.notes
        return {"train": Part(len(shown), prepared(shown))}

    def choose_type(self) -> str:
        """All are scaled alike, also those of 8 bits."""
        return exams.common_type(self.layouts)

    def in_channels(self, pixels: np.ndarray) -> np.ndarray:
        """Colours count by their luminance."""
        return images.in_channels(pixels, "gray")

    def _prepared(self, case: MaskCase, files: tuple[RawImage, RawImage]) -> Example:
        made = super()._prepared(case, files)
        info, ndim = self.mask_set.info, made.image.ndim - 1
        known = {
            "points_vox": (len(info.landmarks), self.pair_set.points),
            "places_vox": (info.known_places, self.pair_set.places),
        }
        to_prepared = np.linalg.inv(made.targets["to_index"])
        marks = {
            name: geometry.apply(to_prepared, by.get(case.case_id, np.full((count, ndim), np.nan)))
            for name, (count, by) in known.items()
            if count
        }
        return dataclasses.replace(made, targets={**made.targets, **marks})
