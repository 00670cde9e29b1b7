"""Sequences with named frames, all brought to one frame and one length."""

import dataclasses
import functools
from collections.abc import Iterable, Iterator

import numpy as np
import tensorflow_datasets as tfds

from medjax.data import placing, splits
from medjax.data.builders.base import Builder, Example
from medjax.data.sequences import SETS
from medjax.data.sequences.case import Case, Clip, SequenceSet, check


class Sequences(Builder, skip_registration=True):  # type: ignore[call-arg]
    """A set of `medjax.data.sequences`; the class attribute `name` says which.

    Each example is padded with black to the longest of the set; `length` says how many frames it
    has, `marks` `[time, name]` which of them have which name, `frame_ms` is NaN where not known.
    """

    VERSION = tfds.core.Version("1.1.0")  # 1.0.0 had no `grid_mm`

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

    @property
    def grid_mm(self) -> float:
        return self.options.grid_mm or (0.0 if self.options.image_shape else self.found.grid_mm)

    def describe(self):
        info = dataclasses.replace(self.found.info, grid_mm=self.grid_mm)
        side = self.options.image_shape or self.found.shape or self.first.frames.shape[1:3]
        return info, (self.longest, *side, self.first.frames.shape[-1]), np.uint8

    def examples(self, download) -> dict[str, Iterable[Example]]:
        parts = splits.by_subject(self.found.cases, seed=self.options.split_seed)
        return {name: self._prepared(cases) for name, cases in parts.items()}

    def _prepared(self, cases: list[Case]) -> Iterator[Example]:
        info, (longest, *side, _), _ = self.describe()
        for case in cases:
            clip = case.read()
            frames = placing.place_frames(
                clip.frames, clip.spacing_mm, shape=(side[0], side[1]), grid_mm=self.grid_mm,
                window=self.options.window, origin=case.origin)
            marks = np.zeros((longest, len(info.frames)), np.uint8)
            for j, name in enumerate(info.frames):
                marks[list(case.marks.get(name, ())), j] = 1
            padding = [(0, longest - len(frames)), *[(0, 0)] * 3]
            step = case.frame_ms or clip.frame_ms or self.options.frame_ms or np.nan
            targets = {"marks": marks, "length": len(frames), "frame_ms": step}
            yield Example(np.pad(frames, padding), targets, case.case_id, case.subject,
                          case.origin, case.metadata)
