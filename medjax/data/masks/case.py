"""One image with its mask, and the set that it belongs to."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from medjax.data import images
from medjax.data.info import DatasetInfo
from medjax.data.masks import channels
from medjax.errors import UserError

BACKGROUND = 0


_MOST_STRUCTURES = 254  # a mask is kept in 8 bits, where 255 is not known


class MaskCase(NamedTuple):
    """One image with its mask, before pixels are read.

    Attributes:
      read: the image; read_mask: the mask, whose pixels `[*space, 1]` are whole numbers.
      subject: empty where nothing says who it is.
      spacing_mm: of every axis, where the file does not tell it.
      path: the file of the image; None where it is made.
      lossy_mask: whether the mask is kept in a form that changes its values.
    """

    read: Callable[[], images.RawImage]
    read_mask: Callable[[], images.RawImage]
    origin: str
    case_id: str
    subject: str
    split: str | None
    spacing_mm: float | None = None
    metadata: Mapping[str, str] = {}
    path: Path | None = None
    lossy_mask: bool = False


class MaskSet(NamedTuple):
    """The cases of a set.

    Attributes:
      values: the numbers that stand for the structures of `info` in the files, in their order.
      known_by: how subjects are known, where a table says it; see `subjects.resolve`.
      notes: what is worth knowing about it.
    """

    info: DatasetInfo
    cases: list[MaskCase]
    values: tuple[int, ...]
    known_by: str = ""
    notes: tuple[str, ...] = ()


def check_values(values: Sequence[int], *, where: str) -> None:
    """Raises UserError for values of structures that a mask cannot keep."""
    if len(values) > _MOST_STRUCTURES or not all(0 < v < 2**16 for v in values):
        raise UserError(
            f"{where}: masks have {len(values)} values from {min(values)} to {max(values)}; at "
            f"most {_MOST_STRUCTURES} structures, of values from 1 to 65535"
        )


def from_files(
    root: Path,
    image: Path,
    mask: Path,
    *,
    limit_bytes: int,
    series: str = "",
    subject: str = "",
    split: str | None = None,
    spacing_mm: float | None = None,
    metadata: Mapping[str, str] | None = None,
) -> MaskCase:
    """A case whose image and mask are files below `root`; the image may be a folder with a DICOM
    `series`."""
    return MaskCase(
        lambda: channels.read(image, limit_bytes=limit_bytes, series=series),
        lambda: images.read(mask, limit_bytes=limit_bytes),
        f"{mask}",
        image.relative_to(root).as_posix(),
        subject,
        split,
        spacing_mm,
        metadata or {},
        image,
        images.suffix(mask) in (".jpg", ".jpeg"),
    )


def check_structures(voxels: np.ndarray, info: DatasetInfo) -> None:
    """Raises UserError for a structure that none of the training masks has.

    Args:
      voxels: `[n, class]`, of each structure in each mask.
    """
    empty = np.flatnonzero(voxels.sum(0) == 0)
    if len(empty):
        raise UserError(
            f"{info.name}: no mask of the training has the structure "
            f"{info.structures[empty[0]]!r}; leave it out of `structures`, or split otherwise"
        )


def numbered(mask: np.ndarray, values: Sequence[int], *, origin: str) -> np.ndarray:
    """A mask of a file `[*space]` with its `values` as 1, 2, ..., uint8; 0 stays the background.

    Raises:
      UserError: for values that are not whole, or not declared.
    """
    rounded = np.rint(mask)
    if mask.dtype.kind == "f" and not np.array_equal(rounded, mask):
        odd = float(mask[rounded != mask].flat[0])
        raise UserError(
            f"{origin}: a mask has whole numbers, this one {odd:g} too; it may be an image, or was "
            "resampled with interpolation: resample masks by the nearest voxel"
        )
    there = np.unique(rounded).astype(int)
    odd_values = [int(v) for v in there if v not in (BACKGROUND, *values)]
    if odd_values:
        known = ", ".join(map(str, values))
        raise UserError(
            f"{origin}: has the value {odd_values[0]}, which is not declared; known are 0 "
            f"(background), {known}: mend the mask, or name all with `structures`"
        )
    out = np.zeros(mask.shape, np.uint8)
    for number, value in enumerate(values, start=1):
        out[rounded == value] = number
    return out
