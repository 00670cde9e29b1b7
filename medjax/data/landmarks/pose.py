"""One pose for all images: the second look of two, after a first has found the points roughly."""

import math
from pathlib import Path

import numpy as np

from medjax.data import geometry
from medjax.data.landmarks.case import LandmarkSet, world_points
from medjax.data.options import LandmarkOptions
from medjax.data.placing import Turn
from medjax.errors import UserError
from medjax.files import read_records


def check_pose(options: LandmarkOptions, *, folds: int) -> None:
    """Raises UserError where cases that were turned by their own reference would be reported."""
    if options.pose_from and folds:
        raise UserError(
            "`pose_from` turns training cases by their reference, and with `folds` every case is "
            "reported: leave out one of them"
        )


def common(landmark_set: LandmarkSet) -> np.ndarray:
    """The pose that images are brought into: the mean shape of the training cases, in mm.

    Raises:
      UserError: if no image has a training split, or the set has too few landmarks.
    """
    train = [
        world_points(c, landmark_set.info.landmarks)
        for c in landmark_set.cases
        if c.split == "train"
    ]
    if not train:
        raise UserError("`pose_from` needs a set that names its splits")
    count, ndim = train[0].shape
    if count < ndim:
        raise UserError(f"`pose_from`: a pose needs {ndim} landmarks; the set has {count}")
    return geometry.mean_shape(np.stack(train))


def points_of(landmark_set: LandmarkSet, run: Path) -> dict[str, np.ndarray]:
    """The points that each case is turned by: of training cases their reference, of all others
    what a run has predicted for them, so nothing of their reference enters.

    Args:
      run: its work directory, or its `predictions.csv`.

    Raises:
      UserError: if a case has no prediction, or too few points.
    """
    names = landmark_set.info.landmarks
    predicted = read_points(run / "predictions.csv" if run.is_dir() else run, names)
    every = predicted | {
        c.case_id: world_points(c, names) for c in landmark_set.cases if c.split == "train"
    }
    missing = [c.case_id for c in landmark_set.cases if c.case_id not in every]
    if missing:
        raise UserError(f"`pose_from={run}`: has no prediction for {missing[0]}")
    for case in (c.case_id for c in landmark_set.cases):
        known, ndim = (~np.isnan(every[case]).any(1)).sum(), every[case].shape[1]
        if known < ndim:
            raise UserError(
                f"`pose_from`: {case} has {known} of its landmarks in mm, and a pose needs {ndim}: "
                "leave it out of the set"
            )
    return every


def turn(
    points_mm: np.ndarray, pose: np.ndarray, *, shape: tuple[int, ...], grid_mm: float
) -> Turn:
    """From points `[landmark, ndim]` of an image into a pose, about which a grid is laid.

    Args:
      shape, grid_mm: of the prepared image; 0 makes the pose fill two thirds of it.
    """
    low, high = np.nanmin(pose, 0), np.nanmax(pose, 0)
    size = grid_mm or float((1.5 * (high - low) / np.array(shape)).max())
    middle = (low + high) / 2 - size * (np.array(shape) - 1) / 2
    return Turn(
        geometry.robust_rigid(points_mm, pose), geometry.scaling(np.full(len(shape), size), middle)
    )


def read_points(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The points in mm that a run's or an answer's `predictions.csv` has of each case:
    `[landmark, ndim]`; landmarks that are not in `names` are left out."""
    try:
        rows = read_records(path)
        form = "pred_{}_mm" if "pred_x_mm" in rows[0] else "{}_mm"
        axes = [a for a in "xyz" if form.format(a) in rows[0]]
        out = {row["case_id"]: np.full((len(names), len(axes)), np.nan) for row in rows}
        done = set()
        for row in rows:
            if row["landmark"] not in names:
                continue
            if (key := (row["case_id"], row["landmark"])) in done:
                raise ValueError(f"{key[1]} of {key[0]} stands there twice, as of single searches")
            done.add(key)
            out[row["case_id"]][names.index(row["landmark"])] = [
                float(row[form.format(a)] or math.nan) for a in axes
            ]
        if not any(row["landmark"] in names for row in rows):
            raise ValueError(f"{rows[0]['landmark']} is none of {', '.join(names)}")
    except (OSError, ValueError, KeyError, IndexError) as e:
        raise UserError(
            f"`pose_from`: {path} is no predictions.csv of these landmarks ({e})"
        ) from None
    return out
