"""Sequences with named frames, all brought to one frame and one length."""

import dataclasses
import functools
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow_datasets as tfds

from medjax.data import placing, subjects
from medjax.data.builders.base import Builder, Example, Part
from medjax.data.sequences import SETS
from medjax.data.sequences.case import Clip, SequenceCase, SequenceSet, check


class Sequences(Builder, skip_registration=True):  # type: ignore[call-arg]
    """A set of `medjax.data.sequences`; the class attribute `name` says which.

    Each example is padded with black to the longest of the set; `length` says how many frames it
    has, `marks` `[time, name]` which of them have which name, `frame_ms` is NaN where not known.
    """

    VERSION = tfds.core.Version("1.3.0")  # 1.2.0 did not say whether splits were drawn

    @functools.cached_property
    def sequence_set(self) -> SequenceSet:
        sequence_set = SETS[self.name](self.options)
        for case in sequence_set.cases:
            check(case)
        return sequence_set

    @functools.cached_property
    def subjects(self) -> subjects.Subjects:
        return subjects.of_cases(
            self.sequence_set.cases,
            known_by=self.sequence_set.known_by,
            layout=self.sequence_set.info.subjects,
            secret=self.secret,
        )

    @functools.cached_property
    def longest(self) -> int:
        return max(case.length for case in self.sequence_set.cases)

    @functools.cached_property
    def first(self) -> Clip:
        clip = self.first_readable(self.sequence_set.cases, lambda case: case.read())
        return clip._replace(frames=self.in_channels(clip.frames))

    @property
    def grid_mm(self) -> float:
        return self.options.grid_mm or (
            0.0 if self.options.image_shape else self.sequence_set.grid_mm
        )

    def describe(self):
        info = dataclasses.replace(
            self.sequence_set.info, grid_mm=self.grid_mm, subjects=self.subjects.known_by
        )
        side = self.options.image_shape or self.sequence_set.shape or self.first.frames.shape[1:3]
        return info, (self.longest, *side, self.first.frames.shape[-1]), np.uint8

    def examples(self, download: Callable) -> dict[str, Part]:
        self.notes += self.sequence_set.notes
        return self.parts(self.sequence_set.cases, self.subjects, self._prepared)

    def _prepared(self, cases: list[SequenceCase]) -> Iterator[Example]:
        info, (longest, *side, _), _ = self.describe()

        def example(case: SequenceCase, clip: Clip) -> Example:
            frames = placing.place_frames(
                self.in_channels(clip.frames),
                clip.spacing_mm,
                shape=(side[0], side[1]),
                grid_mm=self.grid_mm,
                window=self.options.window,
                origin=case.origin,
            )
            marks = np.zeros((longest, len(info.frames)), np.uint8)
            for j, name in enumerate(info.frames):
                marks[list(case.marks.get(name, ())), j] = 1
            padding = [(0, longest - len(frames)), *[(0, 0)] * 3]
            step = case.frame_ms or clip.frame_ms or self.options.frame_ms or np.nan
            targets = {"marks": marks, "length": len(frames), "frame_ms": step}
            return Example(
                np.pad(frames, padding),
                targets,
                case.case_id,
                case.subject,
                case.origin,
                case.metadata,
            )

        return self.readable(cases, lambda case: case.read(), example)
