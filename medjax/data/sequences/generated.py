"""Sets of sequences that are made, not acquired."""

import functools
from collections.abc import Callable

import numpy as np

from medjax.data import brain, splits
from medjax.data.info import DatasetInfo
from medjax.data.sequence_options import SequenceOptions
from medjax.data.sequences import heart, sweep
from medjax.data.sequences.case import Clip, SequenceCase, SequenceSet

SEED = 154


def beating_heart(options: SequenceOptions) -> SequenceSet:
    """The phantom of `heart`: one cycle a subject, begun at a random phase."""
    info = DatasetInfo(
        "beating_heart",
        subjects=f"synthetic, {options.subjects}",
        cyclic=True,
        frames=("ED", "ES"),
        synthetic=True,
        modality="cine MR, short axis, drawn",
    )
    cases = [
        _case(name, split, *_heart(i), functools.partial(_read_heart, i))
        for i, (name, split) in enumerate(_split("heart", options.subjects))
    ]
    return SequenceSet(info, cases, (heart.SIDE,) * 2)


def brain_sweeps(options: SequenceOptions) -> SequenceSet:
    """The sweeps of `sweep`, one a subject."""
    info = DatasetInfo(
        "brain_sweeps",
        subjects=f"synthetic, {options.subjects}",
        synthetic=True,
        frames=tuple(sweep.PLANES),
        modality="T1-weighted MR, simulated from a template",
        licence="template: permissive (McGill); points: CC BY 4.0",
        citation=brain.CITATION,
    )
    cases = [
        _case(name, split, *_sweep(i), functools.partial(_read_sweep, i))
        for i, (name, split) in enumerate(_split("sweep", options.subjects))
    ]
    return SequenceSet(info, cases, (sweep.SIDE,) * 2)


def _split(kind: str, count: int) -> list[tuple[str, str]]:
    """Name and split of every subject."""
    names = [f"{kind}_{i:04d}" for i in range(count)]
    return list(
        zip(
            names,
            splits.assign(
                names,
                [0] * count,
                seed=SEED,
                shares={"train": 0.6, "validation": 0.15, "test": 0.25},
            ),
            strict=True,
        )
    )


def _case(
    name: str, split: str, length: int, marks: dict[str, list[int]], read: Callable[[], Clip]
) -> SequenceCase:
    return SequenceCase(read, length, name, name, name, split, marks)


def _heart(index: int) -> tuple[int, dict[str, list[int]]]:
    """Length and marks, before any frame is drawn: that takes long."""
    phase, marks = heart.beat(heart.make(rng := np.random.default_rng([SEED, index])), rng)
    return len(phase), marks


def _read_heart(index: int) -> Clip:
    frames, _, frame_ms = heart.draw(SEED, index)
    return Clip(frames, (heart.PIXEL_MM,) * 2, frame_ms)


def _sweep(index: int) -> tuple[int, dict[str, list[int]]]:
    """The same of a sweep."""
    made = sweep.make(np.random.default_rng([SEED, index]), SEED, index)
    return len(made.y_mm), made.marks


def _read_sweep(index: int) -> Clip:
    return Clip(sweep.draw(SEED, index)[0], (sweep.PIXEL_MM,) * 2)
