"""Sequences with named frames, all brought to one frame and one length."""

import functools
from collections.abc import Iterable, Iterator

import numpy as np

from medjax.data import geometry, images, splits
from medjax.data.builders.base import Builder, Example
from medjax.data.sequences import SETS
from medjax.data.sequences.case import Case, Clip, SequenceSet, check
from medjax.errors import UserError


class Sequences(Builder, skip_registration=True):  # type: ignore[call-arg]
    """A set of `medjax.data.sequences`; the class attribute `name` says which.

    Each example is padded with black to the longest of the set; `length` says how many frames it
    has, `marks` `[time, name]` which of them have which name, `frame_ms` is NaN where not known.
    """

    @functools.cached_property
    def found(self) -> SequenceSet:
        found = SETS[self.name](self.options)
        for case in found.cases:
            check(case)
        return found

    @functools.cached_property
    def longest(self) -> int:
        return max(case.length for case in self.found.cases)

    @functools.cached_property
    def first(self) -> Clip:
        return self.found.cases[0].read()

    def describe(self):
        side = self.options.image_shape or self.found.shape or self.first.frames.shape[1:3]
        return self.found.info, (self.longest, *side, self.first.frames.shape[-1]), np.uint8

    def examples(self, download) -> dict[str, Iterable[Example]]:
        parts = splits.by_subject(self.found.cases, seed=self.options.split_seed)
        return {name: self._prepared(cases) for name, cases in parts.items()}

    def _prepared(self, cases: list[Case]) -> Iterator[Example]:
        grid_mm = 0.0 if self.options.image_shape else self.found.grid_mm
        info, (longest, *side, _), _ = self.describe()
        for case in cases:
            clip = case.read()
            frames = on_grid(clip, (side[0], side[1]), self.options.grid_mm or grid_mm,
                             self.options.window, origin=case.origin)
            marks = np.zeros((longest, len(info.frames)), np.uint8)
            for j, name in enumerate(info.frames):
                marks[list(case.marks.get(name, ())), j] = 1
            padding = [(0, longest - len(frames)), *[(0, 0)] * 3]
            step = case.frame_ms or clip.frame_ms or self.options.frame_ms or np.nan
            targets = {"marks": marks, "length": len(frames), "frame_ms": step}
            yield Example(np.pad(frames, padding), targets, case.case_id, case.subject,
                          case.origin, case.metadata)


def on_grid(clip: Clip, shape: tuple[int, int], grid_mm: float, window: tuple[float, ...], *,
            origin: str) -> np.ndarray:
    """The frames in 8 bits, each of the shape, about the same centre.

    Args:
      grid_mm: size of a pixel; 0: scaled to fit.
    """
    if grid_mm and clip.spacing_mm is None:
        raise UserError(f"{origin}: the size of its pixels is not known; give --image_shape "
                        "without --grid_mm, and each frame is scaled to fit")
    frames = images.eight_bits(clip.frames, window)
    size = frames.shape[1:3]
    if size == shape and not grid_mm:
        return frames
    spacing = np.array(clip.spacing_mm or (1.0, 1.0))  # pixels count as square where not known
    back = geometry.fitted(size, spacing, shape=shape, grid_mm=grid_mm)
    return np.stack([geometry.resample(f, back, shape=shape) for f in frames])
