"""Landmarks that cases of a set lack: counted, and refused where nothing can be learned."""

from collections.abc import Mapping, Sequence

import numpy as np

from medjax.data import walk
from medjax.data.dataset import Split
from medjax.errors import UserError


def note_missing(name: str, landmarks: Sequence[str], splits: Mapping[str, Split]) -> list[str]:
    """Notes of landmarks that are missing, outside their image, or beyond the grid.

    Args:
      name: of the set.
      splits: by name, with targets as `builders.landmarks` describes them.

    Raises:
      UserError: for a landmark that no training case has: nothing can be learned of it.
    """
    if not landmarks:
        return []
    check_learnable(name, landmarks, splits["train"])
    notes = []
    for split, part in splits.items():
        outside, beyond = (int(part[which].sum()) for which in ("outside", "beyond"))
        lacking = np.isnan(part["true_file"]).any(-1)
        missing, first = int(lacking.sum()) - outside, _first_of(lacking, part, landmarks)
        for count, what in (
            (missing, "not given, masked and left out of the numbers"),
            (outside, "outside the image, taken as missing"),
            (beyond, "beyond the grid, taken as not found, or by the distance"),
        ):
            notes += [f"{walk.counted(count, 'landmark')} of {split} {what}"] * bool(count)
        notes += [f"missing landmarks of {split}: {first}"] * bool(lacking.any())
        lost = (part["outside"] > 0) & lacking.all(1)
        cases = walk.such_as([case for case, gone in zip(part.case_id, lost, strict=True) if gone])
        notes += [f"all landmarks outside: {cases}; are their coordinates RAS?"] * bool(lost.any())
    return notes


def check_learnable(name: str, landmarks: Sequence[str], train: Split) -> None:
    """Raises UserError for a landmark that no case of `train` has."""
    gone = np.isnan(train["landmarks"]).any(-1).all(0)
    names = [landmark for landmark, all_gone in zip(landmarks, gone, strict=True) if all_gone]
    if names:
        raise UserError(
            f"{name}: no training case has the landmark {walk.such_as(names)} inside its image; "
            "check its coordinates (LPS, as of 3D Slicer, or RAS?), give it one name in all files, "
            "or remove it"
        )


def _first_of(lacking: np.ndarray, part: Split, landmarks: Sequence[str]) -> str:
    """Some of the points that a split lacks, by case and name."""
    points = [f"{part.case_id[i]}: {landmarks[j]}" for i, j in np.argwhere(lacking)]
    return walk.such_as(points, most=3)
