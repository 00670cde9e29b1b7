"""The cases that were answered worst, for the page of a run."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from medjax.evaluation.plot import save_image
from medjax.outputs.base import WORST_CASES, Evaluation, Picture


def find_worst(off: np.ndarray, *, least: float) -> list[tuple[int, int]]:
    """Case and place of the answers that are furthest off, the worst of each case.

    Args:
      off: by how much, `[n, name]`; NaN is not known.
      least: those that are less off are no mistakes.
    """
    known = np.nan_to_num(off, nan=-1.0)
    place = known.argmax(1)
    order = np.argsort(-known.max(1), kind="stable")[:WORST_CASES]
    return [(int(i), int(place[i])) for i in order if known[i, place[i]] >= least]


def draw_worst(
    folder: Path, evaluation: Evaluation, cases: Iterable[tuple[int, str]]
) -> list[Picture]:
    """The images of these cases of the report, each with what went wrong."""
    pictures = []
    for number, (case, text) in enumerate(cases, start=1):
        name = f"worst_{number}.png"
        save_image(folder / name, evaluation.split.read(case))
        pictures.append(Picture(name, text, True, evaluation.ensemble.case_id[case], case + 2))
    return pictures
