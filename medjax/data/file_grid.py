"""The grid of a file: how its array lies, and how another array is written on it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from medjax.data import nifti

PICTURE, TIFF, VOLUME = ".png", ".tif", ".nii.gz"
_IN_PICTURES = ("u1", "u2")  # what one of a single channel can hold


class FileGrid(NamedTuple):
    """How the array of a file lies.

    Attributes:
      world: from its indices to mm, an affine.
      oriented: whether the file tells it; else `world` goes along its axes.
      spacing_mm: of its voxels, NaN where it is not known.
    """

    world: np.ndarray
    oriented: bool
    spacing_mm: np.ndarray

    @classmethod
    def of_row(cls, row: Mapping[str, Any], *, prefix: str = "") -> "FileGrid":
        """By the columns of a case, whose names begin so."""
        return cls(
            row[f"{prefix}file_world"],
            bool(row[f"{prefix}oriented"]),
            row[f"{prefix}file_spacing"],
        )

    @property
    def has_x_first(self) -> bool:
        """Whether the first axis of a flat array is x, as of NIfTI, and not y, as of pictures."""
        return abs(self.world[0, 0]) > 0

    def suffix_for(self, kind: np.dtype) -> str:
        """That of a file that holds values of this type without loss."""
        if len(self.world) == 4:
            return VOLUME
        return PICTURE if kind.str[1:] in _IN_PICTURES else TIFF

    def write(self, path: Path, values: np.ndarray, *, kind: type | None = None) -> None:
        """Writes an array as a file that lies like this one, by its suffix.

        Args:
          kind: how a value of a volume is stored; None: as it is.
        """
        if values.ndim == 3:
            nifti.write(
                path,
                values,
                self.world if self.oriented else None,
                kind=kind or values.dtype.type,
                spacing_mm=self.spacing_mm,
            )
            return
        from PIL import Image

        rows = values.T if self.has_x_first else values
        Image.fromarray(rows.astype(np.float32) if path.suffix == TIFF else rows).save(path)
