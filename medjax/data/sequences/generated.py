"""Sets of sequences that are made, not acquired."""

import functools
from collections.abc import Callable

from medjax.data import brain, splits
from medjax.data.info import DatasetInfo
from medjax.data.options import SequenceOptions
from medjax.data.sequences import heart, sweep
from medjax.data.sequences.case import Case, Clip, SequenceSet

SEED = 154


def beating_heart(options: SequenceOptions) -> SequenceSet:
    """The phantom of `heart`: one cycle a subject, begun at a random phase."""
    info = DatasetInfo("beating_heart", frames=("ED", "ES"), cyclic=True, synthetic=True,
                       modality="cine MR, short axis, drawn")
    return SequenceSet(info, _cases(options.subjects, "heart", _heart), (heart.SIDE,) * 2)


def brain_sweeps(options: SequenceOptions) -> SequenceSet:
    """The sweeps of `sweep`, one a subject."""
    info = DatasetInfo(
        "brain_sweeps", frames=tuple(sweep.PLANES), synthetic=True,
        modality="T1-weighted MR, simulated from a template",
        licence="template: permissive (McGill); points: CC BY 4.0", citation=brain.CITATION)
    return SequenceSet(info, _cases(options.subjects, "sweep", _sweep), (sweep.SIDE,) * 2)


def _cases(count: int, kind: str, draw: Callable[[int], tuple[Clip, dict]]) -> list[Case]:
    names = [f"{kind}_{i:04d}" for i in range(count)]
    chosen = splits.assign(names, [0] * count, seed=SEED,
                           shares={"train": 0.6, "validation": 0.15, "test": 0.25})
    cases = []
    for i, (name, split) in enumerate(zip(names, chosen, strict=True)):
        clip, marks = draw(i)
        cases.append(Case(functools.partial(_first, draw, i), len(clip.frames), name, name, name,
                          split, marks, clip.frame_ms))
    return cases


def _first(draw: Callable, index: int) -> Clip:
    return draw(index)[0]


def _heart(index: int) -> tuple[Clip, dict[str, list[int]]]:
    frames, marks, frame_ms = heart.draw(SEED, index)
    return Clip(frames, (heart.PIXEL_MM,) * 2, frame_ms), marks


@functools.lru_cache(maxsize=512)
def _sweep(index: int) -> tuple[Clip, dict[str, list[int]]]:
    frames, marks = sweep.draw(SEED, index)
    return Clip(frames, (sweep.PIXEL_MM,) * 2), marks
