"""Landmarks that cases of a set lack: counted, and refused where nothing can be learned."""

from collections.abc import Mapping, Sequence

import numpy as np

from medjax.data import walk
from medjax.errors import UserError


def note_missing(
    name: str, landmarks: Sequence[str], splits: Mapping[str, Mapping[str, np.ndarray]]
) -> list[str]:
    """Notes of landmarks that are missing, outside their image, or beyond the grid.

    Args:
      name: of the set.
      splits: by name their targets, as `builders.landmarks` describes them.

    Raises:
      UserError: for a landmark that no training case has: nothing can be learned of it.
    """
    if not landmarks:
        return []
    gone = np.isnan(splits["train"]["landmarks"]).any(-1).all(0)
    names = [landmark for landmark, all_gone in zip(landmarks, gone, strict=True) if all_gone]
    if names:
        raise UserError(
            f"{name}: no training case has the landmark {walk.such_as(names, most=3)} inside its "
            "image; give it one name in all files, check its coordinates, or remove it"
        )
    notes = []
    for split, part in splits.items():
        outside, beyond = (int(part[which].sum()) for which in ("outside", "beyond"))
        missing = int(np.isnan(part["true_file"]).any(-1).sum()) - outside
        for count, what in (
            (missing, "not given, and left out of every number"),
            (outside, "outside the image, taken as missing"),
            (beyond, "beyond the grid, taken as not found, or by the distance"),
        ):
            notes += [f"{walk.counted(count, 'landmark')} of {split} {what}"] * bool(count)
    return notes
