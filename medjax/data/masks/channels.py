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


def leave_first(files: Iterable[Path], *, count: int = 0) -> list[Path]:
    """The files without those of further channels, which are read with the first.

    Args:
      count: of channels; 0: as many as there are.
    """
    return [p for p in files if not _is_further(p, count)]


def _is_further(path: Path, count: int) -> bool:
    number = _NUMBER.search(images.stem(path))
    first = _sibling(path, 0) if number and int(number[1]) else None
    if first is None or not first.exists():
        return False
    paths = files_of(first)
    return path in paths and count in (0, len(paths))


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


def read_as_trained(path: Path, *, count: int, limit_bytes: int, series: str = "") -> RawImage:
    """An image of so many channels: of the files that are numbered on, where these are as many, so
    that the frames of a video are not taken for one. Errors as of `read`."""
    if len(files_of(path)) == count:
        return read(path, limit_bytes=limit_bytes, series=series)
    return images.read(path, limit_bytes=limit_bytes, stacked=count > 1, series=series)


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
