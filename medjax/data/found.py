"""What a reader finds in an image file."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from medjax.errors import UserError


class RawImage(NamedTuple):
    """An image as it is stored.

    Attributes:
      pixels: `[*space, channel]`.
      spacing_mm: of each axis, where the file tells it; NaN for an axis of which it does not.
      affine: from voxel to world (RAS mm), where the file tells it: of volumes, and of slices too,
        whose third axis has length one.
      axes: which of the file's coordinates each axis counts, as `yx` of a picture.
    """

    pixels: np.ndarray
    spacing_mm: tuple[float, ...] | None = None
    affine: np.ndarray | None = None
    axes: str = "yx"


class Layout(NamedTuple):
    """How an image lies, from its header alone; `shape` is its space, the rest as of `RawImage`.

    Attributes:
      integer_type: the type of whole numbers, of at most 16 bits, that it stores without scaling
        them, by name; empty: another, or not known.
    """

    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...] | None = None
    affine: np.ndarray | None = None
    axes: str = "yx"
    integer_type: str = ""


def check_bytes(path: Path, needed: int, *, limit_bytes: int) -> None:
    """Raises UserError if an image takes more memory than it may."""
    if needed > limit_bytes:
        raise UserError(
            f"{path}: needs {needed / 1e9:.1f} GB once it is decoded, more than "
            f"`max_image_gb={limit_bytes / 1e9:g}`; raise it if the file is right"
        )


def tells_spacing(raw_image: RawImage) -> bool:
    """Whether the file of an image tells the size of its voxels."""
    return known_spacing(raw_image.spacing_mm) or raw_image.affine is not None


def known_spacing(spacing_mm: tuple[float, ...] | None) -> bool:
    """Whether the size of a voxel is known along every axis."""
    return spacing_mm is not None and bool(np.isfinite(spacing_mm).all())
