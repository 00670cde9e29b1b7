"""One pose for all images: the second look of two, after a first has found about where points are.
"""

import csv
import math
from pathlib import Path

import numpy as np

from medjax.data import geometry
from medjax.data.landmarks.case import LandmarkSet, world_points
from medjax.data.placing import Turn
from medjax.errors import UserError


def common_poses(found: LandmarkSet, run: Path, *, shape: tuple[int, ...], grid_mm: float
                 ) -> dict[str, Turn]:
    """The pose of each case: onto the mean shape of the training cases.

    Training cases are turned by their reference, all others by what a run has predicted for them,
    so nothing of their reference enters.

    Args:
      run: its work directory, or its `predictions.csv`.
      shape, grid_mm: of the prepared images; 0 makes the mean shape fill two thirds of them.

    Raises:
      UserError: if a case has no prediction, or no image a training split.
    """
    names = found.info.landmarks
    predicted = read_points(run / "predictions.csv" if run.is_dir() else run, names)
    train = {c.case_id: world_points(c, names) for c in found.cases if c.split == "train"}
    if not train:
        raise UserError("--pose_from needs a set that names its splits")
    mean = geometry.mean_shape(np.stack(list(train.values())))
    low, high = np.nanmin(mean, 0), np.nanmax(mean, 0)
    size = grid_mm or float((1.5 * (high - low) / np.array(shape)).max())
    middle = (low + high) / 2 - size * (np.array(shape) - 1) / 2
    grid = geometry.scaling(np.full(len(shape), size), middle)
    missing = [c.case_id for c in found.cases if c.case_id not in train | predicted]
    if missing:
        raise UserError(f"--pose_from={run}: has no prediction for {missing[0]}")
    return {case: Turn(geometry.robust_rigid(points, mean), grid)
            for case, points in (predicted | train).items()}


def read_points(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The predicted points in mm of a `predictions.csv` by case: `[landmark, ndim]`."""
    try:
        with path.open(newline="") as f:
            rows = list(csv.DictReader(f))
        axes = [a for a in "xyz" if f"pred_{a}_mm" in rows[0]]
        out = {row["case_id"]: np.full((len(names), len(axes)), np.nan) for row in rows}
        for row in rows:
            out[row["case_id"]][names.index(row["landmark"])] = [
                float(row[f"pred_{a}_mm"] or math.nan) for a in axes]
    except (OSError, ValueError, KeyError, IndexError) as e:
        raise UserError(f"--pose_from: {path} is no predictions.csv of these landmarks ({e})"
                        ) from None
    return out
