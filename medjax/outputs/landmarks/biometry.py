"""Lengths between landmarks and circumferences of ellipses, in mm."""

import numpy as np

from medjax.data import geometry
from medjax.data.dataset import Split
from medjax.data.info import DatasetInfo
from medjax.evaluation import lengths
from medjax.evaluation.lengths import Lengths
from medjax.outputs.landmarks.report import reference


def measure(info: DatasetInfo, points_mm: np.ndarray) -> Lengths:
    """The lengths and circumferences that `info` names, of points `[n, landmark, ndim]`."""
    index = info.landmarks.index
    out = {
        name: np.linalg.norm(points_mm[:, index(a)] - points_mm[:, index(b)], axis=-1)
        for name, a, b in info.lengths
    }
    return out | {name: geometry.circumference(out[a], out[b]) for name, a, b in info.ellipses}


def truth(info: DatasetInfo, split: Split) -> Lengths:
    """As `measure` of the reference's points; where the metadata have `NAME_mm_official`, that."""
    return lengths.prefer_official(measure(info, reference(split)[1]), split.metadata)


def constant(true: Lengths, train: Lengths) -> dict[str, float]:
    """The metrics of a trivial guess: the median length of the training images."""
    guess = {name: np.full_like(v, np.nanmedian(train[name])) for name, v in true.items()}
    return lengths.values(true, guess)
