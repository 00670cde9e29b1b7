"""Images of several channels: in a file each, as nnU-Net has them (NAME_0000, NAME_0001, ...), or
along a fourth axis, as in the Medical Segmentation Decathlon."""

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from medjax.data import images
from medjax.data.found import RawImage
from medjax.errors import UserError

_NUMBER = re.compile(r"_(\d{4})$")
FIRST = "_0000"
_MOST = 16  # channels


def leave_first(files: Iterable[Path]) -> list[Path]:
    """The files without those of further channels, which are read with the first."""
    return [p for p in files if not _is_further(p)]


def _is_further(path: Path) -> bool:
    number = _NUMBER.search(images.stem(path))
    first = _sibling(path, 0) if number and int(number[1]) else None
    return first is not None and first.exists() and path in files_of(first)


def first_of(path: Path) -> Path:
    """The first channel of the image that a further one is of."""
    return _sibling(path, 0)


def _sibling(path: Path, channel: int) -> Path:
    stem = images.stem(path)
    return path.with_name(f"{stem[:-5]}_{channel:04d}{path.name[len(stem) :]}")


def files_of(path: Path) -> list[Path]:
    """The files of all channels of an image, the given one first; files that are numbered further
    than channels are, as the frames of a video, are images of their own."""
    if not images.stem(path).endswith(FIRST):
        return [path]
    paths = [path]
    while (further := _sibling(path, len(paths))).exists() and len(paths) <= _MOST:
        paths.append(further)
    return paths if len(paths) <= _MOST else [path]


def read(path: Path, *, limit_bytes: int, series: str = "") -> RawImage:
    """An image with all its channels; `series` as of `images.read`.

    Raises:
      UserError: as of `images.read`; or if its channels differ in shape.
    """
    first, *others = (
        images.read(p, limit_bytes=limit_bytes, stacked=True, series=series) for p in files_of(path)
    )
    odd = next((o for o in others if o.pixels.shape != first.pixels.shape), None)
    if odd is not None:
        raise UserError(
            f"{path}: its channels differ in shape, {first.pixels.shape[:-1]} and "
            f"{odd.pixels.shape[:-1]}: resample them onto one grid"
        )
    return first._replace(pixels=np.concatenate([first.pixels, *(o.pixels for o in others)], -1))
